"""The units of examples/deployment, by systemd's own judgement."""

from __future__ import annotations

import configparser
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from asyncwsgi import Config
from asyncwsgi.config import option_fields
from asyncwsgi.testing import Authority
from tests.client import connect
from tests.deployment.neighbours import FILES, UNIX_UPSTREAM, nginx, program, replaced
from tests.doors.conftest import Start, Write
from tests.doors.conftest import start as start
from tests.doors.conftest import write as write


def test_systemd_finds_no_fault_with_them(tmp_path: Path) -> None:
    for name in ("app.service", "app.socket"):
        text = (FILES / name).read_text()
        if name == "app.service":
            text = replaced(
                text,
                ("/srv/app/.venv/bin/asyncwsgi", f"{sys.executable} -m asyncwsgi"),
                ("WorkingDirectory=/srv/app", f"WorkingDirectory={tmp_path}"),
            )
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [program("systemd-analyze"), "verify", "--man=no", "app.service", "app.socket"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_they_and_nginx_mean_the_same_socket() -> None:
    socket_unit = (FILES / "app.socket").read_text()
    [path] = re.findall(r"^ListenStream=(.+)$", socket_unit, re.MULTILINE)
    assert f"server unix:{path};" == UNIX_UPSTREAM
    nginx = (FILES / "nginx.conf").read_text()
    [user] = re.findall(r"^user (.+);$", nginx, re.MULTILINE)
    assert f"SocketUser={user}\n" in socket_unit


def test_its_variables_are_options() -> None:
    service = (FILES / "app.service").read_text()
    names = {f"ASYNCWSGI_{field.name.upper()}" for field, _ in option_fields()}
    variables = set(re.findall(r"ASYNCWSGI_\w+", service))
    assert variables
    assert variables <= names


def test_systemd_waits_longer_than_requests_in_flight_get() -> None:
    service = configparser.ConfigParser(strict=False)
    service.read(FILES / "app.service")
    assert float(service["Service"]["TimeoutStopSec"]) > Config().graceful_timeout


def test_nginx_closes_its_idle_connections_first() -> None:
    nginx = (FILES / "nginx.conf").read_text()
    [seconds] = re.findall(r"keepalive_timeout (\d+)s;", nginx)
    assert int(seconds) < Config().keep_alive_timeout
    assert int(seconds) < Config().graceful_timeout  # of a worker that is replaced


def test_what_they_start_serves_behind_nginx(shared: Path, start: Start, write: Write) -> None:
    write(
        "app.py",
        """
        def app(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [" ".join(environ[k] for k in ("wsgi.url_scheme", "REMOTE_ADDR")).encode()]
        """,
    )
    service = (FILES / "app.service").read_text()
    variables = re.findall(r"^Environment=(.+)$", service, re.MULTILINE)
    [command] = re.findall(r"^ExecStart=\S+/asyncwsgi (.+)$", service, re.MULTILINE)
    variables.append(f"PYTHONPATH={os.environ.get('PYTHONPATH', '')}")
    path = str(shared / "app.sock")
    process = start(
        "-l",
        path,
        *(word for variable in variables for word in ("-E", variable)),
        *(sys.executable, "-m", "asyncwsgi", *command.split()),
        executable=program("systemd-socket-activate"),
    )
    process.read_until("Listening on")
    authority = Authority()
    with (
        nginx(shared, path, authority=authority) as proxy,
        connect(("127.0.0.1", proxy.tls_port), authority.client_context()) as client,
    ):
        assert client.get().body == b"https 127.0.0.1"
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 0
