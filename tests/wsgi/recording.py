"""Responses without a connection: what would be sent is written down."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from asyncwsgi.errors import ClientDisconnected
from asyncwsgi.http1.encoder import SERVER_NAME, ResponseEncoder
from asyncwsgi.wsgi.application import run_application
from asyncwsgi.wsgi.response import Headers, Response
from tests.http1.receiving import Received, receive

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
PLAIN = [("Content-Type", "text/plain")]


class Responder(ResponseEncoder):
    """Frames for HTTP, as the server does."""

    def __init__(self, version: str, *, can_keep: bool) -> None:
        super().__init__(version)
        self._can_keep = can_keep

    def sign(self, status: str) -> tuple[str, str]:
        return SERVER_NAME, DATE

    def can_keep_alive(self) -> bool:
        return self._can_keep


class Outlet:
    """What leads to a client that takes `count` blocks, and has left then."""

    def __init__(self, count: float = math.inf) -> None:
        self.transmitted: list[bytes] = []
        self._count = count

    def transmit(self, data: bytes) -> None:
        if len(self.transmitted) >= self._count:
            raise ClientDisconnected("the client left")
        self.transmitted.append(data)

    def can_send_file(self) -> bool:
        return False


class Recording(Response):
    """A response that keeps what it transmits."""

    def __init__(self, method: str = "GET", version: str = "1.1", *, can_keep: bool = True) -> None:
        outlet = Outlet()
        self.transmitted = outlet.transmitted
        self.method = method
        self.responder = Responder(version, can_keep=can_keep)
        super().__init__(method, self.responder, outlet)

    @property
    def keep_alive(self) -> bool:
        """Whether the next request can follow on the connection."""
        return self.is_complete and self.responder.keep_alive

    @property
    def wire(self) -> bytes:
        """Every byte that was transmitted."""
        return b"".join(self.transmitted)

    def received(self) -> Received:
        """What a client makes of it."""
        return receive(self.wire, self.method)


def length(size: int) -> Headers:
    """Headers with a Content-Length."""
    return [*PLAIN, ("Content-Length", str(size))]


def started(
    status: str = "200 OK",
    headers: Headers = PLAIN,
    method: str = "GET",
    version: str = "1.1",
) -> Recording:
    """A response for which start_response() was called."""
    recording = Recording(method, version)
    recording.start_response(status, headers)
    return recording


def answer(application: WSGIApplication, *args: Any, **kwargs: Any) -> Recording:
    """The response of `application`; the arguments are those of `Recording`."""
    recording = Recording(*args, **kwargs)
    run_application(application, {}, recording)
    return recording
