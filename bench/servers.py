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

from environment import BENCH, CERTIFICATE, KEY, PYTHON, ROOT
from launch import BACKLOG, CONNECTIONS, HOST, THREADS
from probe import Address, ask

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

OWN = "asyncwsgi"
LOGGED = "access log"
INSPECTED = "inspector"
DROP_IN = "drop-in"
OVERRIDE = "override"
NATIVE = "granian"

_OWN_COMMAND = (
    "-m asyncwsgi --host {host} --port {port} --threads {threads} --backlog {backlog}"
    " --queue-size {connections} {bench}/apps.py:{app}"
)
_LAUNCH = "{bench}/launch.py {name} {app} {port} {threads}"
COMMANDS = {
    OWN: f"{_OWN_COMMAND} --no-access-log",
    DROP_IN: _LAUNCH,
    OVERRIDE: _LAUNCH,
    LOGGED: _OWN_COMMAND,
    INSPECTED: f"{_OWN_COMMAND} --no-access-log --inspect",
    "waitress": _LAUNCH,
    "cheroot": _LAUNCH,
    # gthread keeps at most worker-connections open; the control socket would outlive the run.
    "gunicorn": "-m gunicorn --bind {host}:{port} --chdir {bench} --worker-class gthread"
    " --workers 1 --threads {threads} --worker-connections {connections} --backlog {backlog}"
    " --keep-alive 75 --no-control-socket --log-level error apps:{app}",
    "werkzeug": _LAUNCH,
    # HTTP/1 alone is asked of every server here, so granian need not look for anything else. What
    # it calls backpressure is a limit of connections.
    NATIVE: "-m granian --interface wsgi --host {host} --port {port} --working-dir {bench}"
    " --workers 1 --blocking-threads {threads} --backlog {backlog} --backpressure {connections}"
    " --http 1 --no-ws"
    " --no-access-log --log-level error apps:{app}",
}
TLS_OPTIONS = {
    OWN: "--certfile {certificate} --keyfile {key}",
    "cheroot": "{certificate} {key}",
    "gunicorn": "--certfile {certificate} --keyfile {key}",
    NATIVE: "--ssl-certificate {certificate} --ssl-keyfile {key}",
}
TLS_SERVERS = tuple(TLS_OPTIONS)
"""waitress speaks no TLS, and werkzeug keeps no connection."""
PACKAGES = {DROP_IN: OWN, OVERRIDE: OWN, LOGGED: OWN, INSPECTED: OWN}
"""Of servers that are not called as their package is."""
VARIANTS = {
    LOGGED: "access log on",
    INSPECTED: "request inspector on",
    OVERRIDE: "asyncwsgi.async_to_sync in place of asgiref",
}
"""asyncwsgi otherwise, in single cases."""
PYTHON_PEERS = tuple(name for name in COMMANDS if name not in (*PACKAGES, OWN, NATIVE))

# A developer's settings must not decide how the servers run.
FOREIGN_SETTINGS = ("ASYNCWSGI_", "FLASK_", "GRANIAN_", "GUNICORN_", "PYTHON", "WEB_CONCURRENCY")

READY = b"GET /user/ready HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
START_TIMEOUT = 15
STOP_TIMEOUT = 5
RETRY_INTERVAL = 0.05


class StartError(Exception):
    """A server did not come up; the message ends with what it printed last."""


@dataclass(frozen=True, slots=True)
class Running:
    pid: int
    address: Address


@contextmanager
def running(
    name: str,
    app: str,
    *,
    core: int,
    threads: int = THREADS,
    tls: bool = False,
) -> Iterator[Running]:
    """The server `name` with the application `apps.<app>`, ready, on a free port."""
    address = Address(HOST, _free_port(), tls)
    with tempfile.TemporaryFile("w+") as log:
        command = _command(name, app, address, threads)
        process = _start(["taskset", "-c", str(core), *command], log)
        try:
            _await_ready(process, address, log)
            yield Running(process.pid, address)
        finally:
            _stop(name, process)


@contextmanager
def running_command(words: Sequence[str], values: Mapping[str, object]) -> Iterator[Running]:
    """The server that a command starts, ready, on a free port and on all cores.

    Args:
        words: the command, split; with fields such as ``{port}``.
        values: what is in the place of the other fields.
    """
    address = Address(HOST, _free_port(), tls=False)
    command = [word.format(**values, port=address.port) for word in words]
    with tempfile.TemporaryFile("w+") as log:
        process = _start(command, log)
        try:
            _await_ready(process, address, log)
            yield Running(process.pid, address)
        finally:
            _stop(words[0], process)


def shown_command(name: str) -> str:
    """How a reader would start it, from the repository's root."""
    return " ".join(["python", *_words(name, "plain", Address(HOST, 8000, tls=False), BENCH.name)])


def _command(name: str, app: str, address: Address, threads: int) -> list[str]:
    return [str(PYTHON), *_words(name, app, address, str(BENCH), threads)]


def _words(name: str, app: str, address: Address, bench: str, threads: int = THREADS) -> list[str]:
    values = {"name": name, "bench": bench, "app": app, "host": HOST, "port": address.port}
    values |= {"threads": threads, "connections": CONNECTIONS, "backlog": BACKLOG}
    values |= {"certificate": CERTIFICATE, "key": KEY}
    options = TLS_OPTIONS[name] if address.tls else ""
    # Split first: a path may hold spaces.
    return [word.format(**values) for word in f"{COMMANDS[name]} {options}".split()]


def _start(command: list[str], log: IO[str]) -> subprocess.Popen[str]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN_SETTINGS)}
    return subprocess.Popen(
        command, cwd=ROOT, env=environ, text=True, stdout=log, stderr=log, start_new_session=True
    )


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _await_ready(process: subprocess.Popen[str], address: Address, log: IO[str]) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not _answers(address):
        if process.poll() is not None or time.monotonic() > deadline:
            raise StartError(f"did not start: {_last_line(log)}")
        time.sleep(RETRY_INTERVAL)


def _answers(address: Address) -> bool:
    with suppress(OSError, http.client.HTTPException):
        return ask(address, READY).status == 200
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
