"""Several processes, and what else a server may be told: listeners of all kinds, probes, doors."""

from __future__ import annotations

import os
import re
import signal
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client import TIMEOUT, Client, connect, reserved_port
from tests.doors.processes import address_of
from tests.reloading.conftest import has_ended
from tests.server.certificates import Certificates
from tests.supervision.conftest import Workers
from tests.uwsgi.packets import request

modes = pytest.mark.parametrize(
    "mode", [(), ("--preload",), ("--reload",)], ids=["", "preload", "reload"]
)


def served(workers: Workers, *options: str) -> list[str]:
    """Have two workers serve; the listeners, as the log names them."""
    workers.project.start("--workers", "2", *options)
    urls = workers.process.urls()
    workers.wait_until_served(2)
    return urls


def pid_by_uwsgi(address: tuple[str, int] | str) -> int:
    with connect(address) as client:
        client.send(request())
        return int(client.read_all().rpartition(b"\r\n\r\n")[2])


def pid_by_http(client: Client) -> int:
    reply = client.get()
    assert reply.status == 200, reply
    return int(reply.body)


@modes
def test_listeners_of_all_kinds_are_served_by_old_workers_and_new(
    workers: Workers, mode: tuple[str, ...]
) -> None:
    urls = served(
        workers,
        *("--bind", "127.0.0.1:0", "--bind", "uwsgi://127.0.0.1:0"),
        *("--bind", f"unix:{workers.directory}/http", *mode),
        *("--bind", f"uwsgi+unix:{workers.directory}/uwsgi"),
    )
    addresses = [address_of(url) for url in urls]
    for _ in range(2):
        pids = workers.pids(2)
        for address, url in zip(addresses, urls, strict=True):
            for _ in range(8):
                if url.startswith("uwsgi"):
                    assert pid_by_uwsgi(address) in pids
                else:
                    with connect(address) as client:
                        assert pid_by_http(client) in pids
        workers.signal(signal.SIGHUP)
        for _ in range(2):
            workers.process.read_until("stopping; ")
        assert all(map(has_ended, pids))


@modes
def test_the_proxy_protocol_is_spoken_by_each(workers: Workers, mode: tuple[str, ...]) -> None:
    options = ("--proxy-protocol", "--proxy-protocol-allow-ips", "127.0.0.1")
    [url] = served(workers, *options, *mode)
    for number in range(8):
        with connect(address_of(url)) as client:
            client.send(f"PROXY TCP4 192.0.2.{number} 192.0.2.100 5555 80\r\n".encode())
            assert client.get().status == 200
    lines = [workers.process.read_until('"GET / ') for _ in range(8)]
    for number in range(8):
        assert sum(f" 192.0.2.{number} " in line for line in lines) == 1


@modes
def test_tls_is_spoken_by_each(workers: Workers, mode: tuple[str, ...], tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    [url] = served(workers, "--certfile", str(certificates.files.both), *mode)
    for _ in range(8):
        with connect(address_of(url), certificates.client_context()) as client:
            assert client.get().status == 200


@modes
def test_probes_and_metrics_are_answered(workers: Workers, mode: tuple[str, ...]) -> None:
    with reserved_port() as metrics:
        options = ("--health-path", "/h", "--ready-path", "/r", "--metrics-bind")
        [url] = served(workers, *options, f"127.0.0.1:{metrics}", *mode)
    for path in ("/h", "/r") * 4:
        with connect(address_of(url)) as client:
            assert client.get(path).status == 200
    with connect(address_of(url)) as client:
        pid_by_http(client)
    pids = workers.pids(2)
    os.kill(min(pids), signal.SIGKILL)
    workers.wait_until_served()
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/", timeout=TIMEOUT) as answer:
        text = answer.read().decode()
    assert re.search(r"^asyncwsgi_worker_restarts_total 1\.0$", text, re.MULTILINE)


@pytest.fixture
def activated() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


ACTIVATE = """
import os, sys
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.dup2(int(sys.argv[1]), 3)
os.execv(sys.executable, [sys.executable, "-m", "asyncwsgi", *sys.argv[2:]])
"""


@modes
def test_a_listener_of_systemd_s_is_served_by_old_workers_and_new(
    workers: Workers, activated: socket.socket, mode: tuple[str, ...]
) -> None:
    descriptor = activated.fileno()
    workers.project.run(
        *("-c", ACTIVATE, str(descriptor), "--workers", "2", *mode, "web:app"),
        descriptors=[descriptor],
    )
    workers.wait_until_served(2)
    address = activated.getsockname()
    for _ in range(2):
        pids = workers.pids(2)
        for _ in range(8):
            with connect(address) as client:
                assert pid_by_http(client) in pids
        workers.signal(signal.SIGHUP)
        for _ in range(2):
            workers.process.read_until("stopping; ")
        assert all(map(has_ended, pids))
    workers.signal(signal.SIGTERM)
    assert workers.process.wait() == 0


RUN = """
import sys
import asyncwsgi
if __name__ == "__main__":
    sys.exit(asyncwsgi.run("web:app", workers=2, bind=sys.argv[1:], health_path="/h"))
"""


def test_a_program_runs_them_on_listeners_of_all_kinds(workers: Workers) -> None:
    workers.project.write("serve.py", RUN)
    workers.project.run("serve.py", "127.0.0.1:0", "uwsgi://127.0.0.1:0")
    http, uwsgi = map(address_of, workers.process.urls())
    workers.wait_until_served(2)
    pids = workers.pids(2)
    with connect(http) as client:
        assert pid_by_http(client) in pids
    assert pid_by_uwsgi(uwsgi) in pids
    with connect(http) as client:
        assert client.get("/h").status == 200
    workers.signal(signal.SIGTERM)
    assert workers.process.wait() == 0
