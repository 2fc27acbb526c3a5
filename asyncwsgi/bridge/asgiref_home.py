"""Has asgiref run coroutines on the server's loop: Flask's async views, Django's.

asgiref's ``async_to_sync`` asks a thread-local for the loop of the program around it, which its
own ``sync_to_async`` sets, and makes a thread and a loop for each call if there is none. The name
is not documented; it has been the same since asgiref 3.0, and the tests hold it for the oldest and
the newest release. Should it change, views have a loop of their own for each call again.
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable, Coroutine
from typing import Any

from asyncwsgi.bridge.loop_calls import LoopTasks, stopped


@functools.cache
def _thread_local() -> Any:
    """Where asgiref looks; None without asgiref."""
    try:
        from asgiref.sync import SyncToAsync
    except ImportError:
        return None
    return getattr(SyncToAsync, "threadlocal", None)


class AsgirefHome:
    """Says in worker threads that `tasks`' loop is the one of the program around them.

    Args:
        tasks: counts what runs there.
    """

    def __init__(self, tasks: LoopTasks) -> None:
        self._home = _Home(asyncio.get_running_loop(), tasks)
        self._pid = os.getpid()

    def enter(self) -> None:
        """Say so in the current thread.

        To be repeated for each job: code that asgiref runs in a thread leaves its own loop there.
        """
        local = _thread_local()
        if local is not None and getattr(local, "main_event_loop", None) is not self._home:
            local.main_event_loop = self._home
            local.main_event_loop_pid = self._pid  # asgiref's guard against forks

    def run(self, call: Callable[[], None]) -> None:
        """Run `call` in a thread that is not the server's, and leave the thread as it was."""
        local = _thread_local()
        if local is None:
            call()
            return
        before = dict(local.__dict__)
        self.enter()
        try:
            call()
        finally:
            local.__dict__.clear()
            local.__dict__.update(before)


class _Home:
    """The loop, as asgiref uses it: tasks are counted, and refused when the server has stopped."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tasks: LoopTasks) -> None:
        self._loop = loop
        self._tasks = tasks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def is_running(self) -> bool:
        """Asked by asgiref before 3.5; it makes a loop of its own if not."""
        return not self._tasks.is_closed and self._loop.is_running()

    def call_soon_threadsafe(self, call: Callable[..., object], *args: Any) -> object:
        if self._tasks.is_closed:
            raise stopped()  # asgiref makes a loop of its own
        return self._loop.call_soon_threadsafe(call, *args)

    def create_task(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        return self._tasks.create_task(coroutine)
