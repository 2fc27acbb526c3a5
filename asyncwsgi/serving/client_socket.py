"""``werkzeug.socket``: what handlers and applications may ask of the client's connection."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio


class ClientSocket:
    """The connection to one client, as Werkzeug shows its socket.

    ``getpeercert`` exists under TLS alone, as on sockets: that is how Werkzeug tells.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        info = transport.get_extra_info
        self._transport = transport
        self._ssl_object: ssl.SSLObject | None = info("ssl_object")
        self._names: tuple[Any, Any] = (info("sockname"), info("peername"))

    @property
    def client_address(self) -> Any:
        """As `socket.accept` gives it: (host, port, ...), or an empty str for a Unix socket."""
        return self._names[1] or ""

    def getsockname(self) -> Any:
        return self._names[0]

    def getpeername(self) -> Any:
        return self._names[1]

    def __getattr__(self, name: str) -> Any:
        if self._ssl_object is not None and hasattr(self._ssl_object, name):
            return getattr(self._ssl_object, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
