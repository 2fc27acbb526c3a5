"""The client's socket, lent to the worker thread that reads a large body.

What the loop reads it copies once more, and each piece wakes the thread, which then waits for the
interpreter's lock: of an upload that fills the buffer again and again that is half of its cost. So
once a body is as full as it may be, and nobody reads its connection any more, the thread that has
emptied it reads the rest from the socket itself, for as long as there is something. As soon as
there is nothing the loop reads again, with all that only the loop looks after: deadlines,
disconnects, clients that are slow. What cannot be read here for another reason (the end, a reset)
is met there, too.

Only a body with a Content-Length is lent for, and no more of the connection than that body: what
follows it is the loop's to parse. TLS has to see what it receives, so nothing is lent below it.

The socket is a duplicate: the transport may be closed at any moment, and the number of its socket
be that of another connection a moment later. A lock sees to it that the duplicate is not closed
while it is read. The loop may wait for that lock as long as the kernel copies a block, and no
longer, as the socket does not block.
"""

from __future__ import annotations

import os
import select
import threading

SHORTEST_WAIT = 10
"""Milliseconds for which the thread waits for more before it gives the socket back: a client that
sends all the time is not ahead in each moment."""


class SocketLoan:
    """A body's part of a connection.

    Args:
        descriptor: that of a socket which does not block; a duplicate of it is made.
        size: bytes that may be read, which is what is missing of the body.

    Raises:
        OSError: there is no descriptor left, or the connection is lost.
    """

    def __init__(self, descriptor: int, size: int) -> None:
        self.left_size = size
        """Bytes that are still to be read."""
        self._size = size
        self._lock = threading.Lock()
        self._descriptor = os.dup(descriptor)

    @property
    def taken_size(self) -> int:
        """Bytes that were read."""
        return self._size - self.left_size

    def read_into(self, view: memoryview) -> int:
        """Read what is there; see `asyncwsgi.requests.request_body.BodySource`."""
        with self._lock:
            if self._descriptor < 0 or not self.left_size:
                return 0
            try:
                size = os.readv(self._descriptor, [view[: self.left_size]])
            except BlockingIOError:
                return -1
            except OSError:
                return 0
            self.left_size -= size
            return size

    def wait(self) -> None:
        """Wait for `SHORTEST_WAIT`, or until there is something."""
        # It may be closed meanwhile, and its number be another's: then this was a short wait for
        # nothing, since the next read looks again.
        descriptor = self._descriptor
        if descriptor >= 0:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            poll.poll(SHORTEST_WAIT)

    def end(self) -> None:
        """Let nobody read any more. From any thread."""
        with self._lock:
            descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
