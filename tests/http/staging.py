"""What the tests of served applications share: names of types, waits, applications that tell."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from asyncwsgi.testing import LiveServer
from tests.client import TIMEOUT, Client

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication

Environ = dict[str, Any]
ClientOf = Callable[[LiveServer], Client]
Headers = list[tuple[str, str]]
Read = Callable[[Any], object]

PLAIN = [("Content-Type", "text/plain")]
GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
SIZED = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"


def wait_for(event: threading.Event) -> None:
    """Wait for what another thread must do."""
    assert event.wait(TIMEOUT), "it never happened"


def take(semaphore: threading.Semaphore, count: int = 1) -> None:
    """Wait for something that another thread must do `count` times."""
    for _ in range(count):
        assert semaphore.acquire(timeout=TIMEOUT), "it never happened"


def answer(
    blocks: Callable[[], Any], headers: Headers = PLAIN, status: str = "200 OK"
) -> WSGIApplication:
    """An application that returns what `blocks` makes."""

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response(status, headers)
        body: Iterable[bytes] = blocks()
        return body

    return application


def sized(size: int) -> Headers:
    return [*PLAIN, ("Content-Length", str(size))]


def generate() -> Iterator[bytes]:
    yield b"spam "
    yield b"eggs"


class Recorder:
    """Keeps every environ it is called with; answers with an empty body."""

    def __init__(self) -> None:
        self.environs: list[Environ] = []

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        self.environs.append(environ)
        start_response("200 OK", PLAIN)
        return []


class Reads:
    """Does something with ``wsgi.input`` and keeps what comes of it."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self.entered = threading.Semaphore(0)
        self.result: object = None
        self.error: BaseException | None = None

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        self.entered.release()
        try:
            self.result = self._read(environ["wsgi.input"])
        except Exception as error:
            self.error = error
            raise
        start_response("200 OK", PLAIN)
        return []


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Blocks:
    """Blocks of a body; counts how often it was closed."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self.blocks = blocks
        self.closings = 0

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.blocks)

    def close(self) -> None:
        self.closings += 1


def read_head(client: Client) -> list[bytes]:
    """The status line and the header lines of a response; its body is still to be read."""
    lines = []
    while (line := client.read_line()) != b"\r\n":
        assert line.endswith(b"\r\n"), "the response ends in its head"
        lines.append(line.removesuffix(b"\r\n"))
    return lines
