"""Tasks that the loop runs for threads: counted, and ended when the server stops.

Three kinds of work come here. A thread calls a coroutine function and waits for its result
(`LoopTasks.run`); a view leaves a coroutine behind that outlives its request (`submit`); asgiref
brings the tasks of Django's and Flask's async views (`create_task`).

Guarantees: who waits for a call is never left waiting, also when its coroutine never ran, when its
task could not be made, or when the server has stopped; what a coroutine raises reaches whoever
waits for it and nobody else, least of all the loop.

What begins on the loop passes two places: `_posted`, to which any thread adds, and `_tasks`, which
is the loop's alone. `post` adds first and looks then whether all is closed; `close` says so first
and looks then what was posted. So either `close` finds a call and fails it, or its thread sees that
the server has stopped; that both happen does no harm, and that neither does cannot be.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextvars import Context, copy_context
from typing import Any, Generic, Protocol, TypeVar, cast

from asyncwsgi.coroutines.loop_access import Mailbox
from asyncwsgi.coroutines.waiting import Wait, parking_wait
from asyncwsgi.coroutines.watch import LoopWatch
from asyncwsgi.server_log import logger

T = TypeVar("T")
_UNSET = object()
_MOST_NAMED = 5


class Call(Protocol):
    """A coroutine on its way to the loop, where all of it is used."""

    name: str | None
    """That of its task."""
    context: Context
    """What it runs in."""
    task: asyncio.Task[Any] | None
    """What runs it, once that has begun."""

    async def run(self) -> None:
        """Await it, and keep what it raises from the loop."""

    def fail(self, error: BaseException) -> None:
        """Be told that it has failed, or will never begin; no news if its outcome is known."""


class LoopTasks:
    """The tasks that threads have begun on the loop and that have not ended. Made on the loop.

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
        self._posted: set[Call] = set()
        """Posted and not begun. Threads add, the loop removes."""
        self._tasks: dict[asyncio.Task[Any], Call | None] = {}
        self._background: set[Call] = set()
        """Those that have not ended, and whose end a shutdown awaits. Threads add, the loop
        removes."""
        self._has_changed = asyncio.Event()

    # From any thread.

    def is_loop_thread(self) -> bool:
        """Whether the calling thread is the one that would have to run what is posted."""
        return threading.get_ident() == self._loop_thread

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
            self.cancel(call)  # this thread was interrupted
            raise
        if not has_ended:
            self.cancel(call)
            raise TimeoutError(
                f"the coroutine took longer than its timeout of {timeout:g} s; it is cancelled"
            )
        restore(call.context)
        return call.outcome()

    def submit(
        self,
        coroutine: Coroutine[Any, Any, T],
        context: Context,
        name: str,
        on_failed: Callable[[BaseException], object],
    ) -> Future[T]:
        """Run `coroutine` in `context` in the background; cancelling its future cancels it.

        If it fails, that is logged. Nobody waits for it but the shutdown (see `drain`).

        Args:
            name: that of its task.
            on_failed: is told on the loop what it has raised.

        Raises:
            RuntimeError: the server has stopped; the coroutine is closed.
        """
        future: Future[T] = Future()
        call = BackgroundCall(coroutine, future, context, name, on_failed)
        try:
            self.serve(call)
        except RuntimeError:
            coroutine.close()
            raise
        future.add_done_callback(lambda done: self.cancel(call) if done.cancelled() else None)
        return future

    def serve(self, call: Call) -> None:
        """Have the loop run `call`, for which nobody waits but the shutdown (see `drain`).

        Raises:
            RuntimeError: the server has stopped.
        """
        self._background.add(call)
        try:
            self.post(call)
        except RuntimeError:
            self._background.discard(call)
            raise

    def post(self, call: Call) -> None:
        """Have the loop run `call`.

        Raises:
            RuntimeError: the server has stopped.
        """
        self._posted.add(call)
        if self.is_closed:
            self._posted.discard(call)
            raise stopped()
        self._mailbox.post(self._begin, call)

    def cancel(self, call: Call) -> None:
        """Cancel what was posted."""
        self._mailbox.post(self._cancel_one, call)

    def awaited(self) -> list[Any]:
        """The coroutines that run and for which somebody waits, to be looked at."""
        # A copy is made in one go; a list of pairs is not, since the collector may run between two.
        return [
            task.get_coro()
            for task, call in self._tasks.copy().items()
            if not isinstance(call, BackgroundCall)
        ]

    # On the loop.

    def create_task(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Begin a task that is counted here. Whoever gave the coroutine catches what it raises.

        A task factory that fails is passed by: only the coroutine can tell whoever waits for it.
        """
        try:
            return self._create_task(coroutine, None)
        except Exception:
            logger.exception("the task factory of the loop failed; the task is a plain one")
            return self._count(asyncio.Task(coroutine, loop=self._loop), None)

    def cancel_calls(self) -> None:
        """Cancel what runs, but for background tasks."""
        self._cancel_soon(
            [t for t, call in self._tasks.items() if not isinstance(call, BackgroundCall)]
        )

    async def drain(self, timeout: float, cut: asyncio.Event, cut_timeout: float) -> None:
        """Let background tasks end; nothing runs afterwards.

        Args:
            timeout: seconds after which what is left is cancelled.
            cut: cancels it before.
            cut_timeout: seconds that it has then.
        """
        ended = self._loop.create_task(self._wait_for_background())
        was_cut = self._loop.create_task(cut.wait())
        try:
            first = asyncio.FIRST_COMPLETED
            await asyncio.wait({ended, was_cut}, timeout=max(0.0, timeout), return_when=first)
            if not ended.done():
                names = sorted(call.name or "?" for call in self._background)
                logger.warning(
                    "%d background tasks have not ended by graceful_timeout and are cancelled: %s",
                    len(names), ", ".join(names[:_MOST_NAMED]),
                )  # fmt: skip
                self.close()
                await asyncio.wait({ended}, timeout=cut_timeout)
        finally:
            ended.cancel()
            was_cut.cancel()
            self.close()

    async def wait_until_idle(self) -> None:
        """Wait until all that was posted has ended."""
        while self._tasks or self._posted:
            await self._change()

    def close(self) -> None:
        """Run nothing any more: what has not begun fails, what runs is cancelled."""
        if self.is_closed:
            return  # nobody who tidies up is cancelled once more
        self.is_closed = True
        for call in list(self._posted):
            self._posted.discard(call)
            self._background.discard(call)
            call.fail(stopped())
        self._has_changed.set()
        self._cancel_soon(list(self._tasks))

    async def _wait_for_background(self) -> None:
        while self._background:
            await self._change()

    async def _change(self) -> None:
        self._has_changed.clear()
        await self._has_changed.wait()

    def _cancel_soon(self, tasks: list[asyncio.Task[Any]]) -> None:
        # A task that is cancelled before its first step never runs, and could not tell its caller.
        # The first step of each was scheduled before this call is.
        self._loop.call_soon(_cancel_all, tasks)

    def _begin(self, call: Call) -> None:
        if call not in self._posted:
            return  # all is closed
        self._posted.discard(call)
        coroutine = call.run()
        try:
            call.task = self._create_task(coroutine, call, name=call.name, context=call.context)
        except BaseException as error:
            # A task factory, such as an instrumentation library's, may raise. That is the affair
            # of whoever waits; the loop goes on.
            coroutine.close()
            if isinstance(call, BackgroundCall):
                call.report(error)
            self._ended(call, error)

    def _create_task(
        self, coroutine: Coroutine[Any, Any, Any], call: Call | None, **more: Any
    ) -> asyncio.Task[Any]:
        return self._count(self._loop.create_task(coroutine, **more), call)

    def _count(self, task: asyncio.Task[Any], call: Call | None) -> asyncio.Task[Any]:
        self._tasks[task] = call
        self._watch.task_began()
        task.add_done_callback(self._task_ended)
        if self.is_closed:
            self._cancel_soon([task])
        return task

    def _cancel_one(self, call: Call) -> None:
        if call.task is not None:
            call.task.cancel()

    def _task_ended(self, task: asyncio.Task[Any]) -> None:
        call = self._tasks.pop(task)
        self._watch.task_ended()
        # One that was cancelled before its first step has told nobody.
        self._ended(call, asyncio.CancelledError())

    def _ended(self, call: Call | None, error: BaseException) -> None:
        if call is not None:
            self._background.discard(call)
            call.fail(error)
        self._has_changed.set()


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
        self._ended: Wait = parking_wait() or _held_lock()

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


class BackgroundCall(Generic[T]):
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
                self.report(error)
            self.fail(error)
        else:
            if (future := self._unsettled()) is not None:
                future.set_result(result)

    def report(self, error: BaseException) -> None:
        """Say that it has failed, which its future may tell nobody."""
        logger.error("the background task %s failed", self.name, exc_info=error)
        self._on_failed(error)

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


def _held_lock() -> Wait:
    lock = threading.Lock()
    lock.acquire()
    return lock


def restore(context: Context) -> None:
    """Set in the current Context what differs in `context`."""
    for variable, value in context.items():
        if variable.get(_UNSET) is not value:
            variable.set(value)


def stopped() -> RuntimeError:
    """What is raised for those that ask a server which has stopped."""
    return RuntimeError(
        "the server that ran this request has stopped, and its loop takes no more coroutines; "
        "finish such work before the shutdown ends, or run it on a loop of your own"
    )


def _cancel_all(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
