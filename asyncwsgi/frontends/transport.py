"""An asyncio transport as a connection uses it: flow both ways, progress, ways to close.

Closing a socket ends its connection only if nobody else holds it, and a child that a view has
forked (by `multiprocessing`, say) holds all sockets there were. Its clients would wait for the end
of their responses as long as it lives. So a connection is shut down before its socket is closed:
that is done to the connection and not to one of its descriptors. It costs a twelfth of a connection
with one small request, and so is done only in processes that have ever forked.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import ssl
import struct
import sys
from collections.abc import Callable, Iterator
from typing import Any

from asyncwsgi.frontends.buffer_budget import BufferBudget
from asyncwsgi.frontends.file_sender import FileSender
from asyncwsgi.frontends.proxy_protocol import Ends
from asyncwsgi.frontends.socket_loan import LentInput, LentOutput
from asyncwsgi.requests import forks
from asyncwsgi.trusted_peers import UNIX
from asyncwsgi.wsgi.environ import address_keys
from asyncwsgi.wsgi.file_wrapper import FilePart

# That the peer has shut its side is an event of its own on Linux, and elsewhere POLLHUP.
_SHUT_BY_PEER = getattr(select, "POLLRDHUP", 0)
_RECORD_SIZE = 16 * 1024
"""Most bytes of a TLS record."""
# On, for 0 seconds. On Windows the two fields of `struct linger` are u_short.
_NO_LINGERING = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


class ClientTransport:
    """The transport to one client.

    Args:
        transport: as asyncio made it.
        buffer_size: unsent bytes from which on `is_writable` is false.
        budget: is told of what is unsent.
        ends: those of the client's own connection, if a proxy hands that on.
    """

    __slots__ = (
        "_budget",
        "_buffer_size",
        "_counted_size",
        "_file",
        "_input",
        "_is_handed_on",
        "_is_reset",
        "_on_lent",
        "_output",
        "_unsent_since",
        "_unsent_size",
        "can_lend",
        "can_send_files",
        "is_reading",
        "is_writable",
        "peername",
        "sockname",
        "transport",
    )  # fmt: skip

    def __init__(
        self,
        transport: asyncio.Transport,
        buffer_size: int,
        budget: BufferBudget,
        *,
        ends: Ends | None = None,
    ) -> None:
        transport.set_write_buffer_limits(high=buffer_size)
        self.transport = transport
        """What is underneath, for whoever takes the connection over."""
        # Asked once: uvloop makes a socket for each look, and can make none behind the end.
        info = transport.get_extra_info
        self.peername: Any = info("peername") if ends is None else ends.peer
        told = None if ends is None else ends.local
        self.sockname: Any = info("sockname") if told is None else told
        self._is_handed_on = ends is not None
        self._unsent_size = 0
        self._unsent_since = 0.0
        self._buffer_size = buffer_size
        self._file: FileSender | None = None
        self._input: LentInput | None = None
        self._output: LentOutput | None = None
        self._on_lent: Callable[[LentOutput | None], None] | None = None
        self.can_send_files = hasattr(os, "sendfile") and not self.is_tls
        """Whether `send_file` works: TLS has to see what it sends."""
        self.can_lend = hasattr(os, "readv") and hasattr(select, "poll") and not self.is_tls
        """Whether `lend` works; the same holds for what it receives."""
        self._budget = budget
        self._counted_size = 0
        self._is_reset = False
        self.is_reading = True
        self.is_writable = True
        """False while the client does not keep up; kept by the protocol's callbacks."""

    @property
    def is_closing(self) -> bool:
        return self.transport.is_closing()

    @property
    def unsent_size(self) -> int:
        """Bytes that wait for the client to take more."""
        size = self.transport.get_write_buffer_size()
        return size if self._file is None else size + self._file.unsent_size

    @property
    def has_unsent(self) -> bool:
        """Whether anything waits for the client to take more.

        Below TLS the loop has another buffer, and tells nobody of what is in it. But the kernel is
        given what it takes; so while some of it is there, the kernel is found to take no more.
        """
        return self.unsent_size > 0 or (self.is_tls and not self._is_taken_by_kernel())

    @property
    def is_tls(self) -> bool:
        return self.transport.get_extra_info("ssl_object") is not None

    @property
    def peer(self) -> str:
        """The client's address for log lines. From any thread."""
        return peer_name(self.peername)

    @property
    def peer_address(self) -> str:
        """The address of who has connected; `UNIX` on a Unix socket, empty if nobody knows it.

        One that has left at once has none: the name of our own end says what kind of socket it is.
        """
        if isinstance(self.peername, tuple):
            return str(self.peername[0])
        name = self.peername if self._is_handed_on else self.sockname
        return UNIX if isinstance(name, str | bytes) else ""

    def environ_keys(self) -> dict[str, Any]:
        """What the transport tells the application: addresses, URL scheme, client certificate."""
        info = self.transport.get_extra_info
        keys: dict[str, Any] = {**address_keys(self.sockname, self.peername)}
        keys["wsgi.url_scheme"] = "https" if self.is_tls else "http"
        certificate = info("ssl_object").getpeercert(binary_form=True) if self.is_tls else None
        if certificate:
            keys["SSL_CLIENT_CERT"] = ssl.DER_cert_to_PEM_cert(certificate)
        return keys

    def write(self, data: bytes | memoryview) -> None:
        """Send bytes; dropped if the client has left."""
        # asyncio's own transports log a warning for each write after the loss.
        if not self.transport.is_closing():
            self.transport.write(data)

    def read_by(self, protocol: asyncio.BaseProtocol) -> None:
        """Give what is read to `protocol` from now on."""
        if self.transport.is_closing():
            return
        # uvloop looks at the kind of its protocol when it begins to read.
        if self.is_reading:
            self.transport.pause_reading()
        self.transport.set_protocol(protocol)
        if self.is_reading:
            self.transport.resume_reading()

    def send_file(self, part: FilePart, on_end: Callable[[], None]) -> None:
        """Send a part of a file; see `asyncwsgi.frontends.file_sender`."""

        def end() -> None:
            self._file = None
            if not self.transport.is_closing():
                self.transport.set_write_buffer_limits(high=self._buffer_size)
            on_end()

        self._file = FileSender(self.transport, part, end)
        if self.transport.is_closing():
            return  # the connection is lost in a moment
        # So the protocol is told when the transport has nothing left to send.
        self.transport.set_write_buffer_limits(high=0)
        if not self.transport.get_write_buffer_size():
            self._file.begin()

    def resume_writing(self) -> None:
        """The client keeps up again."""
        self.is_writable = True
        self.count_unsent()
        if self._file is not None:
            self._file.begin()
        if self._on_lent is not None:
            self._lend_output()

    def lose(self) -> None:
        """The connection is lost."""
        self._end_loans()
        self.end()
        self.count_unsent(is_lost=True)
        if self._file is not None:
            self._file.end()

    def pause_reading(self) -> None:
        """Let the client wait; TCP tells it to."""
        if self.is_reading and not self.transport.is_closing():
            self.is_reading = False
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        self._end_input()
        if not self.is_reading and not self.transport.is_closing():
            self.is_reading = True
            self.transport.resume_reading()

    def lend_input(self, size: int) -> LentInput | None:
        """Lend the socket to who reads the next `size` bytes, until reading is resumed.

        None: it has to be read by the transport.
        """
        self._end_input()
        sock = self.transport.get_extra_info("socket")
        if self.can_lend and sock is not None and not self.transport.is_closing():
            with contextlib.suppress(OSError):
                self._input = LentInput(sock.fileno(), size)
        return self._input

    def _end_input(self) -> None:
        if self._input is not None:
            self._input.end()
            self._input = None

    def lend_output(self, on_lent: Callable[[LentOutput | None], None]) -> None:
        """Lend the socket to who sends a response, when all is sent that was written.

        Args:
            on_lent: called once, with the socket, which has to be ended before anything is written
                again; or with None, if nothing can be sent by it.
        """
        self._on_lent = on_lent
        if self.transport.is_closing():
            self._lend_output()
            return
        # So the protocol is told when the transport has nothing left to send.
        self.transport.set_write_buffer_limits(high=0)
        if not self.transport.get_write_buffer_size():
            self._lend_output()

    def lend_output_now(self) -> LentOutput | None:
        """Lend the socket, as `lend_output`, if all is sent that was written; None: it is not."""
        self._output = None
        if not (self.transport.get_write_buffer_size() or self.transport.is_closing()):
            sock = self.transport.get_extra_info("socket")
            with contextlib.suppress(OSError):
                self._output = None if sock is None else LentOutput(sock.fileno())
        return self._output

    def _lend_output(self) -> None:
        on_lent, self._on_lent = self._on_lent, None
        if not self.transport.is_closing():
            self.transport.set_write_buffer_limits(high=self._buffer_size)
        output = self.lend_output_now()
        if on_lent is not None:
            on_lent(output)

    def _end_loans(self) -> None:
        self._end_input()
        if self._output is not None:
            self._output.end()
        if self._on_lent is not None:
            self._lend_output()

    def count_unsent(self, *, is_lost: bool = False) -> None:
        """Have the budget know what is held for the client; nothing once it is lost.

        Not at each write: most of what is written has left a moment later, and a request would pay
        for its being counted twice. So it is done where a client falls behind or catches up, and
        at each look at the clock.
        """
        size = 0 if is_lost else self.transport.get_write_buffer_size()
        if size != self._counted_size:
            counted, self._counted_size = self._counted_size, size
            self._budget.count(size - counted)

    def is_stuck(self, now: float, timeout: float) -> bool:
        """Whether the client has taken no byte of what waits for it for `timeout` seconds."""
        self.count_unsent()
        unsent = self.unsent_size
        if unsent != self._unsent_size or not unsent:
            self._unsent_size = unsent
            self._unsent_since = now
            return False
        return now - self._unsent_since >= timeout

    def has_shut_unread(self) -> bool:
        """Whether the client has shut its side, behind bytes that nobody reads now.

        A loop that does not read does not hear of it: asyncio and uvloop wait for nothing then. So
        the kernel is asked. A connection that is lost altogether is aborted here.
        """
        if self.is_reading or self.transport.is_closing() or not hasattr(select, "poll"):
            return False
        sock = self.transport.get_extra_info("socket")
        if sock is None:
            return False
        poll = select.poll()
        poll.register(sock.fileno(), _SHUT_BY_PEER)
        events = sum(event for _, event in poll.poll(0))
        if events & select.POLLERR or (events & select.POLLHUP and _SHUT_BY_PEER):
            self.transport.abort()
            return False
        return bool(events)

    def _is_taken_by_kernel(self) -> bool:
        sock = self.transport.get_extra_info("socket")
        if sock is None or sock.fileno() < 0 or not hasattr(select, "poll"):
            return True
        poll = select.poll()
        poll.register(sock.fileno(), select.POLLOUT)
        return bool(poll.poll(0))

    def half_close(self) -> bool:
        """Say that nothing more will be sent, and go on reading. False: this transport cannot."""
        if self.transport.is_closing():
            return False
        if self.is_tls:
            return self._send_close_notify()
        if not self.transport.can_write_eof():
            return False
        try:
            self.transport.write_eof()
        except OSError:
            return False  # the client has left already
        return True

    def _send_close_notify(self) -> bool:
        """End our direction of TLS, which leaves the client's open (RFC 8446 6.1).

        The loops' transports know only how to end both. asyncio's takes the next bytes of a client
        that is still sending for an error then, and cuts it. But the TLS object is theirs and ours:
        what it says goes out behind what was written. OpenSSL looks for the client's close_notify
        at the same time, and gives the connection up if it finds data in its place; so what has
        come is read first, and dropped.
        """
        tls = self.transport.get_extra_info("ssl_object")
        try:
            while tls.read(_RECORD_SIZE):
                pass
            return False  # its close_notify has come
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            return False
        with contextlib.suppress(ssl.SSLWantReadError):  # it is said, and not answered yet
            tls.unwrap()
        self.transport.writelines([])  # has it look for what is to be sent
        return True

    def reset_at_close(self) -> None:
        """Have the end of the connection be a reset: the client hears that something is missing."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            self._is_reset = sock.family in (socket.AF_INET, socket.AF_INET6)
            with contextlib.suppress(OSError, ValueError):  # it has ended; uvloop's has no number
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGERING)

    def close(self) -> None:
        """Close when everything is sent."""
        self.transport.close()

    def abort(self) -> None:
        """Close at once; what is unsent is lost."""
        self._end_loans()
        self.end()
        self.transport.abort()

    def end(self) -> None:
        """End the connection, whoever else holds its socket; to be called before it is closed.

        Below TLS nobody calls it when everything was sent, and nobody need: TLS has said by its
        close_notify that nothing follows.
        """
        sock = self.transport.get_extra_info("socket") if forks.have_begun else None
        if sock is None or sock.fileno() < 0:
            return
        if self._is_reset:
            with _own(sock) as own, contextlib.suppress(OSError):  # the client was faster
                _reset(own)
        else:
            shut_down(sock)


def shut_down(sock: Any) -> None:
    """End a connection, whoever else holds the socket, which a transport has given."""
    with _own(sock) as own, contextlib.suppress(OSError):  # the peer was faster
        own.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def _own(sock: Any) -> Iterator[socket.socket]:
    """The same as a socket object of our own: uvloop's have no shutdown()."""
    own = socket.socket(sock.family, sock.type, sock.proto, sock.fileno())
    try:
        yield own
    finally:
        own.detach()


def _reset(sock: socket.socket) -> None:
    """Reset a TCP connection, whoever else holds its socket, where the system has a way to.

    Linux resets a connection whose socket is to be connected to AF_UNSPEC (connect(2) calls that
    dissolving the association). Python's sockets can name no such address, C can. Elsewhere the
    client hears of the reset when the last holder of the socket has closed it.
    """
    if sys.platform == "linux":
        import ctypes

        unspecified = bytes(16)  # struct sockaddr; AF_UNSPEC is 0
        ctypes.CDLL(None).connect(sock.fileno(), unspecified, len(unspecified))


def peer_name(address: object) -> str:
    """A client's address for log lines."""
    if address is None:
        return "unknown client"
    if not isinstance(address, tuple):
        return "unix client"
    host, port = address[:2]
    # RFC 3986 3.2.2: without brackets nobody could tell where the host ends.
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
