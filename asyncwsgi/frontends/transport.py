"""An asyncio transport as a connection uses it: flow both ways, progress, ways to close."""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import Any

from asyncwsgi.wsgi.environ import address_keys

logger = logging.getLogger("asyncwsgi.server")


class ClientTransport:
    """The transport to one client.

    Args:
        transport: as asyncio made it.
        buffer_size: unsent bytes from which on `is_writable` is false.
    """

    __slots__ = (
        "_transport", "_unsent_since", "_unsent_size", "is_reading", "is_writable",
    )  # fmt: skip

    def __init__(self, transport: asyncio.Transport, buffer_size: int) -> None:
        transport.set_write_buffer_limits(high=buffer_size)
        self._transport = transport
        self._unsent_size = 0
        self._unsent_since = 0.0
        self.is_reading = True
        self.is_writable = True
        """False while the client does not keep up; kept by the protocol's callbacks."""

    @property
    def is_closing(self) -> bool:
        return self._transport.is_closing()

    @property
    def unsent_size(self) -> int:
        """Bytes that wait for the client to take more."""
        return self._transport.get_write_buffer_size()

    @property
    def is_tls(self) -> bool:
        return self._transport.get_extra_info("ssl_object") is not None

    @property
    def peer(self) -> str:
        """The client's address for log lines."""
        return peer_name(self._transport.get_extra_info("peername"))

    def environ_keys(self) -> dict[str, Any]:
        """What the transport tells the application: addresses, URL scheme, client certificate."""
        info = self._transport.get_extra_info
        keys: dict[str, Any] = {**address_keys(info("sockname"), info("peername"))}
        keys["wsgi.url_scheme"] = "https" if self.is_tls else "http"
        certificate = info("ssl_object").getpeercert(binary_form=True) if self.is_tls else None
        if certificate:
            keys["SSL_CLIENT_CERT"] = ssl.DER_cert_to_PEM_cert(certificate)
        return keys

    def write(self, data: bytes | memoryview) -> None:
        """Send bytes; dropped if the client has left."""
        # asyncio's own transports log a warning for each write after the loss.
        if not self._transport.is_closing():
            self._transport.write(data)

    def pause_reading(self) -> None:
        """Let the client wait; TCP tells it to."""
        if self.is_reading and not self._transport.is_closing():
            self.is_reading = False
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self.is_reading and not self._transport.is_closing():
            self.is_reading = True
            self._transport.resume_reading()

    def cut_if_stuck(self, now: float, send_timeout: float) -> None:
        """Abort if the client has taken no byte of what waits for it for `send_timeout` seconds."""
        unsent = self.unsent_size
        if unsent != self._unsent_size or not unsent:
            self._unsent_size = unsent
            self._unsent_since = now
        elif now - self._unsent_since >= send_timeout:
            logger.info("%s reads nothing for %g s; cut", self.peer, send_timeout)
            self._transport.abort()

    def half_close(self) -> bool:
        """Say that nothing more will be sent. False: this transport cannot.

        asyncio's TLS cannot, and need not: closing it waits for the peer's close_notify.
        """
        if not self._transport.can_write_eof() or self._transport.is_closing():
            return False
        try:
            self._transport.write_eof()
        except OSError:
            return False  # the client has left already
        return True

    def close(self) -> None:
        """Close when everything is sent."""
        self._transport.close()

    def abort(self) -> None:
        """Close at once; what is unsent is lost."""
        self._transport.abort()


def peer_name(address: object) -> str:
    """A client's address for log lines."""
    if not isinstance(address, tuple):
        return "unix client"
    host, port = address[:2]
    # RFC 3986 3.2.2: without brackets nobody could tell where the host ends.
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
