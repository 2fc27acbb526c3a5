"""A part of a file, sent by the kernel on a connection whose other bytes a transport sends.

``loop.sendfile`` would be the way, but uvloop has none, and where there is one it has the loop read
the file if the kernel cannot. So the socket is written to directly, by ``os.sendfile``, while its
transport has nothing to send. The socket is duplicated for that: a loop lets nobody wait for a
descriptor that belongs to a transport of its own.

Why on the loop and not in a thread: a client takes its time, which would hold the thread. The price
is that the loop waits for a disk where the file is not in memory, for one piece at a time; what is
read ahead by the kernel makes most of these waits short.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from asyncwsgi.wsgi.file_wrapper import FilePart

PIECE_SIZE = 512 * 1024
"""Bytes that are sent before other connections have their turn."""


class FileSender:
    """Sends one part of a file. On the loop.

    Args:
        transport: of a plain socket; nobody else writes to it until the end.
        part: what is sent; told how much of it was.
        on_end: called once, when no more of it is going to be sent.
    """

    def __init__(
        self, transport: asyncio.Transport, part: FilePart, on_end: Callable[[], None]
    ) -> None:
        self._transport = transport
        self._part = part
        self._on_end: Callable[[], None] | None = on_end
        self._loop = asyncio.get_running_loop()
        self._socket = -1
        self._is_waiting = False

    @property
    def unsent_size(self) -> int:
        """Bytes that are still to be sent."""
        return self._part.size - self._part.sent_size

    def begin(self) -> None:
        """Begin to send, once the transport has nothing to send."""
        if self._socket >= 0:
            return
        try:
            self._socket = os.dup(self._transport.get_extra_info("socket").fileno())
        except OSError:  # no descriptor is left, or the connection is lost
            self.end()
        else:
            self._send()

    def end(self) -> None:
        """Send no more."""
        on_end, self._on_end = self._on_end, None
        if on_end is None:
            return
        if self._is_waiting:
            self._loop.remove_writer(self._socket)
        if self._socket >= 0:
            os.close(self._socket)
        on_end()

    def _send(self) -> None:
        part = self._part
        offset, size = part.offset + part.sent_size, min(self.unsent_size, PIECE_SIZE)
        try:
            sent = os.sendfile(self._socket, part.descriptor, offset, size)
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            # Whatever it is, the file's or the connection's: who sends the rest by blocks meets it,
            # too, where it is answered for. Some file systems just cannot be sent from.
            self.end()
            return
        else:
            part.sent_size += sent
            if not sent or not self.unsent_size:  # nothing is left of a file that was cut
                self.end()
                return
        if not self._is_waiting:
            self._is_waiting = True
            self._loop.add_writer(self._socket, self._send)
