"""Connections of live servers: no test waits for an idle one when its server is closed."""

from __future__ import annotations

import asyncio

from asyncwsgi.frontends.http import HttpConnection
from asyncwsgi.requests.exchange import Exchange


class LiveConnection(HttpConnection):
    """Leaves an idle TLS client without waiting for its part of the leave-taking."""

    def close_if_idle(self) -> None:
        was_open = not self.client.is_closing
        super().close_if_idle()
        if was_open:
            self._leave()

    def response_ended(self, exchange: Exchange) -> None:
        was_open = not self.client.is_closing
        # A client that was promised the connection does not look for its end, either.
        was_promised = self.was_promised_connection(exchange)
        super().response_ended(exchange)
        if was_open and was_promised and self.dispatcher.is_draining:
            self._leave()

    def _leave(self) -> None:
        client = self.client
        if client.is_tls and client.is_closing and not client.has_unsent:
            # Behind our close_notify. Theirs comes when they next use the connection.
            asyncio.get_running_loop().call_soon(self.abort)
