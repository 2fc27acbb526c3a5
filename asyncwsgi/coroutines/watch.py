"""Notices when code on the loop keeps it from everything else, and says which.

A thread looks, and only while there are coroutines of the application: a request without one pays
nothing, one with them pays no more for each step. It has the loop set an event, and if that takes
too long it looks what the loop's thread is at. To measure on the loop would cost each step of each
task, and it would tell afterwards, when nobody can see any more where the coroutine stood; one that
never lets go would never be told of.

It looks at frames of a thread that runs on meanwhile. The interpreter's lock makes that safe; on a
free-threaded build nothing does, and it may crash the process (Python's documentation says so of
``sys._current_frames()``). There nobody looks.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
from types import CodeType, FrameType

from asyncwsgi.clock import clock
from asyncwsgi.coroutines.loop_access import Mailbox
from asyncwsgi.server_log import logger

PATIENCE = 0.2
"""Seconds for which the loop may be held before anyone is told."""
INTERVAL = 0.1
"""Seconds between looks."""
MOST_REMEMBERED = 100

_OWN = ("asyncio", "asgiref", "asyncwsgi", "concurrent", "uvloop")
"""Packages whose coroutines carry those of the application."""


class LoopWatch:
    """One warning for each coroutine that holds the loop.

    Args:
        mailbox: the way to the loop.
    """

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._running = 0
        self._thread: threading.Thread | None = None
        self._has_work = threading.Event()
        self._was_stopped = threading.Event()
        self._warned: set[CodeType] = set()

    # On the loop.

    def task_began(self) -> None:
        """A coroutine of the application runs on the loop from now on."""
        if not self._running:
            self._has_work.set()
        self._running += 1
        if self._thread is None and not self._was_stopped.is_set():
            self._start()

    def task_ended(self) -> None:
        """One of them has ended."""
        self._running -= 1
        if not self._running and not self._was_stopped.is_set():
            self._has_work.clear()

    def stop(self) -> None:
        """Look no more."""
        self._was_stopped.set()
        self._has_work.set()

    def _start(self) -> None:
        if not getattr(sys, "_is_gil_enabled", lambda: True)():
            return
        thread = threading.Thread(target=self._look, name="asyncwsgi-watch", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # a container's limit: nothing depends on the warning
            return
        self._thread = thread

    # In its thread.

    def _look(self) -> None:
        while not self._is_over():
            self._has_work.wait()
            beat = threading.Event()
            began = clock.monotonic()
            self._mailbox.post(threading.Event.set, beat)
            if not beat.wait(PATIENCE) and not self._is_over():
                self._warn(beat, began)
            self._was_stopped.wait(INTERVAL)

    def _warn(self, beat: threading.Event, began: float) -> None:
        frame = sys._current_frames().get(self._loop_thread)
        coroutine = _outermost_coroutine(frame)
        if frame is None or coroutine is None:
            self._wait(beat)  # the machine is busy, or the program holds its own loop
            return
        code = coroutine.f_code
        if code in self._warned:
            self._wait(beat)
            return
        if len(self._warned) < MOST_REMEMBERED:
            self._warned.add(code)
        name = f"{coroutine.f_globals.get('__name__', '?')}.{code.co_qualname}"
        where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        site = f"{code.co_filename}:{coroutine.f_lineno}"
        del frame, coroutine
        logger.warning(
            "%s has held the server's loop for more than %g s, and no client was served "
            "meanwhile; it stood at %s%s; await there, or move what blocks into "
            "asyncio.to_thread()",
            name, PATIENCE, site, "" if where == site else f", in {where}",
        )  # fmt: skip
        self._wait(beat)
        logger.info("%s held the loop for %.1f s", name, clock.monotonic() - began)

    def _wait(self, beat: threading.Event) -> None:
        while not beat.wait(PATIENCE) and not self._is_over():
            pass

    def _is_over(self) -> bool:
        return self._was_stopped.is_set() or self._loop.is_closed()


def _outermost_coroutine(frame: FrameType | None) -> FrameType | None:
    """The outermost coroutine on the stack that is the application's: the view, say."""
    found = None
    while frame is not None:
        flags = frame.f_code.co_flags & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR)
        module: str = frame.f_globals.get("__name__") or ""
        if flags and module.partition(".")[0] not in _OWN:
            found = frame
        frame = frame.f_back
    return found
