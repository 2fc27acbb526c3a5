"""``werkzeug.socket``: the client's connection as a blocking socket, for whoever asks for it.

WebSocket libraries for WSGI (simple-websocket, and with it flask-sock and Flask-SocketIO) take the
socket out of the environ and speak for themselves; handlers read the peer's certificate off it.
Names, options and certificates are answered at once. The first use for bytes takes the connection
away from HTTP: from then on the loop passes bytes between the client (through TLS or not) and one
end of a socket pair whose other end is used here. That is why nobody may wait for bytes on the
loop.

Every request has one, of which nothing but two references is made before somebody asks for more.
It belongs to its request and not to the connection, on which others may follow: a thread that is
left from an earlier request has the earlier one's, and can neither hear nor disturb the next.
"""

from __future__ import annotations

import contextlib
import errno
import re
import socket
import threading
from functools import partial
from typing import Any, Protocol

from asyncwsgi.frontends.transport import ClientTransport
from asyncwsgi.requests.exchange import Exchange

SWITCHING_PROTOCOLS = 101

_FOR_BYTES = frozenset(
    {
        "dup", "fileno", "recv", "recv_into", "recvfrom", "recvfrom_into", "recvmsg",
        "recvmsg_into",
    }
)  # fmt: skip
_TO_SEND = frozenset({"send", "sendall", "sendfile", "sendmsg", "sendto", "write"})
_OF_THE_TRANSPORT = frozenset({"family", "getsockopt", "proto", "setsockopt", "type"})
# What a TLS socket tells. Its methods for bytes are not among them: they would take records away
# from the loop.
_OF_TLS = frozenset(
    {
        "cipher", "compression", "context", "get_channel_binding", "get_unverified_chain",
        "get_verified_chain", "getpeercert", "selected_alpn_protocol", "server_hostname",
        "server_side", "session", "session_reused", "shared_ciphers", "version",
    }
)  # fmt: skip
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})[ \r\n]")

# For all of them: they are held for the moment in which one is taken over, or adds a number.
_taking = threading.Lock()
_counting = threading.Lock()


def status_of(data: object) -> int:
    """The status of the response with which `data` begins; 101 if it begins with none."""
    try:
        match = _STATUS_LINE.match(memoryview(data)[:16])  # type: ignore[arg-type]
    except (TypeError, NotImplementedError):  # no bytes, which the socket says better
        return SWITCHING_PROTOCOLS
    return int(match[1]) if match else SWITCHING_PROTOCOLS


class SocketOwner(Protocol):
    """The connection, as its socket needs it."""

    client: ClientTransport

    @property
    def is_body_complete(self) -> bool:
        """Whether all of the request in hand has arrived."""

    def hand_over(self, exchange: Exchange, end: socket.socket) -> None:
        """Pass bytes between the client and `end`, for the application. From any thread."""


