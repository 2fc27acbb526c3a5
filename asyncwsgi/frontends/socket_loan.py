"""The client's socket, lent to the worker thread that reads a large body or sends a response.

What passes the loop is copied or queued once more, and each piece wakes a thread, which then waits
for the interpreter's lock: of an upload that fills its buffer again and again that is half of its
cost, and of a stream of large blocks nearly as much. So where the loop has nothing to do with the
connection, a thread reads or writes the socket itself, for as long as the kernel has something or
takes something. As soon as it does not, the rest is the loop's again, with all that only the loop
looks after: deadlines, disconnects, clients that are slow. What cannot be done here for another
reason (the end, a reset) is met there, too.

A body is read so if it is large and its Content-Length says how much of the connection is its own;
what follows it is the loop's to parse. A response is sent so behind what was written before: a
large one; and any while hardly another request is in hand, since the loop waits then, and to wake
it for a small response takes as long as the response itself. With many in hand it is the other way
round: the loop is awake, and writes all that have come together without a word between threads.
TLS has to see either, so nothing is lent below it.

The socket is a duplicate: the transport may be closed at any moment, and the number of its socket
be that of another connection a moment later. A lock sees to it that the duplicate is not closed
while it is in use. The loop may wait for that lock as long as the kernel copies a block, and no
longer, as the socket does not block.

A process that a view forks has the duplicate, too, and the bytes of its parent's client are not its
own: there nothing can be done by it, and who asks the loop instead is told what is wrong.
"""

from __future__ import annotations

import os
import select
import threading

from asyncwsgi.requests import forks

LONGEST_WAIT = 10
"""Milliseconds for which a thread waits before it gives the socket back: a client that sends, or
reads, all the time is not ahead in each moment."""


class SocketLoan:
    """A duplicate of a socket that does not block.

    Args:
        descriptor: that of the socket.

    Raises:
        OSError: there is no descriptor left, or the connection is lost.
    """

    def __init__(self, descriptor: int) -> None:
        self._lock = threading.Lock()
        self._forks = forks.count
        self._descriptor = os.dup(descriptor)

    def end(self) -> None:
        """Let nobody use it any more. From any thread."""
        with self._lock:
            descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    @property
    def _is_usable(self) -> bool:
        return self._descriptor >= 0 and forks.count == self._forks

    def _wait_for(self, event: int) -> bool:
        # It may be closed meanwhile, and its number be another's: then this was a short wait for
        # nothing, since the next use looks again.
        descriptor = self._descriptor
        if descriptor < 0:
            return False
        poll = select.poll()
        poll.register(descriptor, event)
        return bool(poll.poll(LONGEST_WAIT))


class LentInput(SocketLoan):
    """What is missing of a body; see `asyncwsgi.requests.request_body.BodySource`.

    Args:
        descriptor: that of the socket.
        size: bytes that may be read.
    """

    def __init__(self, descriptor: int, size: int) -> None:
        super().__init__(descriptor)
        self.left_size = size
        """Bytes that are still to be read."""
        self._size = size

    @property
    def taken_size(self) -> int:
        """Bytes that were read."""
        return self._size - self.left_size

    def read_into(self, view: memoryview) -> int:
        """Read what is there."""
        with self._lock:
            if not (self._is_usable and self.left_size):
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
        """Wait for `LONGEST_WAIT`, or until there is something."""
        self._wait_for(select.POLLIN)


class LentOutput(SocketLoan):
    """The way of a response; see `asyncwsgi.requests.file_transfer.Output`."""

    def send(self, data: bytes | memoryview) -> int:
        """Send as much as the client takes without a longer wait; the bytes that were sent."""
        view, sent = memoryview(data), 0
        while sent < len(view):
            size = self._write(view[sent:])
            if size < 0 and self._wait_for(select.POLLOUT):
                continue
            if size <= 0:
                break
            sent += size
        return sent

    def _write(self, data: memoryview) -> int:
        with self._lock:
            if not self._is_usable:
                return 0
            try:
                return os.write(self._descriptor, data)
            except BlockingIOError:
                return -1
            except OSError:
                return 0
