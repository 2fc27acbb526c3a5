"""Log lines on their way to standard error, which may be a pipe that nobody reads.

A pipe holds 64 KiB. When it is full, because a supervisor has stalled or a terminal was stopped by
Ctrl+S, a write waits until somebody reads, for ever perhaps. A worker thread that logs a request
would wait there, and so would the loop with its first warning: nobody would be served, and SIGTERM
would not be obeyed, for the sake of a line. To write without waiting is not to be had: O_NONBLOCK
belongs to the pipe's end and not to this process, so that the shell, and whatever else was started
with the same standard error, would find its own writes failing.

One thread therefore does all the writing, and it alone may wait. Who logs puts a line into a queue
and goes on. The queue is bounded; what finds it full is counted and dropped, the newest first, so
that what led to the trouble is kept, and a line in the place of what is missing says how many.

The thread is one of the system's, also where gevent has put greenlets in the place of threads: they
all share one thread, which its write would hold. What it shares with those who log is a deque and
queues of C, so that it takes no lock that could be a greenlet's, or be held when the process forks.
"""

from __future__ import annotations

import contextlib
import io
import select
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from queue import Empty

from asyncwsgi.greenlets import SimpleQueue, start_system_thread
from asyncwsgi.requests import forks
from asyncwsgi.standard_streams import free_writers

MOST_HELD_SIZE = 1024 * 1024
"""Characters that wait to be written; as many may be in the hands of the thread."""
WRITE_SIZE = 4096
"""Bytes of one write, of whole lines: POSIX has pipes take so many at once (PIPE_BUF on Linux), so
that lines of several processes are not mixed up."""
REST = 0.01
"""Seconds between two writes, in which lines gather: the thread is not woken for each of them."""
FLUSH_TIMEOUT = 0.5
"""Seconds for which standard error may be full when a server, or the process, ends."""
PATIENCE = 10.0
"""Seconds that the thread may take on a busy machine while it is not."""


def writer_for(stream: object, tell_lost: Callable[[int], str]) -> LogWriter | None:
    """What writes to `stream` in the background; None if that is no file of the system's.

    What a notebook or a test has put in the place of standard error waits for nobody.

    Args:
        stream: a text stream.
        tell_lost: makes the line that says how many were lost.
    """
    if not isinstance(stream, io.TextIOWrapper):
        return None
    # Below the buffer: the thread must not wait with the buffer's lock, which `print` takes, and
    # the interpreter at its end. Nothing stays in the buffer, because the stream flushes each line.
    raw = getattr(stream.buffer, "raw", stream.buffer)
    return LogWriter(stream, raw, tell_lost) if isinstance(raw, io.RawIOBase) else None


