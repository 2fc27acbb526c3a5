"""Coroutines that threads have the loop run, and for whose results they wait."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from threading import Lock
from typing import Any, Generic, TypeVar, cast

from asyncwsgi.coroutines.tasks import LoopTasks

T = TypeVar("T")
_UNSET = object()


class LoopCalls(LoopTasks):
    """Coroutines for whose results threads wait."""

    def run(self, make: Callable[[], Awaitable[T]], *, timeout: float | None = None) -> T:
        """Await what `make` returns on the loop, in a copy of the caller's Context; its result.

        Context variables that were set come back into the caller's Context.

        Raises:
            RuntimeError: this is the loop's own thread, or the server has stopped.
            TimeoutError: it took longer than `timeout` seconds; it is cancelled.
        """
        if self.is_loop_thread():
            raise RuntimeError(
                "this is the thread of the loop that would have to run the coroutine, and waiting "
                "here would be for ever: await the coroutine function instead; in an async view, "
                "call what is synchronous with asyncio.to_thread() or asgiref's sync_to_async()"
            )
        call = AwaitedCall(make)
        self.post(call)
        try:
            has_ended = call.wait(timeout)
        except BaseException:
            self.give_up(call)  # this thread was interrupted
            raise
        if not has_ended:
            self.give_up(call)
            raise TimeoutError(
                f"the coroutine took longer than its timeout of {timeout:g} s; it is cancelled"
            )
        restore(call.context)
        return call.outcome()


class AwaitedCall(Generic[T]):
    """A call for which one thread waits: what a `Future` does for many costs as much as the way.

    Args:
        make: what returns the awaitable, called on the loop.
    """

    __slots__ = (
        "_ended", "_error", "_has_ended", "_make", "_result", "context", "name", "task",
    )  # fmt: skip

    def __init__(self, make: Callable[[], Awaitable[T]]) -> None:
        self.name: str | None = None
        self.context = copy_context()
        self.task: asyncio.Task[Any] | None = None
        self._make = make
        self._result: T | None = None
        self._error: BaseException | None = None
        self._has_ended = False
        self._ended = Lock()
        self._ended.acquire()

    # In the thread that waits.

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for its end, for up to `timeout` seconds; whether it has come."""
        self._ended.acquire(timeout=-1 if timeout is None else max(0.0, timeout))
        return self._has_ended

    def outcome(self) -> T:
        """Return what it has returned, or raise what it has raised; to be asked once."""
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
            return cast("T", self._result)
        finally:
            del error  # an exception knows this frame: no cycle

    # On the loop.

    async def run(self) -> None:
        try:
            awaitable: object = self._make()
            if not inspect.isawaitable(awaitable):
                raise TypeError(
                    f"the function returned {type(awaitable).__name__}, which cannot be awaited; "
                    "expected a coroutine function"
                )
            self._result = await awaitable
        except BaseException as error:
            # asyncio lets KeyboardInterrupt and SystemExit of a task end the loop: they are the
            # caller's.
            self.fail(error)
        else:
            self._end()
        finally:
            del self  # an exception knows this frame: no cycle

    def fail(self, error: BaseException) -> None:
        if not self._has_ended:
            self._error = error
            self._end()

    def _end(self) -> None:
        self._has_ended = True
        self._ended.release()


def restore(context: Context) -> None:
    """Set in the current Context what differs in `context`."""
    for variable, value in context.items():
        if variable.get(_UNSET) is not value:
            variable.set(value)
