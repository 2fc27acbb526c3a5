"""Another protocol in HTTP's place, on the same connection (RFC 9110 7.8: Upgrade, 101).

A request that asks for one has an offer in its environ. An application that takes it says what
goes on with the connection, and answers 101 (Switching Protocols). That is its response: the
request ends with it, in order, and then the connection is the successor's. If the response is
another one after all, nothing has happened.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from asyncwsgi.coroutines.current import CurrentRequest
from asyncwsgi.frontends.transport import ClientTransport

WEBSOCKET_OFFER = "asyncwsgi.websocket"
"""The key of the environ that has the offer, in requests that ask for a WebSocket."""


class SocketTaker(Protocol):
    """Who has taken a connection over: from then on its bytes are no HTTP. All on the loop."""

    def receive(self, data: bytes) -> None:
        """The client has sent bytes."""

    def end(self) -> None:
        """The client sends no more."""

    def pause(self) -> None:
        """The client does not keep up with what is written to it."""

    def resume(self) -> None:
        """It keeps up again."""

    def close(self) -> None:
        """The client has gone."""


class Successor(SocketTaker, Protocol):
    """Who goes on with a connection behind a 101, for good."""

    def tick(self, now: float) -> None:
        """Act on deadlines that have passed; `now` is monotonic."""

    def drain(self) -> None:
        """The server stops: take leave of the client, and close. May be called more than once."""


class SwitchingConnection(Protocol):
    """The connection, as its successor uses it."""

    client: ClientTransport

    def switch_to(self, successor: Successor) -> bytes:
        """Give the bytes of the connection to `successor`; those that came already."""

    def hold(self, size: int) -> bool:
        """Count `size` bytes as held of what the client has sent, in all; 0 when it has gone.

        False: the server holds more than it may.
        """

    def close(self) -> None:
        """Close when everything is sent."""

    def linger(self) -> None:
        """Close when everything is sent and the client, which may still be sending, has read it."""

    def abort(self) -> None:
        """Close at once; what is unsent is lost."""


class OfferingExchange(CurrentRequest, Protocol):
    """The request in whose environ the offer is."""

    target: str

    def allow_switching(self) -> None:
        """Let its response be a 101."""


Start = Callable[[SwitchingConnection, OfferingExchange], object]


class UpgradeOffer:
    """What a request that asks for another protocol has in its environ.

    Args:
        exchange: the request.
    """

    __slots__ = ("_exchange", "_start")

    def __init__(self, exchange: OfferingExchange) -> None:
        self._exchange: OfferingExchange | None = exchange
        self._start: Start | None = None

    def take(self, start: Start) -> bool:
        """Have `start` called with connection and request on the loop, behind a 101.

        In the worker thread.

        False: the request is over.
        """
        exchange = self._exchange
        if exchange is None:
            return False
        self._start = start
        exchange.allow_switching()
        return True

    def settle(self) -> Start | None:
        """What the application wants started. The offer holds nothing any more, and is no more."""
        start, self._start, self._exchange = self._start, None, None
        return start
