"""Responses without a connection: what would be sent is written down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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


class Recording(Response):
    """A response that keeps what it transmits."""

    def __init__(self, method: str = "GET", version: str = "1.1", *, can_keep: bool = True) -> None:
        self.transmitted: list[bytes] = []
        self.method = method
        self.responder = Responder(version, can_keep=can_keep)
        super().__init__(method, self.responder, self.transmitted.append)

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
