"""What a faulty server does to single requests: hold them, slow their responses, cut them off.

A `FaultyConnection` asks `Faults` about each request that has arrived; what it is given is a
`Mishap`, which stands between the exchange and the connection until the request is over. All of it
runs on the loop. Knows nothing of which requests are meant (see `asyncwsgi.testing.faults.faults`).
"""

from __future__ import annotations

import asyncio
import math
import socket
import struct
import sys
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

from asyncwsgi.frontends.http import HttpConnection, State
from asyncwsgi.http1.encoder import CONTINUE
from asyncwsgi.wsgi.application import run_application

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

    from asyncwsgi.frontends.http import Frontend
    from asyncwsgi.requests.exchange import Exchange
    from asyncwsgi.requests.mailbox import Mailbox

_END_OF_HEAD = b"\r\n\r\n"
# On Windows the two fields of `struct linger` are u_short.
_NO_LINGERING = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


class Mishaps(Protocol):
    """What decides which requests meet what."""

    def befall(self, connection: FaultyConnection, environ: dict[str, Any]) -> Mishap | None:
        """What shall happen to a request that has arrived; None: nothing."""

    def is_over(self, mishap: Mishap) -> None:
        """Hear that the request is."""


class FaultyConnection(HttpConnection):
    """Serves one client, and some of its requests badly. Subclassed with the server's `mishaps`."""

    mishaps: Mishaps

    def __init__(self, frontend: Frontend) -> None:
        super().__init__(frontend)
        self._mishap: Mishap | None = None

    # From the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        super().connection_made(transport)

    def eof_received(self) -> bool:
        if self._mishap is not None and self._mishap.is_waiting:
            # Half of a connection is no reason to wait: the tools that stall it have given up.
            self._has_eof = True
            self._close()
            return False
        return super().eof_received()

    def resume_writing(self) -> None:
        self._client.is_writable = True
        if self._mishap is None or self._mishap.is_sent():
            super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._mishap is not None:
            self._mishap.stop()
            self.recover()
        super().connection_lost(exc)

    # From the exchange.

    def write(self, data: bytes | memoryview) -> bool:
        if self._mishap is None:
            return super().write(data)
        return self._mishap.write(data)

    def exchange_ended(self, exchange: Exchange) -> None:
        if self._mishap is None or self._mishap.may_end(exchange):
            self.recover()
            super().exchange_ended(exchange)

    # From the registry.

    def close_if_idle(self) -> None:
        """Besides: when the server stops, nobody waits for what a fault holds back."""
        if self._mishap is not None:
            self._mishap.give_up()
        super().close_if_idle()

    # From the mishap.

    @property
    def mailbox(self) -> Mailbox:
        """The way from any thread to the loop."""
        return self._dispatcher.mailbox

    @property
    def is_writable(self) -> bool:
        """Whether the client keeps up."""
        return self._client.is_writable

    @property
    def room_size(self) -> int:
        """Bytes of a response that may wait."""
        return self._dispatcher.room_size

    def send(self, data: bytes | memoryview) -> bool:
        """Write as an ordinary connection does."""
        return super().write(data)

    def serve(self, exchange: Exchange) -> None:
        """Have the application answer."""
        super()._submit(exchange)

    def let_room(self) -> None:
        """Let the exchange go on writing."""
        if self._exchange is not None:
            self._exchange.resume()

    def recover(self) -> None:
        """Be an ordinary connection again."""
        if self._mishap is not None:
            self.mishaps.is_over(self._mishap)
            self._mishap = None

    def cut(self, *, reset: bool) -> None:
        """End the connection behind what was sent; with a reset, if asked for."""
        if not reset:
            self._client.close()
            return
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGERING)
        self._client.abort()

    # Requests.

    def _submit(self, exchange: Exchange) -> None:
        # A server that stops lets its requests end.
        if not self._dispatcher.is_draining:
            self._mishap = self.mishaps.befall(self, exchange.environ)
        if self._mishap is None:
            super()._submit(exchange)
            return
        self._state = State.RESPONDING
        self._deadline = math.inf
        self._exchange = exchange
        self._mishap.begin(exchange)


class Mishap:
    """What happens to one request; this one: nothing."""

    is_waiting = False
    """Whether the application has not been asked yet."""

    def __init__(self, connection: FaultyConnection) -> None:
        self.connection = connection

    def begin(self, exchange: Exchange) -> None:
        """Deal with a request that has arrived."""
        self.connection.serve(exchange)

    def write(self, data: bytes | memoryview) -> bool:
        """Send some of the response. False: see `Connection.write`."""
        return self.connection.send(data)

    def is_sent(self) -> bool:
        """Hear that the client takes more. False: some of the response is still held back."""
        return True

    def may_end(self, _exchange: Exchange) -> bool:
        """Hear that the response is complete. False: it has not left yet."""
        return True

    def let_go(self) -> None:
        """Go on as an ordinary request, if it is held back."""

    def give_up(self) -> None:
        """The server stops: hold nothing back."""
        self.let_go()

    def stop(self) -> None:
        """The connection is lost."""


