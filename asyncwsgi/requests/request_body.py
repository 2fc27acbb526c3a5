"""The body of a request: filled on the loop, read by the worker thread as ``wsgi.input``.

Guarantees: bytes come out in the order they went in; a reader blocks until there are some, the body
ends or it fails; the loop never blocks. Holds no more than the loop feeds: whoever feeds asks
`is_full`, and is told by `on_resume` when there is room again.

Who may call what. `feed`, `finish` and `fail` are the loop's. `open` is called once, by the worker
thread, before the application; `collect` and reading are for any thread but the loop's. Mostly that
is the worker thread alone, but an application may read in a thread of its own, and a thread that it
left behind may still read when the request is over. The properties may be asked from anywhere; what
they say may be old by then.

Why a lock here, where exchanges do without. A reader has to sleep until one of three things has
happened, and "nothing has happened yet, so I sleep" must be one step, or it sleeps through what
happens in between; a condition is made for that. And the loop appends to the last block while a
reader may be about to take it away. Nobody holds the lock for longer than it takes to move bytes in
memory, and nobody calls anything while holding it: `on_wait` may itself wait for a slow client, and
then the loop must be able to feed.
"""

from __future__ import annotations

import io
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from asyncwsgi.errors import ClientDisconnected

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

READ_SIZE = 64 * 1024
COLLECTED_SIZE = 16 * 1024 * 1024
"""Bytes of a body that are held in memory for a coroutine on the loop, which cannot wait."""
SMALL_SIZE = 1024
"""Blocks below it grow: a client that sends single bytes must not cost an object for each."""


class BodySource(Protocol):
    """Where a thread can read the rest of a body itself, for as long as it is let."""

    @property
    def left_size(self) -> int:
        """Bytes that are missing of the body."""

    def read_into(self, view: memoryview) -> int:
        """Read some of them, without waiting; -1: there may be some soon; 0: there are none to be
        had by this."""

    def wait(self) -> None:
        """Wait for some; not for long."""


