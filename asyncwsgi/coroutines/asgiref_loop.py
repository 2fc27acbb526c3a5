"""Has asgiref run coroutines on the server's loop: Flask's async views, Django's.

asgiref's ``async_to_sync`` asks a thread-local for the loop of the program around it, which its
own ``sync_to_async`` sets, and makes a thread and a loop for each call if there is none. The name
is not documented; it has been the same since 2019, and `make conformance` tests the oldest and the
newest release. Should it change, views have a loop of their own for each call again.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import re
from collections.abc import Callable, Coroutine
from typing import Any, cast

from asyncwsgi.coroutines.asgiref_parking import current_executor, wait_for_task
from asyncwsgi.coroutines.cancellation import until_disconnect
from asyncwsgi.coroutines.current import current_request
from asyncwsgi.coroutines.tasks import LoopTasks, stopped
from asyncwsgi.coroutines.waiting import parking_wait

FIRST_RELEASE = (3, 3, 2)
"""Before it a coroutine's KeyboardInterrupt, and its cancellation, left the caller waiting for ever
and the former ended the loop, too; such releases are left alone."""


@functools.cache
def _thread_local() -> Any:
    """Where asgiref looks; None without asgiref, or if it is too old."""
    try:
        from asgiref import __version__
        from asgiref.sync import SyncToAsync
    except ImportError:
        return None
    if tuple(int(part) for part in re.findall(r"\d+", __version__)[:3]) < FIRST_RELEASE:
        return None
    return getattr(SyncToAsync, "threadlocal", None)


class AsgirefLoop:
    """Says in worker threads that `tasks`' loop is the one of the program around them.

    Args:
        tasks: counts what runs there.
    """

    def __init__(self, tasks: LoopTasks) -> None:
        self._loop_of_program = _CountingLoop(asyncio.get_running_loop(), tasks)
        self._pid = os.getpid()
        # Imported now and not by the first request: that may come when the process has no
        # descriptors left. Who cannot import it says so where it is needed.
        with contextlib.suppress(Exception):
            _thread_local()

    def announcer(self) -> Callable[[], None] | None:
        """What says so in the current thread, to be called before each job; None without asgiref.

        Once would not do: code that asgiref runs in a thread leaves its own loop there.
        """
        local, loop, pid = _thread_local(), self._loop_of_program, self._pid
        if local is None:
            return None

        def announce() -> None:
            if getattr(local, "main_event_loop", None) is not loop:
                local.main_event_loop = loop
                local.main_event_loop_pid = pid  # asgiref's guard against forks

        return announce

    def notes(self) -> dict[str, Any]:
        """What asgiref has noted in the current thread of the code that runs there.

        Whoever lets other code run in the middle of it puts that aside, and back.
        """
        with contextlib.suppress(Exception):
            if (local := _thread_local()) is not None:
                noted: dict[str, Any] = local.__dict__
                return noted
        return {}

    def run(self, call: Callable[[], None]) -> None:
        """Run `call` in a thread that is not the server's, and leave the thread as it was."""
        announce = self.announcer()
        if announce is None:
            call()
            return
        local = _thread_local()
        before = dict(local.__dict__)
        announce()
        try:
            call()
        finally:
            local.__dict__.clear()
            local.__dict__.update(before)


class _CountingLoop:
    """The loop, as asgiref uses it: tasks are counted, and refused when the server has stopped."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tasks: LoopTasks) -> None:
        self._loop = loop
        self._tasks = tasks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def is_running(self) -> bool:
        """Asked by older releases, which make a loop of their own if not."""
        return not self._tasks.is_closed and self._loop.is_running()

    def call_soon_threadsafe(self, call: Callable[..., object], *args: Any) -> object:
        # asgiref makes a loop of its own for a RuntimeError.
        if self._tasks.is_closed:
            raise stopped()
        request = current_request()
        if request is not None and not request.collect_body():
            raise RuntimeError("the request body is too large to be waited for")
        if call == self.create_task and (wait := parking_wait()) is not None:
            executor = current_executor()
            if executor is not None:
                wait_for_task(wait, executor, self._loop, self.create_task, *args)
                return None
        return self._loop.call_soon_threadsafe(call, *args)

    def create_task(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        request = current_request()  # asgiref calls in the Context of its caller
        if request is not None:
            coroutine = cast("Coroutine[Any, Any, Any]", request.observe(coroutine))
            if request.cancel_on_disconnect:
                coroutine = until_disconnect(request.disconnect, coroutine)
        return self._tasks.create_task(coroutine)
