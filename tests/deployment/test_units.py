"""The units of examples/deployment, by systemd's own judgement."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from pathlib import Path

from asyncwsgi import Config
from asyncwsgi.config import option_fields
from tests.deployment.neighbours import FILES, UNIX_UPSTREAM, program, replaced


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
