"""One connection by the uwsgi protocol, as nginx's ``uwsgi_pass`` makes it: one request, one reply.

The response is one of HTTP (status line, headers, body), whose end is that of the connection where
no Content-Length tells it. So nothing differs from HTTP's connection but how a request is read, and
of whom. All else is that one's: states and deadlines, the flow of bodies, drain, refusals. What
there is for connections that are kept is never reached, because a `PacketHead` keeps none.

Whoever can connect says what address a client has and what was verified of it. So a listener of
this kind is for proxies alone.
"""

from __future__ import annotations

import asyncio
from typing import Any

from asyncwsgi.errors import RequestRefused
from asyncwsgi.frontends.frontend import Environs, Frontend, RequestReader
from asyncwsgi.frontends.http import HttpConnection
from asyncwsgi.frontends.states import State
from asyncwsgi.uwsgi.environ import PacketEnvirons
from asyncwsgi.uwsgi.packet import PacketParser


class UwsgiConnection(HttpConnection):
    """Serves one request of a proxy.

    Subclass and name it in ``Server.uwsgi_connection_class`` to change it.
    """

    def __init__(self, frontend: Frontend) -> None:
        super().__init__(frontend)
        self._peers = frontend.uwsgi_peers

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peers, name = self._peers, transport.get_extra_info("peername")
        if peers is None or not isinstance(name, tuple) or peers.trusts_peer(name[0]):
            return
        if self._state is State.IDLE:  # else it was refused already
            self._refuse(RequestRefused(403, "its address is not among uwsgi_allow_ips"))

    def make_reader(self, frontend: Frontend) -> RequestReader:
        return PacketParser(frontend.limits)

    def make_environs(self, base: dict[str, Any]) -> Environs:
        return PacketEnvirons(base)