class LogWriter:
    """Takes lines from any thread and writes them in their order; nobody waits.

    The stream of a `logging.StreamHandler`. It has no `flush`, which that would call for each line.

    Args:
        stream: where they are to go.
        raw: the file below it.
        tell_lost: makes the line that says how many were lost.
    """

    # Counters: the first two are changed with the lock held, the others by the thread alone.

    def __init__(
        self, stream: io.TextIOWrapper, raw: io.RawIOBase, tell_lost: Callable[[int], str]
    ) -> None:
        self._stream = stream
        self._raw = raw
        self._tell_lost = tell_lost
        self._held: deque[str | SimpleQueue[None]] = deque()
        """Lines, and between them the queues of those who wait until it is written up to there."""
        self._lock = threading.RLock()
        """Of those who put lines; held for moments, and never by the thread. A signal's handler may
        log between any two instructions of the thread that has it."""
        self._taken_in = 0
        self._dropped = 0
        self._taken_out = 0
        self._failed = 0
        self._told = 0
        self._arrival: SimpleQueue[None] = SimpleQueue()
        """Wakes the thread when there are lines and there were none."""
        self._hurry: SimpleQueue[None] = SimpleQueue()
        """Ends its rest."""
        self._forks = forks.count
        """That of the process that has the thread; a child that it forks has none."""
        self._is_finished = False
        try:
            start_system_thread(self._run)
        except RuntimeError:  # there are too many
            self._forks = -1

    def write(self, line: str) -> None:
        """Have a line written, its end included."""
        if not self._has_thread:
            # A child that was forked may also end by `os._exit`, and so waits for its own lines.
            # Of an interpreter that ends nobody waits for a line that cannot be written.
            if not sys.is_finalizing() or self._has_room():
                self._put_out([line])
            return
        with self._lock:
            if self._taken_in - self._taken_out > MOST_HELD_SIZE:
                self._dropped += 1
                return
            self._taken_in += len(line)
            self._put(line)
        if self._is_finished:
            self.finish()

    def _put(self, entry: str | SimpleQueue[None]) -> None:
        # First put, then looked: if there is another entry, then the thread has not come to that
        # yet, and will come to this one with it. Unless the other is that of a signal's handler,
        # put between the two, which has relied on this one in turn: hence the look before.
        was_empty = not self._held
        self._held.append(entry)
        if was_empty or len(self._held) == 1:
            self._arrival.put(None)

    def drain(self) -> bool:
        """Wait for what was given to `write`, and for what `print` has left in the stream.

        Returns:
            Whether it was written; False if standard error takes no more.
        """
        if not self._has_thread:
            return True
        written: SimpleQueue[None] = SimpleQueue()
        with self._lock:
            self._put(written)
        self._hurry.put(None)
        for _ in range(int(PATIENCE / FLUSH_TIMEOUT)):
            with contextlib.suppress(Empty):
                written.get(timeout=FLUSH_TIMEOUT)
                return True
            if not self._has_room():
                break
        return False

    def finish(self) -> None:
        """Write what is left at the end of the process, unless that would hold up its end.

        The thread may end at any moment from now on, so who logs yet waits for its line.
        """
        self._is_finished = True
        if not self.drain():
            free_writers(self._stream.fileno())

    def _has_room(self) -> bool:
        with contextlib.suppress(OSError, ValueError):
            return bool(select.select([], [self._raw.fileno()], [], 0)[1])
        return False

    @property
    def _has_thread(self) -> bool:
        # While the interpreter ends, what it lets go of may log, and no other thread runs any more.
        return self._forks == forks.count and not sys.is_finalizing()

    # The thread.

    def _run(self) -> None:
        while True:
            self._arrival.get()
            while self._held:
                self._write_held()
                self._rest()

    def _rest(self) -> None:
        with contextlib.suppress(Empty):
            self._hurry.get(timeout=REST)

    def _write_held(self) -> None:
        held = [self._held.popleft() for _ in range(len(self._held))]
        lines = [entry for entry in held if isinstance(entry, str)]
        self._taken_out += sum(map(len, lines))
        # Asked behind the lines and written behind them: what was dropped came later than these,
        # and before whatever finds room now.
        dropped = self._dropped
        self._put_out(lines)
        self._tell(dropped)
        waiting = [entry for entry in held if not isinstance(entry, str)]
        if waiting:
            self._flush_stream()
        for written in waiting:
            written.put(None)

    def _tell(self, dropped: int) -> None:
        lost = dropped + self._failed - self._told
        if lost and self._put_out([self._tell_lost(lost)], counts=False):
            self._told += lost

    def _flush_stream(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def _put_out(self, lines: list[str], *, counts: bool = True) -> bool:
        """Write lines. False: it cannot be done, and from some line on they are lost."""
        written = 0
        try:
            for number, data in self._chunks(lines):
                self._write_all(data)
                written += number
        except (OSError, ValueError):  # nobody will ever read; no space is left; it was closed
            if counts:
                self._failed += len(lines) - written
            return False
        return True

    def _chunks(self, lines: Iterable[str]) -> Iterator[tuple[int, bytes]]:
        """The lines encoded, as many at a time as one write takes; with their number."""
        number, chunk = 0, b""
        for line in lines:
            data = line.encode(self._stream.encoding, "backslashreplace")
            if chunk and len(chunk) + len(data) > WRITE_SIZE:
                yield number, chunk
                number, chunk = 0, b""
            number, chunk = number + 1, chunk + data
        if chunk:
            yield number, chunk

    def _write_all(self, data: bytes) -> None:
        while data:
            size = self._raw.write(data)
            if size is None:
                # Somebody else has set O_NONBLOCK. When there will be room cannot be waited for
                # in a way that gevent leaves alone.
                self._rest()
            else:
                data = data[size:]
