"""A connection below Werkzeug's hooks: its refusals, and its bytes for whoever wants the socket."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, cast

from asyncwsgi.frontends.http import Frontend, HttpConnection
from asyncwsgi.serving.client_socket import ClientSocket
from asyncwsgi.serving.handler import bare_handler
from asyncwsgi.serving.relay import Relay

if TYPE_CHECKING:
    from asyncwsgi.errors import RequestRefused
    from asyncwsgi.requests.exchange import Exchange
    from asyncwsgi.serving.exchange import WerkzeugExchange
    from asyncwsgi.serving.servers import BaseWSGIServer


class WerkzeugConnection(HttpConnection):
    """Serves one client of a Werkzeug server object."""

    def __init__(self, frontend: Frontend, wsgi_server: BaseWSGIServer) -> None:
        super().__init__(frontend)
        self._wsgi_server = wsgi_server
        self._relay: Relay | None = None

    def client_socket(self) -> ClientSocket:
        """The connection as a socket, for one request. On the loop."""
        return ClientSocket(self._transport, self._take_over)

    def log_refusal(self, refused: RequestRefused) -> None:
        handler = bare_handler(self._wsgi_server, self.client_socket())
        handler.log_error("code %d, message %s", refused.status, refused.reason)

    def _take_over(self, end: socket.socket) -> None:
        if self._body is not None:
            end.close()
            raise OSError("the request body is not complete; read wsgi.input before the socket")
        self._dispatcher.mailbox.post(self._begin_relay, end)

    def _begin_relay(self, end: socket.socket) -> None:
        if self._client.is_closing:
            end.close()
            return
        unread = self._parser.take_unread()
        self._relay = Relay(self._transport, unread, self._close_behind_relay)
        self._relay.open(end)
        self._client.resume_reading()
        if self._has_eof:
            self._relay.end()

    # From the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._relay is None:
            super().data_received(data)
        else:
            self._relay.receive(data)

    def eof_received(self) -> bool:
        stays_open = super().eof_received()
        if self._relay is not None:
            self._relay.end()
        return stays_open

    def connection_lost(self, exc: Exception | None) -> None:
        if self._relay is not None:
            self._relay.close()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._relay is not None:
            self._relay.pause()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._relay is not None:
            self._relay.resume()

    # From the exchange.

    def exchange_ended(self, exchange: Exchange) -> None:
        if self._relay is None:
            super().exchange_ended(exchange)
        else:
            self._exchange = None
            self._close_behind_relay()

    def _close_behind_relay(self) -> None:
        """Close, once nothing can come from the application any more."""
        exchange = cast("WerkzeugExchange | None", self._exchange)
        owes_response = exchange is not None and not exchange.speaks_for_itself
        if self._relay is not None and self._relay.has_ended and not owes_response:
            self._client.close()
