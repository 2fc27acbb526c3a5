"""What a faulty server does to single requests: hold them, slow their responses, cut them off.

A `FaultyConnection` asks `Faults` about each request that has arrived; what it is given, a
`FaultyExchange`, stands between exchange and connection until the request is over. All of it runs
on the loop. Knows nothing of which requests are meant (see `asyncwsgi.testing.faults.faults`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

from asyncwsgi.frontends.http import HttpConnection
from asyncwsgi.frontends.transport import ClientTransport
from asyncwsgi.http1.encoder import CONTINUE
from asyncwsgi.wsgi.application import run_application

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

    from asyncwsgi.frontends.frontend import Frontend
    from asyncwsgi.requests.exchange import Exchange

_END_OF_HEAD = b"\r\n\r\n"


class FaultSource(Protocol):
    """What decides which requests meet what."""

    def meet(self, connection: FaultyConnection, environ: dict[str, Any]) -> FaultyExchange | None:
        """What shall happen to a request that has arrived; None: nothing."""

    def is_over(self, faulty: FaultyExchange) -> None:
        """Hear that the request is."""


class FaultyConnection(HttpConnection):
    """Serves one client, and some of its requests badly. Subclassed with the server's `faults`."""

    faults: FaultSource

    def __init__(self, frontend: Frontend) -> None:
        super().__init__(frontend)
        self._faulty: FaultyExchange | None = None

    # From the transport.

    def eof_received(self) -> bool:
        stays_open = super().eof_received()
        if self._faulty is not None and self._faulty.is_waiting:
            # Half of a connection is no reason to wait: the tools that stall it have given up.
            self.close()
            return False
        return stays_open

    def resume_writing(self) -> None:
        self.client.is_writable = True
        if self._faulty is None or self._faulty.is_sent():
            super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._faulty is not None:
            self._faulty.stop()
            self.recover()
        super().connection_lost(exc)

    # From the exchange.

    def write(self, data: bytes | memoryview) -> bool:
        if self._faulty is None:
            return super().write(data)
        return self._faulty.write(data)

    @property
    def file_transport(self) -> ClientTransport | None:
        return super().file_transport if self._faulty is None else None

    def response_ended(self, exchange: Exchange) -> None:
        if self._faulty is None or self._faulty.may_end(exchange):
            self.recover()
            super().response_ended(exchange)

    # From the registry.

    def close_if_idle(self) -> None:
        """Besides: when the server stops, nobody waits for what a fault holds back."""
        if self._faulty is not None:
            self._faulty.give_up()
        super().close_if_idle()

    # From the fault.

    def send(self, data: bytes | memoryview) -> bool:
        """Write as an ordinary connection does."""
        return super().write(data)

    def resume_exchange(self) -> None:
        """Let the exchange go on writing."""
        if self.exchange is not None:
            self.exchange.resume_writing()

    def recover(self) -> None:
        """Be an ordinary connection again."""
        if self._faulty is not None:
            self.faults.is_over(self._faulty)
            self._faulty = None

    def cut(self, *, reset: bool) -> None:
        """End the connection behind what was sent; with a reset, if asked for."""
        if reset:
            self.reset()
        else:
            self.close()

    # Requests.

    def request_arrived(self, exchange: Exchange) -> None:
        # A server that stops lets its requests end.
        if not self.dispatcher.is_draining:
            self._faulty = self.faults.meet(self, exchange.environ)
        if self._faulty is None:
            super().request_arrived(exchange)
        else:
            self._faulty.begin(exchange)


class FaultyExchange:
    """What happens to one request; this one: nothing."""

    is_waiting = False
    """Whether the application has not been asked yet."""

    def __init__(self, connection: FaultyConnection) -> None:
        self.connection = connection

    def begin(self, exchange: Exchange) -> None:
        """Deal with a request that has arrived."""
        self.connection.submit(exchange)

    def write(self, data: bytes | memoryview) -> bool:
        """Send some of the response. False: see `Connection.write`."""
        return self.connection.send(data)

    def is_sent(self) -> bool:
        """Whether all that was written has been sent, now that the client takes more.

        The application is ahead of its client by what is held back here, too; so it may go on when
        that is gone, and not already when the transport could send again.
        """
        return True

    def may_end(self, _exchange: Exchange) -> bool:
        """Whether a response that is complete has left, so that its connection may go on.

        If not, the fault says later that it has ended.
        """
        return True

    def let_go(self) -> None:
        """Go on as an ordinary request, if it is held back."""

    def give_up(self) -> None:
        """The server stops: hold nothing back."""
        self.let_go()

    def stop(self) -> None:
        """The connection is lost."""


class Stall(FaultyExchange):
    """Nothing is answered."""

    is_waiting = True

    def begin(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def let_go(self) -> None:
        self.connection.recover()
        self.connection.submit(self._exchange)

    def give_up(self) -> None:
        self.connection.abort()


class Trickle(FaultyExchange):
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
            self.connection.resume_exchange()
        if self._ended is not None:
            self.connection.response_ended(self._ended)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def _has_little(self) -> bool:
        return len(self._unsent) < self.connection.dispatcher.high_water_size

    def _step(self) -> None:
        self._timer = None
        if not self._unsent or not self.connection.client.is_writable:
            return
        had_little = self._has_little
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._step)
        self.connection.send(bytes(self._unsent[: self._size]))
        del self._unsent[: self._size]
        if self._has_little and not had_little:
            self.connection.resume_exchange()
        if self._ended is not None and not self._unsent:
            self.connection.response_ended(self._ended)


class Cut(FaultyExchange):
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


class Refusal(FaultyExchange):
    """The connection is reset; the application hears of nothing."""

    def begin(self, exchange: Exchange) -> None:
        self.connection.cut(reset=True)


class Answer(FaultyExchange):
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
        self.connection.submit(exchange)

    def _application(self, _environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
        phrases = {status.value: status.phrase for status in HTTPStatus}
        status = f"{self._status} {phrases.get(self._status, 'Unknown')}"
        headers = list(self._headers.items())
        if "content-type" not in {name.lower() for name, _ in headers}:
            headers.append(("Content-Type", "text/plain; charset=utf-8"))
        start_response(status, headers)
        return [self._body]


MakeFaultyExchange = Callable[[FaultyConnection], FaultyExchange]
