"""What surrounds the serving: an async context manager of the program's, entered and left once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from asyncwsgi.errors import LifespanError
from asyncwsgi.server_log import logger

LifespanFactory = Callable[[], AbstractAsyncContextManager[object]]


class Lifespan:
    """One run of it, in one task: task groups and cancel scopes have to be left where they began.

    Args:
        factory: makes the context manager; None stands for one that does nothing.
        on_lost: is called when it has ended of its own accord.
    """

    def __init__(self, factory: LifespanFactory | None, on_lost: Callable[[], object]) -> None:
        self._factory = factory
        self._on_lost = on_lost
        self._leave = asyncio.Event()
        self._entered: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    async def enter(self) -> None:
        """Enter it, unless that is given up meanwhile. However this ends, `leave` has to follow.

        Raises:
            LifespanError: it failed; the cause is what it raised.
        """
        if self._factory is None or self._leave.is_set():
            return
        self._entered = asyncio.get_running_loop().create_future()
        work = self._run(self._factory, self._entered)
        self._task = asyncio.create_task(work, name="asyncwsgi-lifespan")
        try:
            await asyncio.shield(self._entered)
        except asyncio.CancelledError:
            self.give_up()
            raise

    def give_up(self) -> None:
        """Enter it no longer, if that is being done or still to come."""
        if self._entered is None or not self._entered.done():
            self._leave.set()
            if self._task is not None:
                self._task.cancel()

    @property
    def leaving(self) -> Any:
        """The coroutine that is leaving it, if one is. From any thread."""
        task = self._task
        if task is None or task.done() or not self._leave.is_set():
            return None
        return task.get_coro()

    async def leave(self, cut: asyncio.Event, cut_timeout: float) -> None:
        """Leave it, and wait for that; its errors are logged.

        Whoever cancels the waiting cancels the lifespan, too.

        Args:
            cut: ends the waiting: what is not done `cut_timeout` seconds later is cancelled.
        """
        if self._task is None:
            return
        self._leave.set()
        was_cut = asyncio.create_task(cut.wait())
        try:
            await asyncio.wait({self._task, was_cut}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({self._task}, timeout=cut_timeout)
        finally:
            was_cut.cancel()
            self._task.cancel()
        await asyncio.wait({self._task})

    async def _run(self, factory: LifespanFactory, entered: asyncio.Future[None]) -> None:
        try:
            async with factory():
                entered.set_result(None)
                await self._leave.wait()
        except BaseException as error:
            if not isinstance(error, (Exception, asyncio.CancelledError)):
                raise
            self._failed(error, entered)
        if not self._leave.is_set():
            self._on_lost()

    def _failed(self, error: BaseException, entered: asyncio.Future[None]) -> None:
        is_leaving = self._leave.is_set()
        if entered.done() and not is_leaving and isinstance(error, asyncio.CancelledError):
            logger.warning("the lifespan was cancelled, so the server stops")
        elif entered.done():
            said = "failed on its way out" if is_leaving else "failed, so the server stops"
            logger.error("the lifespan %s", said, exc_info=error)
        elif self._leave.is_set():
            entered.set_result(None)  # given up
        else:
            failure = LifespanError(
                f"entering the lifespan failed with {type(error).__name__}: {error}; nothing is "
                "served; correct it there"
            )
            failure.__cause__ = error
            entered.set_exception(failure)
            self._leave.set()
