"""Frees the thread that waits for a coroutine which asgiref brings to the loop.

asgiref's ``async_to_sync`` hands its coroutine to the loop and then waits in an executor of its own
until the coroutine has ended; what the coroutine gives to ``sync_to_async`` runs there meanwhile,
in the thread of the caller. What it knows of the loop is the stand-in of
`asyncwsgi.coroutines.asgiref_loop`. So the wait is done there, before asgiref hears that the loop
has the coroutine: when it does, the coroutine has ended, and asgiref's own wait is over at once.

Thread-sensitive code comes to a deque of that executor, which is made for one call. Here it becomes
one that wakes whoever waits, so that the code runs in the thread and in the greenlet of its
request, whatever else the thread does. What is left when the call has ended, asgiref runs itself.

The names of the executor and of its deque are not documented; `make conformance` tests the newest
release. Where they are missing threads wait in asgiref's own way, as they do without parking. So it
is before asgiref 3.9, which had a queue there; before 3.7 calls that share a thread could not have
been told apart.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from asyncwsgi.coroutines.waiting import ParkingWait


@functools.cache
def _executors() -> Any:
    """Where asgiref keeps the executor of each call; None without asgiref."""
    try:
        from asgiref.sync import AsyncToSync
    except ImportError:
        return None
    return getattr(AsyncToSync, "executors", None)


def current_executor() -> Any:
    """The executor of the call of asgiref that this is part of; None if it is not as it is here."""
    executor = getattr(_executors(), "current", None)
    return executor if isinstance(getattr(executor, "_work_items", None), deque) else None


def wait_for_task(
    wait: ParkingWait,
    executor: Any,
    loop: asyncio.AbstractEventLoop,
    create_task: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]],
    coroutine: Coroutine[Any, Any, Any],
) -> None:
    """Begin a task on `loop`, and wait for its end.

    Args:
        executor: that of the call which waits.

    Raises:
        RuntimeError: the loop is closed; nothing was begun.
    """

    def begin() -> None:
        try:
            task = create_task(coroutine)
        except BaseException:
            wait.release()
            raise
        task.add_done_callback(lambda _: wait.release())

    executor._work_items = work_items = _WorkItems(wait)
    loop.call_soon_threadsafe(begin)
    wait.acquire(meanwhile=work_items.run)


class _WorkItems(deque[Any]):
    """The thread-sensitive code of one call, which wakes whoever is to run it."""

    def __init__(self, wait: ParkingWait) -> None:
        super().__init__()
        self._wait = wait

    def append(self, item: Any, /) -> None:
        super().append(item)
        self._wait.wake()

    def run(self) -> None:
        while self:
            self.popleft().run()
