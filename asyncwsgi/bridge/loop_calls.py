"""Coroutines that threads have the loop run.

Guarantees: a caller is never left waiting, also when its coroutine never ran or the server has
stopped; what a coroutine raises reaches its caller and nobody else, least of all the loop.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextvars import Context, copy_context
from typing import Any, TypeVar, cast

from asyncwsgi.bridge.loop_watch import LoopWatch
from asyncwsgi.bridge.mailbox import Mailbox

logger = logging.getLogger("asyncwsgi.server")

T = TypeVar("T")
_UNSET = object()


def _nothing() -> None:
    """There is nothing to be discarded."""


class LoopTasks:
    """The tasks that threads have begun on the loop and that have not ended.

    Args:
        mailbox: the way to the loop.
        watch: is told while there are any.
    """

    def __init__(self, mailbox: Mailbox, watch: LoopWatch) -> None:
        self.is_closed = False
        """Whether nothing is run any more: the server has stopped."""
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._mailbox = mailbox
        self._watch = watch
        self._tasks: set[asyncio.Task[Any]] = set()
        self._waiting: set[Future[Any]] = set()
        """Posted and not begun. Threads add, the loop removes."""
        self._is_idle = asyncio.Event()

    # From any thread.

    def is_loop_thread(self) -> bool:
        """Whether the calling thread is the one that would have to run what is submitted."""
        return threading.get_ident() == self._loop_thread

    def submit(
        self,
        make: Callable[[], Awaitable[T]],
        context: Context,
        *,
        name: str | None = None,
        discard: Callable[[], object] = _nothing,
    ) -> Future[T]:
        """Have the loop await what `make` returns, in `context`; cancelling it cancels the task.

        `discard` is called if it is cancelled before `make` was called.

        Raises:
            RuntimeError: the server has stopped.
        """
        future: Future[T] = Future()
        # In this order: either `close` finds the future, or what it has set is seen here.
        self._waiting.add(future)
        if self.is_closed:
            self._waiting.discard(future)
            raise stopped()
        self._mailbox.post(self._begin, (future, make, context, name, discard))
        return future

    def cancel(self, task: asyncio.Task[Any]) -> None:
        """Cancel `task`."""
        self._mailbox.post(asyncio.Task.cancel, task)

    def awaited(self) -> list[Any]:
        """The coroutines that run, to be looked at."""
        return [task.get_coro() for task in list(self._tasks)]

    # On the loop.

    def create_task(self, coroutine: Coroutine[Any, Any, Any], **more: Any) -> asyncio.Task[Any]:
        """Begin a task that is counted here. Whoever gave the coroutine catches what it raises."""
        task = self._loop.create_task(coroutine, **more)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)
        self._watch.task_began()
        if self.is_closed:
            self._loop.call_soon(self._cancel, [task])
        return task

    async def wait_until_idle(self) -> None:
        """Wait until all that was submitted has ended."""
        while self._tasks or self._waiting:
            self._is_idle.clear()
            await self._is_idle.wait()

    def cancel_all(self) -> None:
        """Cancel what runs."""
        # A task that is cancelled before its first step never runs, and could not tell its caller.
        # The first step of each was scheduled before this call is.
        self._loop.call_soon(self._cancel, list(self._tasks))

    def close(self) -> None:
        """Run nothing any more: what has not begun fails, what runs is cancelled."""
        if self.is_closed:
            return  # nobody who tidies up is cancelled once more
        self.is_closed = True
        for future in list(self._waiting):
            self._waiting.discard(future)
            if future.set_running_or_notify_cancel():
                future.set_exception(stopped())
        self._is_idle.set()
        self.cancel_all()

    def _cancel(self, tasks: list[asyncio.Task[Any]]) -> None:
        for task in tasks:
            task.cancel()

    def _begin(
        self,
        call: tuple[
            Future[T], Callable[[], Awaitable[T]], Context, str | None, Callable[[], object]
        ],
    ) -> None:
        future, make, context, name, discard = call
        if future.cancelled() or future not in self._waiting:  # or all is closed
            self._waiting.discard(future)
            self._is_idle.set()
            discard()
            return
        task = self.create_task(self._run(future, make), name=name, context=context)
        self._waiting.discard(future)
        task.add_done_callback(lambda _: _settle(future, error=asyncio.CancelledError()))
        future.add_done_callback(lambda done: self.cancel(task) if done.cancelled() else None)

    async def _run(self, future: Future[T], make: Callable[[], Awaitable[T]]) -> None:
        try:
            result = await _awaitable(make)
        except BaseException as error:
            # asyncio lets KeyboardInterrupt and SystemExit of a task end the loop: they are the
            # caller's.
            self._failed(error)
            _settle(future, error=error)
        else:
            _settle(future, result)
        finally:
            del future  # an exception knows this frame: no cycle

    def _failed(self, error: BaseException) -> None:
        """Something submitted has raised `error`, which its future will tell."""

    def _task_ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        self._watch.task_ended()
        if not self._tasks:
            self._is_idle.set()


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
        context = copy_context()
        future = self.submit(make, context)
        try:
            self._wait(future, timeout)
            restore(context)
            return future.result()
        finally:
            del future  # an exception knows this frame: no cycle

    def _wait(self, future: Future[T], timeout: float | None) -> None:
        try:
            future.exception(timeout)
        except TimeoutError:
            if future.cancel():  # else it has ended this very moment
                raise TimeoutError(
                    f"the coroutine took longer than its timeout of {timeout:g} s; it is cancelled"
                ) from None
        except BaseException:
            future.cancel()  # this thread was interrupted
            raise


class Background(LoopTasks):
    """Coroutines for which nobody waits but the shutdown."""

    on_failed: Callable[[BaseException], object] | None = None
    """Called on the loop, in the Context of the task that has failed."""

    def _failed(self, error: BaseException) -> None:
        if not isinstance(error, asyncio.CancelledError):
            task = asyncio.current_task()
            name = task.get_name() if task else "?"
            logger.error("the background task %s failed", name, exc_info=error)
            if self.on_failed is not None:
                self.on_failed(error)

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


def stopped() -> RuntimeError:
    """What is raised for those that ask a server which has stopped."""
    return RuntimeError(
        "the server that ran this request has stopped, and its loop takes no more coroutines; "
        "finish such work before the shutdown ends, or run it on a loop of your own"
    )


def restore(context: Context) -> None:
    """Set in the current Context what differs in `context`."""
    for variable, value in context.items():
        if variable.get(_UNSET) is not value:
            variable.set(value)


async def _awaitable(make: Callable[[], Awaitable[T]]) -> T:
    awaitable: object = make()
    if not inspect.isawaitable(awaitable):
        raise TypeError(
            f"the function returned {type(awaitable).__name__}, which cannot be awaited; "
            "expected a coroutine function"
        )
    return cast("T", await awaitable)


def _settle(future: Future[T], result: Any = None, *, error: BaseException | None = None) -> None:
    if future.done() or not future.set_running_or_notify_cancel():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
