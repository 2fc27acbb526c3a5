"""One kind of live server, started, asked and stopped: `live_servers.py KIND ROUNDS` prints JSON.

Runs with the interpreter of the benchmark's environment.  Each kind is used as its documentation
says, with its defaults.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OWN = "asyncwsgi"
WARM_UP = 1
"""Servers that pay for the imports, and are not counted."""
STARTED_INTERVAL = 0.001


@contextmanager
def asyncwsgi(app: Any) -> Iterator[int]:
    from asyncwsgi.testing import LiveServer

    with LiveServer(app) as server:
        yield server.port


@contextmanager
def pytest_flask(app: Any) -> Iterator[int]:
    from pytest_flask.live_server import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
        LiveServer,
    )

    port = _free_port()  # as its fixture does
    server = LiveServer(app, "localhost", port, 5, True)
    server.start()
    try:
        yield port
    finally:
        server.stop()


@contextmanager
def pytest_httpserver(app: Any) -> Iterator[int]:
    from pytest_httpserver import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
        HTTPServer,
    )

    # It serves canned answers and no application.
    with HTTPServer() as server:
        server.expect_request("/").respond_with_data("Hello, world!")
        yield server.port


@contextmanager
def pytest_localserver(app: Any) -> Iterator[int]:
    from pytest_localserver.http import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
        WSGIServer,
    )

    server = WSGIServer(application=app)
    server.start()
    try:
        yield server.server_address[1]
    finally:
        server.stop()


@contextmanager
def uvicorn(app: Any) -> Iterator[int]:
    import uvicorn  # type: ignore[import-not-found,import-untyped,unused-ignore]
    from a2wsgi import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
        WSGIMiddleware,
    )

    # The recipe that projects copy from each other.
    config = uvicorn.Config(WSGIMiddleware(app), port=0, log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(STARTED_INTERVAL)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


KINDS: dict[str, Callable[[Any], contextlib.AbstractContextManager[int]]] = {
    OWN: asyncwsgi,
    "uvicorn in a thread": uvicorn,
    "pytest-localserver": pytest_localserver,
    "pytest-httpserver": pytest_httpserver,
    "pytest-flask": pytest_flask,
}


def measure(kind: str, app: Any) -> tuple[float, float, float]:
    """Seconds until it serves, until its first response is read, and until it has stopped."""
    began = time.perf_counter()
    with KINDS[kind](app) as port:
        started = time.perf_counter()
        _ask(port)
        answered = time.perf_counter()
    return started - began, answered - started, time.perf_counter() - answered


def _ask(port: int) -> None:
    connection = http.client.HTTPConnection("localhost", port, timeout=10)
    connection.request("GET", "/")
    response = connection.getresponse()
    body = response.read()
    connection.close()
    if response.status != 200 or body != b"Hello, world!":
        raise RuntimeError(f"answered {response.status} with {body[:100]!r}")


def _free_port() -> int:
    with socket.create_server(("localhost", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def main() -> None:
    from apps import flask_app

    kind, rounds = sys.argv[1], int(sys.argv[2])
    spans = [measure(kind, flask_app) for _ in range(WARM_UP + int(rounds))]
    print(json.dumps(spans[WARM_UP:]))


if __name__ == "__main__":
    main()
