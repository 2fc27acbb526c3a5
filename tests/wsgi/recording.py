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


def sign(status: str) -> tuple[str, str]:
    """What the server puts into Server and Date."""
    return SERVER_NAME, DATE


class Recording(Response):
    """A response that keeps what it transmits."""

    def __init__(self, method: str = "GET", version: str = "1.1", *, can_keep: bool = True) -> None:
        self.transmitted: list[bytes] = []
        self.method = method
        encoder = ResponseEncoder(version, lambda: can_keep)
        super().__init__(method, encoder, self.transmitted.append, sign)

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
