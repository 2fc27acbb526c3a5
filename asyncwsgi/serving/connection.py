"""A connection below Werkzeug's hooks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from asyncwsgi.errors import RequestRefused
from asyncwsgi.frontends.client_socket import ClientSocket
from asyncwsgi.frontends.frontend import Frontend
from asyncwsgi.frontends.http import HttpConnection
from asyncwsgi.http1.head import RequestHead
from asyncwsgi.requests.exchange import Exchange
from asyncwsgi.serving.exchange import WerkzeugExchange
from asyncwsgi.serving.handler import WerkzeugServer, bare_handler
from asyncwsgi.serving.responder import WerkzeugResponder

_TIMEOUTS = ("head_timeout", "body_timeout", "keep_alive_timeout", "send_timeout")


def timeouts(seconds: float) -> dict[str, Any]:
    """The options that say how long a handler with this `timeout` waits for its client."""
    return dict.fromkeys(_TIMEOUTS, float(seconds))


class WerkzeugConnection(HttpConnection):
    """Serves one client of a Werkzeug server object.

    Args:
        frontend: what it shares with the others.
        wsgi_server: the server object.
        is_only_one: whether only one request is to be answered.
    """

    resets_truncated = False
    """Werkzeug's server ends such a response as any other, and its own tests ask for that."""

    def __init__(
        self, frontend: Frontend, wsgi_server: WerkzeugServer, *, is_only_one: bool = False
    ) -> None:
        super().__init__(frontend)
        self._signature = frontend.signature
        self._wsgi_server = wsgi_server
        self._is_only_one = is_only_one

    def make_exchange(self, head: RequestHead, environ: dict[str, Any]) -> Exchange:
        server = self._wsgi_server
        # A handler that speaks HTTP/1.0 closes behind each response and sends no chunks.
        protocol = getattr(server.RequestHandlerClass, "protocol_version", "HTTP/1.1")
        responder = WerkzeugResponder(
            self.dispatcher,
            head,
            self._signature,
            http_version="1.0" if protocol < "HTTP/1.1" else head.http_version,
            is_only_one=self._is_only_one,
        )
        return WerkzeugExchange(
            server, head, self.dispatcher, self, responder, environ, self._set_timeout
        )

    def request_refused(self, refused: RequestRefused) -> None:
        handler = bare_handler(self._wsgi_server, ClientSocket(self, self.exchange))
        handler.log_error("code %d, message %s", refused.status, refused.reason)

    def _set_timeout(self, seconds: float) -> None:
        """Give this client a timeout of its own. From any thread."""
        config = replace(self.dispatcher.config, **timeouts(seconds))
        self.dispatcher.mailbox.post(self.set_timeouts, config)
