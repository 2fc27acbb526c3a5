"""Workers are replaced under load, behind proxies that try nothing twice."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.client import connect
from tests.deployment.neighbours import haproxy, nginx
from tests.frontends.uwsgi_nginx import Nginx
from tests.supervision.conftest import Workers
from tests.supervision.conftest import workers as workers

CLIENTS = 6
REPLACEMENTS = 3
NO_RETRIES = ("proxy_http_version 1.1;", "proxy_http_version 1.1; proxy_next_upstream off;")
OPTIONS = ("--no-access-log", "--graceful-timeout", "30")


def serve(workers: Workers, *options: str) -> tuple[str, int] | str:
    """Have two workers serve; where."""
    workers.project.start("--workers", "2", *OPTIONS, *options)
    workers.find()
    workers.wait_until_served()
    return workers.project.address


@contextmanager
def by_tcp(workers: Workers, directory: Path) -> Iterator[int]:
    with nginx(directory, serve(workers), NO_RETRIES) as proxy:
        yield proxy.port


@contextmanager
def preloaded(workers: Workers, directory: Path) -> Iterator[int]:
    with nginx(directory, serve(workers, "--preload"), NO_RETRIES) as proxy:
        yield proxy.port


@contextmanager
def by_unix_socket(workers: Workers, directory: Path) -> Iterator[int]:
    address = serve(workers, "--bind", f"unix:{directory / 'app.sock'}")
    with nginx(directory, address, NO_RETRIES) as proxy:
        yield proxy.port


@contextmanager
def by_uwsgi(workers: Workers, directory: Path) -> Iterator[int]:
    address = serve(workers, "--bind", "uwsgi://127.0.0.1:0")
    assert not isinstance(address, str)
    with Nginx(directory, f"{address[0]}:{address[1]}") as proxy:
        yield proxy.port


@contextmanager
def by_proxy_protocol(workers: Workers, directory: Path) -> Iterator[int]:
    address = serve(workers, "--proxy-protocol", "--proxy-protocol-allow-ips", "127.0.0.1")
    assert not isinstance(address, str)
    # Its health checks ask for /health, which the application answers as any other.
    with haproxy(directory, address) as proxy:
        yield proxy.port


Way = Callable[[Workers, Path], AbstractContextManager[int]]
WAYS: list[Way] = [by_tcp, preloaded, by_unix_socket, by_uwsgi, by_proxy_protocol]


@pytest.mark.parametrize("way", WAYS)
def test_no_request_is_lost_and_none_is_answered_by_the_proxy(
    workers: Workers, shared: Path, way: Way
) -> None:
    is_over = threading.Event()
    with way(workers, shared) as port, ThreadPoolExecutor(CLIENTS) as executor:
        asking = [executor.submit(ask, port, is_over) for _ in range(CLIENTS)]
        try:
            for _ in range(REPLACEMENTS):
                workers.signal(signal.SIGHUP)
                for _ in range(2):
                    workers.process.read_until("stopping; ")
        finally:
            is_over.set()
        statuses = sum((future.result() for future in asking), Counter[int]())
    assert set(statuses) == {200}
    assert statuses[200] > CLIENTS * REPLACEMENTS


def ask(port: int, is_over: threading.Event) -> Counter[int]:
    """What requests with and without a body are answered until it is over."""
    statuses = Counter[int]()
    while not is_over.is_set():
        with connect(("127.0.0.1", port)) as client:
            is_kept = True
            while is_kept and not is_over.is_set():
                reply = client.post("/", b"x" * 1000) if statuses[200] % 2 else client.get("/slow")
                statuses[reply.status] += 1
                is_kept = reply.header("Connection") != "close"
    return statuses
