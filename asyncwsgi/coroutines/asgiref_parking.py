"""Frees the thread that waits for a coroutine which asgiref brings to the loop.

asgiref's ``async_to_sync`` hands its coroutine to the loop and then waits in an executor of its own
until the coroutine has ended; what the coroutine gives to ``sync_to_async`` runs there meanwhile,
in the thread of the caller. What it knows of the loop is the stand-in of
`asyncwsgi.coroutines.asgiref_loop`. So the wait is done there, before asgiref hears that the loop
has the coroutine: when it does, the coroutine has ended, and asgiref's own wait is over at once.

For the thread-sensitive code the executor of that one call gets a `submit` of ours, which has it
run by whoever waits: in the thread and the greenlet of its request, whatever else the thread does.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

from asyncwsgi.coroutines.waiting import ParkingWait

FIRST_RELEASE = (3, 7, 0)
"""Before it the executor of a call was its thread's, and not its Context's: calls that share a
thread would have run each other's code."""


def release_of_asgiref() -> tuple[int, ...]:
    """The release that is installed.

    Raises:
        ImportError: there is none.
    """
    from asgiref import __version__

    return tuple(int(part) for part in re.findall(r"\d+", __version__)[:3])


@functools.cache
def _executors() -> Any:
    """Where asgiref keeps the executor of each call; None if calls cannot be told apart there."""
    try:
        from asgiref.sync import AsyncToSync

        if release_of_asgiref() < FIRST_RELEASE:
            return None
    except ImportError:
        return None
    return getattr(AsyncToSync, "executors", None)


def current_executor() -> Any:
    """The executor of the call of asgiref that this is part of; None if that is not known."""
    return getattr(_executors(), "current", None)


def wait_for_task(
    wait: ParkingWait,
    executor: Any,
    loop: asyncio.AbstractEventLoop,
    create_task: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]],
    coroutine: Coroutine[Any, Any, Any],
) -> None:
    """Begin a task on `loop`, and wait for its end.

    Raises:
        RuntimeError: the loop is closed; nothing was begun.
    """
    executor.submit = _ThreadSensitive(wait, getattr(executor, "_old_executor", None)).submit

    def begin() -> None:
        try:
            task = create_task(coroutine)
        except BaseException:
            wait.release()
            raise
        task.add_done_callback(lambda _: wait.release())

    try:
        loop.call_soon_threadsafe(begin)
    except BaseException:
        del executor.submit  # asgiref makes a loop of its own, and waits in its own way
        raise
    wait.acquire()


class _ThreadSensitive:
    """What ``sync_to_async`` gives its code to, for the length of one call.

    Args:
        wait: runs it.
        outer: the executor of the call around this one, to which asgiref gives what comes late.
    """

    def __init__(self, wait: ParkingWait, outer: Any) -> None:
        self._wait = wait
        self._outer = outer

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """As an executor has it. From any thread.

        Raises:
            RuntimeError: the call, and those around it, have ended.
        """
        future: Future[Any] = Future()
        run = functools.partial(_run, future, functools.partial(function, *args, **kwargs))
        self._wait.call(run)
        if self._wait.is_over and self._wait.take_back(run):
            if self._outer is None:
                raise RuntimeError(
                    "the call of async_to_sync for which this code was to run has ended"
                )
            outer: Future[Any] = self._outer.submit(function, *args, **kwargs)
            return outer
        return future


def _run(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:
        future.set_exception(error)
        del future  # an exception knows this frame: no cycle
    else:
        future.set_result(result)
