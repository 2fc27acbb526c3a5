"""Clients behind a proxy that speaks the PROXY protocol: its header is read before all else.

Before there is a transport, and so before TLS: the header precedes the handshake. It is looked at
while it stays with the kernel (MSG_PEEK), and exactly its bytes are taken; those behind it are for
whoever gets the socket then. What is looked at and is not a whole header is taken, too, since a
loop that watches a socket with something to be read would call again and again.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from asyncwsgi.frontends.proxy_protocol import (
    MOST_SIZE,
    Ends,
    ProxyHeader,
    ProxyHeaderError,
    read_header,
)
from asyncwsgi.frontends.registry import UNANSWERED, Registry
from asyncwsgi.frontends.transport import peer_name
from asyncwsgi.server_log import logger
from asyncwsgi.trusted_peers import UNIX, TrustedPeers

OnHeader = Callable[[socket.socket, object, Ends | None], None]
"""Is given a client, the address of its proxy, and the ends that this one has told of."""


class ProxyHeaders:
    """Reads the headers of clients that were accepted, for one server.

    Args:
        trusted: the proxies. Nobody else is listened to, and nobody is served without a header:
            who could leave it out, or write it, would choose an address.
        timeout: seconds for a header.
        registry: is told of clients whose header is being read.
    """

    def __init__(self, trusted: TrustedPeers, timeout: float, registry: Registry) -> None:
        self._trusted = trusted
        self._timeout = timeout
        self._registry = registry

    def read(self, client: socket.socket, address: object, on_header: OnHeader) -> None:
        """Read the header of `client`, which is the callback's then; or refuse and close it.

        Args:
            client: an accepted socket.
            address: its peer, as ``accept`` gave it.
            on_header: called with them when the header is there.
        """
        peer = str(address[0]) if isinstance(address, tuple) else UNIX
        if not self._trusted.trusts_peer(peer):
            self._registry.count_refused(UNANSWERED)
            logger.warning(
                "%s refused: it is no proxy that proxy_protocol_allow_ips names", peer_name(address)
            )
            client.close()
            return
        client.setblocking(False)
        _Reading(client, address, on_header, self._registry).begin(self._timeout)


class _Reading:
    """A client whose header is being read."""

    def __init__(
        self, client: socket.socket, address: object, on_header: OnHeader, registry: Registry
    ) -> None:
        self._client = client
        self._address = address
        self._on_header = on_header
        self._registry = registry
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._taken = b""
        self._is_over = False

    def begin(self, timeout: float) -> None:
        self._registry.add_opening(self)
        self._look()
        if not self._is_over:
            self._loop.add_reader(self._client, self._look)
            self._timer = self._loop.call_later(timeout, self._time_out, timeout)

    def abort(self) -> None:
        """Close at once."""
        if not self._is_over:
            self._end()
            self._client.close()

    def _look(self) -> None:
        """Look at what has come, and take what is of the header."""
        try:
            seen = self._client.recv(MOST_SIZE - len(self._taken), socket.MSG_PEEK)
            header = read_header(self._taken + seen) if seen else None
            size = len(seen) if header is None else header.size - len(self._taken)
            self._taken += self._client.recv(size)
        except BlockingIOError:
            pass
        except OSError:
            self.abort()  # it has left
        except ProxyHeaderError as error:
            self._refuse(str(error))
        else:
            if header is not None:
                self._finish(header)
            elif not seen:
                self.abort()  # it has closed, as a check does that only wants to connect

    def _finish(self, header: ProxyHeader) -> None:
        self._stop_watching()
        self._on_header(self._client, self._address, header.ends)
        self._registry.discard_opening(self)  # it is known by another name now

    def _time_out(self, timeout: float) -> None:
        self._look()  # the loop may have stood still
        if not self._is_over:
            self._refuse(f"sent no whole PROXY header within head_timeout of {timeout:g} s")

    def _refuse(self, reason: str) -> None:
        self._registry.count_refused(UNANSWERED)
        logger.warning("%s %s; closed", peer_name(self._address), reason)
        self.abort()

    def _end(self) -> None:
        self._stop_watching()
        self._registry.discard_opening(self)

    def _stop_watching(self) -> None:
        self._is_over = True
        self._loop.remove_reader(self._client)
        if self._timer is not None:
            self._timer.cancel()
