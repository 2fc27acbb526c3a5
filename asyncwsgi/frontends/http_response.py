"""HTTP's part of one exchange: how its response is framed, and what may follow it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncwsgi.frontends.signature import Signature
from asyncwsgi.http1.encoder import CONTINUE, ResponseEncoder
from asyncwsgi.http1.head import RequestHead
from asyncwsgi.requests.dispatcher import Dispatcher

if TYPE_CHECKING:
    from asyncwsgi.frontends.upgrade import UpgradeOffer
    from asyncwsgi.requests.request_body import RequestBody


class HttpResponder(ResponseEncoder):
    """Makes the response to one HTTP/1.x request. In the worker thread.

    A subclass may override `sign`, `can_keep_alive` and `start`; name it in
    ``Server.responder_class``.

    Args:
        dispatcher: says whether the server drains.
        request: the head of the request.
        signature: the values of Server and Date.
        http_version: the version whose framing the client gets, ``1.1`` or ``1.0``; the request's
            if it is None.
    """

    __slots__ = (
        "_dispatcher",
        "_has_sent_continue",
        "_signature",
        "body",
        "is_last",
        "offer",
        "request",
    )

    def __init__(
        self,
        dispatcher: Dispatcher,
        request: RequestHead,
        signature: Signature,
        *,
        http_version: str | None = None,
    ) -> None:
        super().__init__(http_version or request.http_version)
        self.request = request
        self.body: RequestBody | None = None
        """The request's, if it has one; given by the connection."""
        self.is_last = False
        """Whether nothing can follow on the connection, since the application uses its bytes."""
        self.offer: UpgradeOffer | None = None
        """The request's, if it asks for another protocol; given by the connection."""
        self._dispatcher = dispatcher
        self._signature = signature
        self._has_sent_continue = False

    def sign(self, status: str) -> tuple[str, str]:
        """The values of Server and Date. Called once, when the head is about to leave."""
        signature = self._signature
        return signature.server, signature.date()

    def can_keep_alive(self) -> bool:
        """Whether the connection can be kept behind this response. Called behind `sign`."""
        request = self.request
        if self._dispatcher.is_draining or self.is_last or not request.keep_alive:
            return False
        # RFC 9110 10.1.1: a body that was not asked for may never come; nothing can follow it.
        body = self.body
        is_certain = self._has_sent_continue or body is None or body.is_complete
        return is_certain or not request.fields.expects_continue

    def body_is_awaited(self) -> bytes:
        """A 100 (Continue), if the client waits for one."""
        # RFC 9110 10.1.1: only before the final response, and not to a client of HTTP/1.0.
        request = self.request
        is_owed = request.fields.expects_continue and request.http_version == "1.1"
        if not is_owed or self.has_started:
            return b""
        self._has_sent_continue = True
        return CONTINUE
