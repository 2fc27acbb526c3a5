"""Applications that several tests serve."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsgiref.types import StartResponse


def hello(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Answers everything with the same 13 bytes; reads nothing."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
    return [b"Hello, world!"]


def echo(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Answers with the request body."""
    body = environ["wsgi.input"].read(-1)  # wsgiref.validate wants a size
    start_response(
        "200 OK",
        [("Content-Type", "application/octet-stream"), ("Content-Length", str(len(body)))],
    )
    return [body]


def show_environ(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Answers with the environ as JSON; what is no string, number or tuple as its type's name."""
    plain = {
        key: value if isinstance(value, str | int | bool | tuple) else type(value).__name__
        for key, value in environ.items()
    }
    body = json.dumps(plain).encode()
    start_response(
        "200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    )
    return [body]


class Held:
    """Holds every request inside the application until `release` is called."""

    def __init__(self, application: Callable[..., Iterable[bytes]] = hello) -> None:
        self._application = application
        self._release = threading.Event()
        self.entered = threading.Semaphore(0)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        self.entered.release()
        assert self._release.wait(10), "the test never released the application"
        return self._application(environ, start_response)

    def wait_until_entered(self, count: int = 1) -> None:
        """Wait until `count` more requests are inside the application."""
        for _ in range(count):
            assert self.entered.acquire(timeout=30), "no request reached the application"

    def release(self) -> None:
        self._release.set()


class Endless:
    """Streams blocks of `block_size` bytes until it is closed; counts its closings."""

    def __init__(
        self, block_size: int = 16 * 1024, media_type: str = "application/octet-stream"
    ) -> None:
        self._block = b"x" * block_size
        self._media_type = media_type
        self.produced = 0
        self.closings = 0
        self.was_closed = threading.Event()

    def __call__(self, _environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", self._media_type)])
        return self

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        self.produced += 1
        return self._block

    def close(self) -> None:
        self.closings += 1
        self.was_closed.set()
