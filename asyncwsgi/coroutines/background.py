"""Coroutines that the loop runs and for which nobody waits but the shutdown."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextvars import Context
from typing import Any, Generic, TypeVar

from asyncwsgi.coroutines.tasks import LoopTasks

logger = logging.getLogger("asyncwsgi.server")

T = TypeVar("T")


class Background(LoopTasks):
    """Background tasks: logged when they fail, drained at the shutdown."""

    on_failed: Callable[[BaseException], object] | None = None
    """Called on the loop, in the Context of the task that has failed."""

    def submit(self, coroutine: Coroutine[Any, Any, T], context: Context, name: str) -> Future[T]:
        """Have the loop run `coroutine` in `context`; cancelling its future cancels it.

        Args:
            name: that of its task.

        Raises:
            RuntimeError: the server has stopped; the coroutine is closed.
        """
        future: Future[T] = Future()
        on_failed = functools.partial(self._failed, name)
        call = _BackgroundCall(coroutine, future, context, name, on_failed)
        try:
            self.post(call)
        except RuntimeError:
            coroutine.close()
            raise
        future.add_done_callback(lambda done: self.give_up(call) if done.cancelled() else None)
        return future

    async def drain(self, timeout: float, cut: asyncio.Event, cut_timeout: float) -> None:
        """Let everything end.

        Args:
            timeout: seconds after which what is left is cancelled.
            cut: cancels it before.
            cut_timeout: seconds that it has then.
        """
        idle = self._loop.create_task(self.wait_until_idle())
        was_cut = self._loop.create_task(cut.wait())
        first = asyncio.FIRST_COMPLETED
        await asyncio.wait({idle, was_cut}, timeout=max(0.0, timeout), return_when=first)
        if not idle.done():
            names = sorted(task.get_name() for task in self._tasks)
            logger.warning(
                "%d background tasks have not ended by graceful_timeout and are cancelled: %s",
                len(names), ", ".join(names[:5]),
            )  # fmt: skip
            self.close()
            await asyncio.wait({idle}, timeout=cut_timeout)
        for task in (idle, was_cut):
            task.cancel()

    def _failed(self, name: str, error: BaseException) -> None:
        logger.error("the background task %s failed", name, exc_info=error)
        if self.on_failed is not None:
            self.on_failed(error)


class _BackgroundCall(Generic[T]):
    """A call whose outcome is a future's, for whoever cares."""

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, T],
        future: Future[T],
        context: Context,
        name: str,
        on_failed: Callable[[BaseException], object],
    ) -> None:
        self.name: str | None = name
        self.context = context
        self.task: asyncio.Task[Any] | None = None
        self._coroutine = coroutine
        self._future: Future[T] | None = future
        self._on_failed = on_failed

    async def run(self) -> None:
        try:
            result = await self._coroutine
        except BaseException as error:
            # As with calls that are waited for: nothing may end the loop.
            if not isinstance(error, asyncio.CancelledError):
                self._on_failed(error)
            self.fail(error)
        else:
            if (future := self._unsettled()) is not None:
                future.set_result(result)

    def fail(self, error: BaseException) -> None:
        # If it has never begun, Python would warn that nobody has awaited it.
        self._coroutine.close()
        if (future := self._unsettled()) is not None:
            future.set_exception(error)

    def _unsettled(self) -> Future[T] | None:
        """The future, if it waits for an outcome; once. It knows this call: no cycle."""
        future, self._future = self._future, None
        if future is None or not future.set_running_or_notify_cancel():
            return None
        return future
