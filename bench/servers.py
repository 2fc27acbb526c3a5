"""How each server is started, awaited and stopped.

Guarantees: a server handed out has answered a request with 200, is pinned to its core, and is gone
with its whole process group when the block ends.  Knows nothing of the load.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from environment import BENCH, PYTHON, ROOT
from launch import BACKLOG, CONNECTIONS, HOST, THREADS

if TYPE_CHECKING:
    from collections.abc import Iterator

OWN = "asyncwsgi"
DROP_IN = "drop-in"
OVERRIDE = "override"
NATIVE = "granian"
COMMANDS = {
    OWN: "-m asyncwsgi --host {host} --port {port} --threads {threads} --no-access-log"
    " {bench}/apps.py:{app}",
    DROP_IN: "{bench}/launch.py drop-in {app} {port}",
    OVERRIDE: "{bench}/launch.py override {app} {port}",
    "waitress": "{bench}/launch.py waitress {app} {port}",
    "cheroot": "{bench}/launch.py cheroot {app} {port}",
    # gthread keeps at most worker-connections open; the control socket would outlive the run.
    "gunicorn": "-m gunicorn --bind {host}:{port} --chdir {bench} --worker-class gthread"
    " --workers 1 --threads {threads} --worker-connections {connections} --backlog {backlog}"
    " --keep-alive 75 --no-control-socket --log-level error apps:{app}",
    "werkzeug": "{bench}/launch.py werkzeug {app} {port}",
    # HTTP/1 alone is asked of every server here, so granian need not look for anything else.
    NATIVE: "-m granian --interface wsgi --host {host} --port {port} --working-dir {bench}"
    " --workers 1 --blocking-threads {threads} --backlog {backlog} --http 1 --no-ws"
    " --no-access-log --log-level error apps:{app}",
}
PACKAGES = {DROP_IN: OWN, OVERRIDE: OWN}
"""Of servers that are not called as their package is."""
PYTHON_PEERS = tuple(name for name in COMMANDS if name not in (*PACKAGES, OWN, NATIVE))

# A developer's settings must not decide how the servers run.
FOREIGN_SETTINGS = ("ASYNCWSGI_", "FLASK_", "GRANIAN_", "GUNICORN_", "PYTHON", "WEB_CONCURRENCY")

START_TIMEOUT = 15
STOP_TIMEOUT = 5
RETRY_INTERVAL = 0.05


class StartError(Exception):
    """A server did not come up; the message ends with what it printed last."""


@dataclass(frozen=True, slots=True)
class Running:
    pid: int
    port: int

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/"


@contextmanager
def running(name: str, app: str, *, core: int) -> Iterator[Running]:
    """The server `name` with the application `apps.<app>`, ready, on a free port."""
    port = _free_port()
    with tempfile.TemporaryFile("w+") as log:
        process = _start(["taskset", "-c", str(core), *_command(name, app, port)], log)
        try:
            _await_ready(process, port, log)
            yield Running(process.pid, port)
        finally:
            _stop(name, process)


def _command(name: str, app: str, port: int) -> list[str]:
    values = {"bench": BENCH, "app": app, "host": HOST, "port": port}
    values |= {"threads": THREADS, "connections": CONNECTIONS, "backlog": BACKLOG}
    # Split first: a path may hold spaces.
    return [str(PYTHON), *(word.format(**values) for word in COMMANDS[name].split())]


def _start(command: list[str], log: IO[str]) -> subprocess.Popen[str]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN_SETTINGS)}
    return subprocess.Popen(
        command, cwd=ROOT, env=environ, text=True, stdout=log, stderr=log, start_new_session=True
    )


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _await_ready(process: subprocess.Popen[str], port: int, log: IO[str]) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not _answers(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise StartError(f"did not start: {_last_line(log)}")
        time.sleep(RETRY_INTERVAL)


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    with suppress(OSError, http.client.HTTPException):
        connection.connect()
        connection.request("GET", "/user/ready")
        response = connection.getresponse()
        return response.status == 200 and response.read().startswith(b"Hello, ")
    connection.close()
    return False


def _last_line(log: IO[str]) -> str:
    log.seek(0)
    return next((line.strip() for line in reversed(log.readlines()) if line.strip()), "no output")


def _stop(name: str, process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        print(f"{name} did not stop in {STOP_TIMEOUT} s and was killed", file=sys.stderr)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