class Stall(Mishap):
    """Nothing is answered."""

    is_waiting = True

    def begin(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def let_go(self) -> None:
        self.connection.recover()
        self.connection.serve(self._exchange)

    def give_up(self) -> None:
        self.connection.abort()


class Trickle(Mishap):
    """The response leaves `size` bytes at a time, `interval` seconds apart."""

    def __init__(self, size: int, interval: float, connection: FaultyConnection) -> None:
        super().__init__(connection)
        self._size = size
        self._interval = interval
        self._unsent = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self._ended: Exchange | None = None

    def write(self, data: bytes | memoryview) -> bool:
        self._unsent += data
        if self._timer is None:
            self._step()
        return self._has_little

    def is_sent(self) -> bool:
        if self._timer is None:
            self._step()
        return False  # the exchange is told by the step after which little is left

    def may_end(self, exchange: Exchange) -> bool:
        if self._unsent:
            self._ended = exchange
            return False
        self.stop()
        return True

    def let_go(self) -> None:
        self.stop()
        self.connection.recover()
        if self.connection.send(bytes(self._unsent)):
            self.connection.let_room()
        if self._ended is not None:
            self.connection.exchange_ended(self._ended)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def _has_little(self) -> bool:
        return len(self._unsent) < self.connection.room_size

    def _step(self) -> None:
        self._timer = None
        if not self._unsent or not self.connection.is_writable:
            return
        had_little = self._has_little
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._step)
        self.connection.send(bytes(self._unsent[: self._size]))
        del self._unsent[: self._size]
        if self._has_little and not had_little:
            self.connection.let_room()
        if self._ended is not None and not self._unsent:
            self.connection.exchange_ended(self._ended)


class Cut(Mishap):
    """The connection ends inside the response: `after` bytes into its head or its body."""

    def __init__(
        self, after: int, in_body: bool, reset: bool, connection: FaultyConnection
    ) -> None:
        super().__init__(connection)
        self._after = after
        self._in_body = in_body
        self._reset = reset
        self._head: bytearray | None = bytearray()
        """What has come of the head; None when all of it has."""
        self._is_cut = False

    def write(self, data: bytes | memoryview) -> bool:
        if self._is_cut:
            return True  # the exchange hears of it when the connection is lost
        if data == CONTINUE:
            return self.connection.send(data)  # RFC 9110 15.2: not the response yet
        block = bytes(data)
        sent = self._of_head(block) if self._head is not None else b""
        if self._head is None and self._in_body and not self._is_cut:
            block = block[len(sent) :]
            sent += block[: self._after]
            self._after -= min(self._after, len(block))
            self._is_cut = not self._after
        is_writable = self.connection.send(sent)
        if self._is_cut:
            self.connection.cut(reset=self._reset)
        return is_writable

    def may_end(self, _exchange: Exchange) -> bool:
        # A response that is shorter than the cut ends with it all the same.
        if not self._is_cut:
            self._is_cut = True
            self.connection.cut(reset=self._reset)
        return False  # no request follows on this connection

    def give_up(self) -> None:
        if self._is_cut:
            self.connection.abort()  # a client over TLS may owe the answer to our goodbye

    def _of_head(self, block: bytes) -> bytes:
        """The part of a block that leaves as head."""
        head = self._head
        assert head is not None, "some of the head is still to come"
        start = len(head)
        head += block
        end = head.find(_END_OF_HEAD)
        if end >= 0:
            self._head = None
            end += len(_END_OF_HEAD)
        size = end if end >= 0 else len(head)
        if not self._in_body:
            self._is_cut = size >= self._after or end >= 0
            size = min(size, self._after)
        return bytes(head[start:size])


class Refusal(Mishap):
    """The connection is reset; the application hears of nothing."""

    def begin(self, exchange: Exchange) -> None:
        self.connection.cut(reset=True)


class Answer(Mishap):
    """A response of the test's; the application hears of nothing."""

    def __init__(
        self, status: int, headers: Mapping[str, str], body: bytes, connection: FaultyConnection
    ) -> None:
        super().__init__(connection)
        self._status = status
        self._headers = headers
        self._body = body

    def begin(self, exchange: Exchange) -> None:
        # An application of this one exchange, so that all the rest - framing, keep-alive, log
        # lines, records - is what it is for the server's own.
        answer = partial(run_application, self._application, exchange.environ)
        exchange.call_application = answer  # type: ignore[method-assign]
        self.connection.serve(exchange)

    def _application(self, _environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
        phrases = {status.value: status.phrase for status in HTTPStatus}
        status = f"{self._status} {phrases.get(self._status, 'Unknown')}"
        headers = list(self._headers.items())
        if "content-type" not in {name.lower() for name, _ in headers}:
            headers.append(("Content-Type", "text/plain; charset=utf-8"))
        start_response(status, headers)
        return [self._body]


MakeMishap = Callable[[FaultyConnection], Mishap]
