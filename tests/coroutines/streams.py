"""What the tests of streamed bodies share."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from typing import TYPE_CHECKING, Any

from asyncwsgi import stream
from tests.client import TIMEOUT, Client

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication

PLAIN = [("Content-Type", "text/plain")]
EVENTS = [("Content-Type", "text/event-stream")]


class Feed:
    """Bodies that begin with a block, go on when the test says so, and tell when they close."""

    def __init__(self, *, first: bytes = b"first\n", last: bytes = b"last\n") -> None:
        self._first = first
        self._last = last
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self.closed = threading.Semaphore(0)
        self.closings = 0
        self.threads: set[threading.Thread] = set()

    async def blocks(self) -> AsyncIterator[bytes]:
        go_on = asyncio.Event()
        self._waiting.append((asyncio.get_running_loop(), go_on))
        try:
            yield self._first
            self.threads.add(threading.current_thread())
            await go_on.wait()
            yield self._last
        finally:
            self.closings += 1
            self.closed.release()

    def go_on(self) -> None:
        for loop, event in self._waiting:
            loop.call_soon_threadsafe(event.set)

    def wait_until_closed(self, count: int = 1) -> None:
        for _ in range(count):
            assert self.closed.acquire(timeout=TIMEOUT), "a body was never closed"


def app_of(
    blocks: Callable[[], AsyncIterator[Any]], headers: list[tuple[str, str]] = PLAIN
) -> WSGIApplication:
    """Streams at ``/stream`` what `blocks` makes; answers everything else at once."""

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/stream":
            start_response("200 OK", list(headers))
            return stream(blocks())
        start_response("200 OK", PLAIN)
        return [b"ordinary"]

    return app


def open_stream(client: Client, first: bytes = b"first\n", target: str = "/stream") -> None:
    """Ask for the stream, and wait for its head and the first block."""
    client.request(target=target)
    while client.read_line() != b"\r\n":
        pass
    assert client.read_line() == b"%x\r\n" % len(first)
    assert client.read(len(first) + 2) == first + b"\r\n"
