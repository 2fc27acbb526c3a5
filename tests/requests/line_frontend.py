"""A second frontend, as small as can be: requests and responses of a line protocol of our own.

A request is a line ``METHOD TARGET SIZE`` and a body of so many bytes. A response is its status
and headers, a line each, an empty line, and blocks behind their sizes, of which the last is 0. It
knows nothing of HTTP's framing, and the rooms below know nothing of its.
"""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Mapping
from typing import Any, cast

from asyncwsgi import ClientDisconnected, Server
from asyncwsgi.frontends.registry import ConnectionSnapshot, Registry
from asyncwsgi.requests.dispatcher import Dispatcher
from asyncwsgi.requests.exchange import Exchange
from asyncwsgi.wsgi.environ import server_environ
from asyncwsgi.wsgi.response import Headers


class LineResponder:
    """Makes lines and blocks of a response."""

    def start(
        self,
        status: str,
        headers: Headers,
        special: Mapping[str, str],
        *,
        is_open_ended: bool,
        block: bytes,
    ) -> bytes:
        lines = [status, *(f"{name}: {value}" for name, value in headers), "", ""]
        head = "\n".join(lines).encode("latin-1")
        return head + self.block(block) if block else head

    def block(self, data: bytes) -> bytes:
        return b"%d\n%b" % (len(data), data)

    def end(self) -> bytes:
        return b"0\n"

    def body_is_awaited(self) -> bytes:
        return b""


class LineConnection(asyncio.Protocol):
    """Serves one client, one request after the other."""

    file_transport = None

    def __init__(self, dispatcher: Dispatcher, registry: Registry) -> None:
        self._dispatcher = dispatcher
        self._registry = registry
        self._received = b""
        self._exchange: Exchange | None = None
        self._missing_size = 0
        self._is_writable = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=self._dispatcher.high_water_size)
        self._registry.add(self)

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._go_on()

    def _go_on(self) -> None:
        if self._missing_size:
            self._feed_body()
        elif self._exchange is None and b"\n" in self._received:
            line, _, self._received = self._received.partition(b"\n")
            method, target, size = line.decode("ascii").split()
            self._exchange = Exchange(
                self._dispatcher, self, LineResponder(), environ(method, target, size)
            )
            if int(size):
                self._missing_size = int(size)
                self._exchange.expect_body()
                self._feed_body()
            self._dispatcher.submit(self._exchange)

    def _feed_body(self) -> None:
        assert self._exchange is not None, "its body is to come"
        body = self._exchange.body
        assert body is not None, "there is more of it to come"
        data = self._received[: self._missing_size]
        self._received = self._received[len(data) :]
        self._missing_size -= len(data)
        if data:
            body.feed(data)
        if not self._missing_size:
            body.finish()
        elif body.is_full:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def write(self, data: bytes | memoryview) -> bool:
        self._transport.write(data)
        return self._is_writable

    def pause_writing(self) -> None:
        self._is_writable = False

    def resume_writing(self) -> None:
        self._is_writable = True
        if self._exchange is not None:
            self._exchange.resume_writing()

    def response_ended(self, exchange: Exchange) -> None:
        self._exchange = None
        if not exchange.is_complete or self._dispatcher.is_draining:
            self._transport.close()
        else:
            self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        self._registry.discard(self)
        if self._exchange is not None:
            self._exchange.connection_lost()

    def close(self) -> None:
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    def read_little(self, is_little: bool) -> None:
        pass

    def close_if_idle(self) -> None:
        if self._exchange is None:
            self._transport.close()

    def tick(self, now: float) -> None:
        """It has no deadlines."""

    def snapshot(self, now: float) -> ConnectionSnapshot:
        return ConnectionSnapshot("line client", "open", 0.0, had_request=True)


class LineServer(Server):
    """Any application, for clients that speak lines."""

    def make_connection(self) -> asyncio.Protocol:
        return LineConnection(self.frontend.dispatcher, self.frontend.registry)


def environ(method: str, target: str, size: str) -> dict[str, Any]:
    """A request as PEP 3333 has it; ``wsgi.input`` is the exchange's to add."""
    path, _, query = target.partition("?")
    return {
        **server_environ(root_path="", multithread=True),
        "REQUEST_METHOD": method,
        "REQUEST_URI": target,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "CONTENT_LENGTH": size,
        "SERVER_PROTOCOL": "LINES/1",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "0",
        "REMOTE_ADDR": "lines",
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
    }


class LineClient:
    """Speaks to it, by a socket that blocks."""

    def __init__(self, sock: Any) -> None:
        self.sock = sock
        self._file: io.BufferedReader = sock.makefile("rb")

    def ask(self, method: str, target: str, body: bytes = b"") -> None:
        self.sock.sendall(f"{method} {target} {len(body)}\n".encode() + body)

    def head(self) -> tuple[str, dict[str, str]]:
        status = self._file.readline().decode().rstrip("\n")
        headers = {}
        while line := self._file.readline().decode().rstrip("\n"):
            name, _, value = line.partition(": ")
            headers[name] = value
        return status, headers

    def block(self) -> bytes:
        """The next block; empty at the end.

        Raises:
            ClientDisconnected: the connection has ended before.
        """
        if not (line := self._file.readline()):
            raise ClientDisconnected("the server has closed")
        return self._file.read(int(line))

    def get(self, target: str, body: bytes = b"") -> tuple[str, bytes]:
        self.ask("POST" if body else "GET", target, body)
        status, _ = self.head()
        return status, b"".join(iter(self.block, b""))
