"""Tasks that the loop runs for threads: counted, and cancelled when the server stops.

Guarantees: who waits for a call is never left waiting, also when its coroutine never ran or the
server has stopped; what a coroutine raises reaches its caller and nobody else, least of all the
loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextvars import Context
from typing import Any, Protocol

from asyncwsgi.coroutines.watch import LoopWatch
from asyncwsgi.requests.mailbox import Mailbox


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
        self._tasks: dict[asyncio.Task[Any], Call | None] = {}
        self._waiting: set[Call] = set()
        """Posted and not begun. Threads add, the loop removes."""
        self._is_idle = asyncio.Event()

    # From any thread.

    def is_loop_thread(self) -> bool:
        """Whether the calling thread is the one that would have to run what is posted."""
        return threading.get_ident() == self._loop_thread

    def post(self, call: Call) -> None:
        """Have the loop run `call`.

        Raises:
            RuntimeError: the server has stopped.
        """
        # In this order: either `close` finds the call, or what it has set is seen here.
        self._waiting.add(call)
        if self.is_closed:
            self._waiting.discard(call)
            raise stopped()
        self._mailbox.post(self._begin, call)

    def give_up(self, call: Call) -> None:
        """Cancel what was posted."""
        self._mailbox.post(self._give_up, call)

    def awaited(self) -> list[Any]:
        """The coroutines that run, to be looked at."""
        return [task.get_coro() for task in list(self._tasks)]

    # On the loop.

    def create_task(
        self, coroutine: Coroutine[Any, Any, Any], call: Call | None = None, **more: Any
    ) -> asyncio.Task[Any]:
        """Begin a task that is counted here. Whoever gave the coroutine catches what it raises."""
        task = self._loop.create_task(coroutine, **more)
        self._tasks[task] = call
        task.add_done_callback(self._task_ended)
        self._watch.task_began()
        if self.is_closed:
            self._loop.call_soon(self._cancel, [task])
        return task

    async def wait_until_idle(self) -> None:
        """Wait until all that was posted has ended."""
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
        for call in list(self._waiting):
            self._waiting.discard(call)
            call.fail(stopped())
        self._is_idle.set()
        self.cancel_all()

    def _cancel(self, tasks: list[asyncio.Task[Any]]) -> None:
        for task in tasks:
            task.cancel()

    def _begin(self, call: Call) -> None:
        if call not in self._waiting:
            return  # all is closed
        call.task = self.create_task(call.run(), call, name=call.name, context=call.context)
        self._waiting.discard(call)

    def _give_up(self, call: Call) -> None:
        if call.task is not None:
            call.task.cancel()

    def _task_ended(self, task: asyncio.Task[Any]) -> None:
        call = self._tasks.pop(task)
        if call is not None:
            # One that was cancelled before its first step has told nobody.
            call.fail(asyncio.CancelledError())
        self._watch.task_ended()
        if not self._tasks:
            self._is_idle.set()


def stopped() -> RuntimeError:
    """What is raised for those that ask a server which has stopped."""
    return RuntimeError(
        "the server that ran this request has stopped, and its loop takes no more coroutines; "
        "finish such work before the shutdown ends, or run it on a loop of your own"
    )
