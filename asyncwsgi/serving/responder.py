"""A response as a Werkzeug server sends it: signed and logged by the handler's hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncwsgi.frontends.http_response import HttpResponder
from asyncwsgi.frontends.signature import Signature
from asyncwsgi.http1.head import RequestHead
from asyncwsgi.requests.dispatcher import Dispatcher
from asyncwsgi.serving.overrides import is_overridden

if TYPE_CHECKING:
    from werkzeug.serving import WSGIRequestHandler


class WerkzeugResponder(HttpResponder):
    """Makes the response to one request of a Werkzeug server.

    Args:
        http_version: the version whose framing the client gets.
        is_only_one: whether no other request is to be answered on the connection.
    """

    __slots__ = ("handler",)

    def __init__(
        self,
        dispatcher: Dispatcher,
        request: RequestHead,
        signature: Signature,
        *,
        http_version: str,
        is_only_one: bool,
    ) -> None:
        super().__init__(dispatcher, request, signature, http_version=http_version)
        self.is_last = is_only_one
        self.handler: WSGIRequestHandler | None = None
        """The request's, once the application is called."""

    def sign(self, status: str) -> tuple[str, str]:
        handler = self.handler
        if handler is None:
            return super().sign(status)
        # Werkzeug logs a request when the head of its response leaves.
        handler.log_request(int(status[:3]))
        # The standard library formats the time for each response anew.
        has_own = is_overridden(type(handler), "date_time_string")
        date = handler.date_time_string() if has_own else self._signature.date()
        return handler.version_string().strip(), date