class RequestBody(io.RawIOBase):
    """A pipe for one request body. Made on the loop.

    Args:
        buffer_size: bytes held from which on `is_full` is true.
        on_wait: called in the reader's thread before it first waits for bytes.
        on_resume: called in the reader's thread when a full body has room again.
    """

    takes_source = True
    """Whether its bytes may come otherwise than by `feed`. A subclass that overrides that sees all
    of them; one that overrides `arrived` does so, too, and leaves the fast way open."""

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        cls.takes_source = cls.feed is RequestBody.feed

    def __init__(
        self, buffer_size: int, *, on_wait: Callable[[], None], on_resume: Callable[[], None]
    ) -> None:
        super().__init__()
        self._buffer_size = buffer_size
        # Both lead to the request, which knows its body. When the body has come to its end there is
        # nothing left to tell, and they are dropped: the memory of an upload is free at once then,
        # and not when the garbage collector comes round.
        self._on_wait: Callable[[], None] | None = on_wait
        self._on_resume: Callable[[], None] | None = on_resume
        self.on_emptied: Callable[[], object] | None = None
        """Called once, in any thread: nothing is held any more, and nothing more will be."""
        self._source: BodySource | None = None
        """Where who has emptied it reads on; nothing is fed meanwhile."""
        self._blocks: deque[bytes] = deque()
        self._taken_size = 0
        """Bytes of the first block that were read already."""
        self._size = 0
        self.received_size = 0
        """Bytes that have arrived so far."""
        self._is_complete = False
        self._was_full = False
        self._waiting = 0
        self._error: Exception | None = None
        self._changed = threading.Condition(threading.Lock())
        self._loop_thread = threading.get_ident()

    @property
    def size(self) -> int:
        """Bytes that are held now."""
        return self._size

    @property
    def is_full(self) -> bool:
        """Whether the loop should stop feeding until `on_resume` is called."""
        return self._size >= self._buffer_size

    @property
    def is_awaited(self) -> bool:
        """Whether a reader waits for bytes that have not come."""
        return self._waiting > 0

    @property
    def is_complete(self) -> bool:
        """Whether the last byte has been fed."""
        return self._is_complete

    def feed(self, data: bytes) -> None:
        """Add bytes. On the loop."""
        with self._changed:
            self.arrived(data)
            if self._blocks and len(self._blocks[-1]) < SMALL_SIZE:
                self._blocks[-1] += data
            else:
                self._blocks.append(data)
            self._size += len(data)
            self.received_size += len(data)
            self._was_full = self._was_full or self.is_full
            # All of them: one may wait for the first byte, another for the whole.
            self._changed.notify_all()

    def arrived(self, data: bytes | memoryview) -> None:
        """See what has come of the body, in its order; for subclasses.

        Called on the loop, or by the reader of a body that has a source, and with the lock held: it
        must neither wait nor touch the body. The bytes of a memoryview are there for this call.
        """

    def read_from(self, source: BodySource) -> None:
        """Have readers read on from `source`, when they have what is held. On the loop.

        Nothing is fed until `on_resume` is called, as it is when the source has no more.
        """
        with self._changed:
            if self._error is None:
                self._source = source

    def finish(self) -> None:
        """Say that the body is complete. On the loop."""
        with self._changed:
            self._is_complete = True
            self._settle()
            is_empty = not self._size
        if is_empty:
            self._tell_of_emptiness()

    def fail(self, error: Exception) -> None:
        """Let readers fail with `error` once they have read what came. On the loop."""
        with self._changed:
            if not self._is_complete and self._error is None:
                self._error = error
                self._settle()

    def discard(self) -> None:
        """Hold nothing any more; who reads on is told that the request is over. On the loop."""
        with self._changed:
            # Threads that the application left behind must not wait for a body nobody feeds, nor
            # take what they have had for all of it.
            if self._error is None and (self._blocks or not self._is_complete):
                self._error = ClientDisconnected("the request is over")
            self._blocks.clear()
            self._size = 0
            self._settle()
        self._tell_of_emptiness()

    def _settle(self) -> None:
        self._on_wait = self._on_resume = self._source = None
        self._changed.notify_all()

    def collect(self) -> bool:
        """Wait for the rest, so that whoever reads does not have to. In the worker thread.

        Returns:
            Whether reading will not wait: false if the body is larger than `COLLECTED_SIZE`.
        """
        if self._is_settled or threading.get_ident() == self._loop_thread:
            return True  # on the loop nobody may wait, and reading says so
        with self._changed:
            size = self._buffer_size = max(self._buffer_size, COLLECTED_SIZE)
            on_resume = self._on_resume
        self._tell_of_wait()
        if on_resume is not None:
            on_resume()  # the loop may have stopped to feed at the bound before
        with self._changed:
            self._wait_for(lambda: self._is_settled or self._size >= size)
            return self._is_settled

    def open(self) -> BinaryIO:
        """The body as ``wsgi.input``; in memory at once if it has arrived whole."""
        if not self._is_complete:
            return io.BufferedReader(self, READ_SIZE)
        data = b"".join(self._blocks)
        self._blocks.clear()  # held once
        self._size = 0
        self._tell_of_emptiness()
        return io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill `buffer` with what is there, waiting for the first byte; 0 at the end.

        Raises:
            RequestBodyError: the body is malformed, too large or too slow.
            ClientDisconnected: the client left before its body was complete.
            RuntimeError: it would have to wait on the loop, which alone can end the wait.
        """
        view = memoryview(buffer).cast("B")
        source = self._source
        if source is not None and not self._blocks and (count := self._read_on(source, view)):
            return count
        if not self._is_ready:
            if threading.get_ident() == self._loop_thread:
                raise RuntimeError(
                    "the rest of the request body has not arrived, and waiting for it on the "
                    "server's loop would be for ever; read the body before a coroutine is called, "
                    "or by asyncio.to_thread()"
                )
            self._tell_of_wait()
        on_resume = None
        with self._changed:
            self._wait_for(lambda: self._is_ready)
            if not self._blocks:
                return self._end()
            count = self._take(view)
            if self._was_full and self._size * 2 <= self._buffer_size and self._source is None:
                self._was_full = False
                on_resume = self._on_resume
        if on_resume is not None:
            on_resume()
        if self._is_complete and not self._size:
            self._tell_of_emptiness()
        return count

    def _read_on(self, source: BodySource, view: memoryview) -> int:
        """Read from where the rest of the body comes; 0: it is fed again."""
        count = self._take_from(source, view)
        if count < 0:
            source.wait()
            count = self._take_from(source, view)
        if count <= 0 or not source.left_size:
            self._leave(source)
        return max(count, 0)

    def _take_from(self, source: BodySource, view: memoryview) -> int:
        # With the lock: what the loop feeds behind that comes behind that.
        with self._changed:
            count = 0 if self._source is not source else source.read_into(view)
            if count > 0:
                self.arrived(view[:count])
                self.received_size += count
            return count

    def _leave(self, source: BodySource) -> None:
        with self._changed:
            on_resume = self._on_resume
            self._source = None
            self._was_full = False
            if not source.left_size and self._error is None:
                self._is_complete = True
                self._settle()
        if on_resume is not None:
            on_resume()
        if self._is_complete and not self._size:
            self._tell_of_emptiness()

    def _tell_of_emptiness(self) -> None:
        on_emptied, self.on_emptied = self.on_emptied, None
        if on_emptied is not None:
            on_emptied()

    def _tell_of_wait(self) -> None:
        if self._on_wait is None:
            return
        # Taken under the lock: of two readers one tells, and the loop may drop it at any moment.
        with self._changed:
            on_wait, self._on_wait = self._on_wait, None
        if on_wait is not None:
            on_wait()

    def _wait_for(self, predicate: Callable[[], bool]) -> None:
        """Wait until `predicate` holds; with the lock, and whoever asks is told that one waits."""
        if not predicate():
            self._waiting += 1
            try:
                self._changed.wait_for(predicate)
            finally:
                self._waiting -= 1

    @property
    def _is_settled(self) -> bool:
        return self._is_complete or self._error is not None

    @property
    def _is_ready(self) -> bool:
        return bool(self._blocks or self._is_complete or self._error)

    def _end(self) -> int:
        if self._error is not None:
            raise _again(self._error)
        return 0

    def _take(self, view: memoryview) -> int:
        count = 0
        while self._blocks and count < len(view):
            block = self._blocks[0]
            part = memoryview(block)[self._taken_size : self._taken_size + len(view) - count]
            view[count : count + len(part)] = part
            count += len(part)
            self._taken_size += len(part)
            if self._taken_size == len(block):
                self._blocks.popleft()
                self._taken_size = 0
        self._size -= count
        return count


def _again(error: Exception) -> Exception:
    """One like `error`, to be raised once.

    An exception that is raised gets to know the frames it passes, and those know the body. If that
    knew the exception, too, all that an upload holds would be a cycle. And each reader has frames
    of its own.
    """
    again = type(error).__new__(type(error), *error.args)
    again.args = error.args
    again.__dict__.update(error.__dict__)
    return again
