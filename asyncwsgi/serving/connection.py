"""A connection below Werkzeug's hooks: its refusals, and its bytes for whoever wants the socket."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any, cast

from asyncwsgi.errors import RequestRefused
from asyncwsgi.frontends.http import Frontend, HttpConnection
from asyncwsgi.http1.head import RequestHead
from asyncwsgi.requests.exchange import Exchange
from asyncwsgi.serving.client_socket import ClientSocket
from asyncwsgi.serving.exchange import WerkzeugExchange
from asyncwsgi.serving.handler import WerkzeugServer, bare_handler
from asyncwsgi.serving.relay import Relay
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
        self._relay: Relay | None = None

    def make_exchange(self, head: RequestHead, environ: dict[str, Any]) -> Exchange:
        server = self._wsgi_server
        client = self._client_socket()
        # A handler that speaks HTTP/1.0 closes behind each response and sends no chunks.
        protocol = getattr(server.RequestHandlerClass, "protocol_version", "HTTP/1.1")
        responder = WerkzeugResponder(
            self.dispatcher,
            head,
            self._signature,
            client,
            http_version="1.0" if protocol < "HTTP/1.1" else head.http_version,
            is_only_one=self._is_only_one,
        )
        return WerkzeugExchange(
            server, client, head, self.dispatcher, self, responder, environ, self._set_timeout
        )

    def request_refused(self, refused: RequestRefused) -> None:
        handler = bare_handler(self._wsgi_server, self._client_socket())
        handler.log_error("code %d, message %s", refused.status, refused.reason)

    def response_ended(self, exchange: Exchange) -> None:
        # Here and not where the application ends: a hook of the handler's may raise there.
        cast("WerkzeugExchange", exchange).end_request()
        super().response_ended(exchange)
        self._close_behind_relay()

    def _client_socket(self) -> ClientSocket:
        """The connection as a socket, for one request."""
        return ClientSocket(self.client.transport, self._hand_over_socket)

    def _set_timeout(self, seconds: float) -> None:
        """Give this client a timeout of its own. From any thread."""
        config = replace(self.dispatcher.config, **timeouts(seconds))
        self.dispatcher.mailbox.post(self.set_timeouts, config)

    def _hand_over_socket(self, end: socket.socket) -> None:
        """Pass the client's bytes to and from `end`. From any thread."""
        if not self.is_body_complete:
            end.close()
            raise OSError("the request body is not complete; read wsgi.input before the socket")
        self.dispatcher.mailbox.post(self._begin_relay, end)

    def _begin_relay(self, end: socket.socket) -> None:
        exchange = cast("WerkzeugExchange | None", self.exchange)
        # A thread that the application left behind may ask in the moment in which its request ends;
        # the connection is the next one's then.
        if self.client.is_closing or exchange is None or not exchange.has_taken_socket:
            end.close()
            return
        self._relay = Relay(self.client.transport, self._close_behind_relay)
        self._relay.open(end, self.take_over(self._relay))

    def _close_behind_relay(self) -> None:
        """Close, once nothing can come from the application any more."""
        exchange = cast("WerkzeugExchange | None", self.exchange)
        owes_response = exchange is not None and not exchange.speaks_for_itself
        if self._relay is not None and self._relay.has_ended and not owes_response:
            self.close()
