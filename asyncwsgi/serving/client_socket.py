"""``werkzeug.socket``: the client's connection as a blocking socket, for whoever asks for it.

WebSocket libraries for Flask take the socket out of the environ and speak for themselves; handlers
read the peer's certificate off it. Names, options and certificates are answered at once. The first
use for bytes takes the connection away from HTTP: from then on the loop passes bytes between the
client (through TLS or not) and one end of a socket pair whose other end is used here.

That is why nobody may wait for bytes on the loop.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

_FOR_BYTES = frozenset(
    {
        "detach", "dup", "fileno", "makefile", "recv", "recv_into", "recvfrom", "recvfrom_into",
        "recvmsg", "recvmsg_into", "sendfile",
    }
)  # fmt: skip
_TO_SEND = frozenset({"send", "sendall", "sendmsg", "sendto", "write"})
_OF_THE_TRANSPORT = frozenset({"family", "getsockopt", "proto", "setsockopt", "type"})


class ClientSocket:
    """The connection to one client, for the length of one request.

    ``getpeercert`` exists under TLS alone, as on sockets: that is how Werkzeug tells. Made on the
    loop; on its thread whatever could wait there is a RuntimeError, unless the socket is set not to
    block.

    Args:
        transport: the client's.
        take_over: given one end of a socket pair; has the loop pass bytes between it and the
            client. Called at most once, from any thread.
    """

    def __init__(
        self, transport: asyncio.Transport, take_over: Callable[[socket.socket], None]
    ) -> None:
        info = transport.get_extra_info
        self._transport = transport
        self._take_over = take_over
        self._ssl_object: ssl.SSLObject | None = info("ssl_object")
        self._names: tuple[Any, Any] = (info("sockname"), info("peername"))
        self._loop_thread = threading.get_ident()
        self._lock = threading.Lock()
        self._timeout: float | None = None
        self._is_over = False
        self._end: socket.socket | None = None
        self.was_written = False
        """Whether the application has sent bytes, or their end: no HTTP response can follow."""

    @property
    def client_address(self) -> Any:
        """As `socket.accept` gives it: (host, port, ...), or an empty str for a Unix socket."""
        return self._names[1] or ""

    @property
    def is_taken_over(self) -> bool:
        """Whether the connection's bytes are the application's."""
        return self._end is not None

    def getsockname(self) -> Any:
        return self._names[0]

    def getpeername(self) -> Any:
        return self._names[1]

    def gettimeout(self) -> float | None:
        return self._timeout

    def settimeout(self, timeout: float | None) -> None:
        self._timeout = timeout
        if self._end is not None:
            self._end.settimeout(timeout)

    def getblocking(self) -> bool:
        return self._timeout != 0.0

    def setblocking(self, flag: bool) -> None:
        self.settimeout(None if flag else 0.0)

    def shutdown(self, how: int) -> None:
        """As of a socket; one that was not used yet is taken over, so that the client hears it."""
        end = self._taken_over()
        if how != socket.SHUT_RD:
            self.was_written = True
        end.shutdown(how)

    def close(self) -> None:
        """Cut the connection: what the application says after this reaches nobody."""
        if not self._is_over:
            self._taken_over()
            self.was_written = True
            self.end_request()

    def end_request(self) -> None:
        """The request is over, and so is the use of its connection."""
        with self._lock:
            was_over, self._is_over = self._is_over, True
        if self._end is None or was_over:
            return
        # A thread of the application may wait in recv(): closing alone would not wake it.
        with contextlib.suppress(OSError):
            self._end.shutdown(socket.SHUT_RDWR)
        self._end.close()

    def __getattr__(self, name: str) -> Any:
        if name in _FOR_BYTES:
            self._refuse_to_block(name)
            return getattr(self._taken_over(), name)
        if name in _TO_SEND:
            self._refuse_to_block(name)
            end = self._taken_over()
            self.was_written = True
            return getattr(end, "sendall" if name == "write" else name)
        if name in _OF_THE_TRANSPORT:
            return getattr(self._transport.get_extra_info("socket"), name)
        if self._ssl_object is not None and hasattr(self._ssl_object, name):
            return getattr(self._ssl_object, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _refuse_to_block(self, name: str) -> None:
        if self.getblocking() and threading.get_ident() == self._loop_thread:
            raise RuntimeError(
                f"{name} of werkzeug.socket was asked for on the server's loop, which brings the "
                "client's bytes, and waiting for them there would be for ever; use the socket in a "
                "'def' view, or in a function for asyncio.to_thread()"
            )

    def _taken_over(self) -> socket.socket:
        with self._lock:
            if self._is_over:
                raise OSError(errno.EBADF, "the request is over, and its connection is not yours")
            if self._end is None:
                loops_end, self._end = socket.socketpair()
                self._end.settimeout(self._timeout)
                self._take_over(loops_end)
            return self._end