class ClientSocket:
    """The connection to one client, for the length of one request. From any thread.

    ``getpeercert`` exists under TLS alone, as on sockets: that is how Werkzeug tells. On the
    server's loop whatever could wait there is a RuntimeError, unless the socket is set not to
    block.

    Args:
        connection: the client's.
        exchange: the request; None if there is none, and so nothing to be taken over.
    """

    sent_size = 0
    """Bytes that the application has sent. What it sends by `dup` or `fileno` is not counted."""

    _timeout: float | None = None
    _end: socket.socket | None = None
    _is_closed = False

    def __init__(self, connection: SocketOwner, exchange: Exchange | None) -> None:
        self._connection = connection
        self._exchange = exchange

    @property
    def client_address(self) -> Any:
        """As `socket.accept` gives it: (host, port, ...), or an empty str for a Unix socket."""
        return self._connection.client.peername or ""

    def getsockname(self) -> Any:
        return self._connection.client.sockname

    def getpeername(self) -> Any:
        return self._connection.client.peername

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

    def makefile(self, mode: str = "r", *args: Any, **options: Any) -> Any:
        self._refuse_to_block("makefile")
        file = self._taken_over().makefile(mode, *args, **options)  # type: ignore[call-overload]
        if "w" in mode:
            self._speak()  # nobody makes such a file in order to read
        return file

    def detach(self) -> int:
        """A descriptor for bytes, which is the caller's to close.

        Another one than the socket's own, which has to be here when the request is over.
        """
        self._refuse_to_block("detach")
        return self._taken_over().dup().detach()

    def shutdown(self, how: int) -> None:
        """As of a socket; one that was not used yet is taken over, so that the client hears it."""
        end = self._taken_over()
        if how != socket.SHUT_RD:
            self._speak()
        end.shutdown(how)

    def close(self) -> None:
        """Cut the connection: what the application says after this reaches nobody."""
        if not (self._is_closed or self._is_over):
            self._taken_over()
            self._speak()
        self.end_request()

    def end_request(self) -> None:
        """The request is over, and so is the use of its connection."""
        with _taking:
            end, self._end, self._is_closed = self._end, None, True
            self._exchange = None  # which knows this: no cycle outlives the request
        if end is not None:
            # A thread of the application may wait in recv(): closing alone would not wake it.
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def __getattr__(self, name: str) -> Any:
        if name in _FOR_BYTES:
            self._refuse_to_block(name)
            return getattr(self._taken_over(), name)
        if name in _TO_SEND:
            self._refuse_to_block(name)
            return partial(self._send_by, "sendall" if name == "write" else name)
        info = self._connection.client.transport.get_extra_info
        if name in _OF_THE_TRANSPORT:
            return getattr(info("socket"), name)
        if name in _OF_TLS and info("ssl_object") is not None:
            return getattr(info("ssl_object"), name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _send_by(self, name: str, /, *args: Any, **options: Any) -> Any:
        """Send by the socket's method of this name, which returns a number of bytes or None."""
        end = self._taken_over()
        self._speak(status_of(args[0]) if args else SWITCHING_PROTOCOLS)
        result = getattr(end, name)(*args, **options)
        with _counting:  # a library may answer pings in a thread of its own
            self.sent_size += memoryview(args[0]).nbytes if result is None else result
        return result

    @property
    def _is_over(self) -> bool:
        return self._exchange is None or self._exchange.has_ended

    def _speak(self, status: int = SWITCHING_PROTOCOLS) -> None:
        if self._exchange is not None:
            self._exchange.speak(status)

    def _refuse_to_block(self, name: str) -> None:
        exchange = self._exchange
        if exchange is not None and self.getblocking() and exchange.tasks.is_loop_thread():
            raise RuntimeError(
                f"{name} of werkzeug.socket was asked for on the server's loop, which brings the "
                "client's bytes, and waiting for them there would be for ever; use the socket in a "
                "'def' view, or in a function for asyncio.to_thread()"
            )

    def _taken_over(self) -> socket.socket:
        exchange = self._exchange
        if exchange is None or self._is_closed or exchange.has_ended:
            raise _over()
        if self._end is None and exchange.protocol == "HTTP/1.0":
            self._refuse_http_1_0(exchange)
        with _taking:
            if self._is_closed:
                raise _over()
            if self._end is None:
                self._end = self._take_over(exchange)
            return self._end

    def _take_over(self, exchange: Exchange) -> socket.socket:
        if not self._connection.is_body_complete:
            raise OSError("the request body is not complete; read wsgi.input before the socket")
        loops_end, end = socket.socketpair()
        end.settimeout(self._timeout)
        try:
            exchange.taken_socket = self
            self._connection.hand_over(exchange, loops_end)
        except BaseException:
            loops_end.close()
            end.close()
            raise
        # The request may have ended meanwhile, in another thread, which has closed what it found in
        # `taken_socket`: one of the two sees the other (see `Exchange`).
        if exchange.has_ended:
            end.close()
            raise _over()
        return end

    def _refuse_http_1_0(self, exchange: Exchange) -> None:
        # RFC 9110 7.8: Upgrade is ignored in a request of HTTP/1.0; RFC 6455 4.1 wants 1.1.
        reason = (
            "werkzeug.socket was used for a request of HTTP/1.0, which cannot become a WebSocket; "
            "have the proxy speak HTTP/1.1 (nginx: proxy_http_version 1.1)"
        )
        exchange.answer_otherwise(501, reason)
        raise ConnectionAbortedError(errno.ECONNABORTED, reason)


def _over() -> OSError:
    return OSError(
        errno.EBADF, "the request is over, or its socket was closed: the connection is not yours"
    )
