"""The threads that run the application.

Why threads of our own and no ``ThreadPoolExecutor``: its exit hook joins every worker, so a view
that hangs keeps the process from ending; it cannot be stopped with a deadline; its threads never
expire; and the future it makes for each job, with a condition and a lock, costs a quarter of the
throughput of small requests, although nobody waits for it: what became of a request is told by the
request itself. Whoever has an executor to share may still pass it, see `ExecutorWorkers`.

Why daemons: a thread that hangs in the application, or in what it calls, cannot be ended from
outside. A graceful shutdown waits for it as long as it was told to; after that the process must be
able to end. Those that do not hang are told to end, and waited for, by `WorkerThreads.stop`, so
nothing of theirs is cut off.

The loop decides how many threads there are; all counts are its own, and change on the loop alone.
A thread only takes jobs from a queue until it takes the None that tells it to end, and says as the
last thing it does that it leaves. That it has left does not mean that it has ended: now Python lets
go of the thread's locals, and that may take its time (a database's connection is closed, say). So
the loop never joins a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future
from types import FrameType
from typing import Any, Protocol

from asyncwsgi.clock import clock
from asyncwsgi.coroutines.asgiref_loop import AsgirefLoop
from asyncwsgi.errors import WorkersBusy
from asyncwsgi.greenlets import thread_queue
from asyncwsgi.requests import forks
from asyncwsgi.requests.mailbox import Mailbox
from asyncwsgi.server_log import logger

END_TIMEOUT = 3.0
"""Seconds that threads which have left have to end. Who hangs there is like who hangs in a job."""
LOOK_INTERVAL = 0.001
"""Seconds between looks whether they have."""

FEW_JOBS = 2
"""Most jobs in flight of which each is told that they are few.

What an exchange makes of it was measured with a plain application: with one connection there are
two thirds more requests a second, with two a third more; with four there is nothing to win, and
with eight, if all of them are told, a tenth is lost."""

_numbers = itertools.count(1)


class Job(Protocol):
    """Something to run in a worker thread. It keeps its exceptions to itself."""

    def run(self) -> None: ...

    def few_run(self) -> None:
        """Be told that hardly any other job runs. On the loop, before `run`."""

    def cancel(self) -> None:
        """Be told that `run` will never be called. From any thread."""


class ParkedJob(Protocol):
    """A job that was left in the middle, until what it waits for has come. From any thread."""

    @property
    def request(self) -> object:
        """The request it belongs to; None if that goes on just now, or is not known."""

    @property
    def thread_id(self) -> int | None:
        """The thread that has begun it and will go on with it."""

    @property
    def keeps_thread(self) -> bool:
        """Whether that thread takes nothing new meanwhile."""

    @property
    def frame(self) -> FrameType | None:
        """Where it stands; None if it goes on just now."""


class Workers(Protocol):
    """What runs jobs. All but the jobs themselves happens on the loop."""

    @property
    def limit(self) -> int | None:
        """Most jobs that run at a time, if known."""

    @property
    def count(self) -> int | None:
        """Threads that there are now, if known. From any thread."""

    @property
    def are_all_busy(self) -> bool:
        """Whether jobs wait for a thread, as far as is known."""

    def submit(self, job: Job) -> None:
        """Run `job` soon.

        Raises:
            WorkersBusy: as many jobs wait as may.
        """

    def resume(self, job: Job) -> None:
        """Run `job`, the rest of one that was begun, soon: however many wait.

        It is cancelled if it cannot be run here.
        """

    def parked(self) -> Iterable[ParkedJob]:
        """The jobs that have begun and wait without a thread. From any thread."""

    def job_ended(self) -> None:
        """To be called once for each job that was submitted, when it has ended."""

    def expire_idle(self, now: float) -> None:
        """Let threads go that had nothing to do for long. `now`: seconds, monotonic."""

    async def stop(self) -> None:
        """Let every thread go that does not hang in a job, and wait for those."""


class WorkerThreads:
    """Daemon threads, started on demand up to a limit, that expire when idle.

    Args:
        mailbox: the way back to the loop.
        limit: most threads.
        queue_size: most jobs waiting for one.
        idle_timeout: seconds after which threads beyond the need of that time end.
        asgiref_loop: where coroutines of the jobs run; None leaves that to whoever runs them.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        *,
        limit: int,
        queue_size: int,
        idle_timeout: float,
        asgiref_loop: AsgirefLoop | None = None,
    ) -> None:
        self.limit = limit
        self._asgiref_loop = asgiref_loop
        self._mailbox = mailbox
        self._loop = asyncio.get_running_loop()
        self._batch: list[Job] = []
        self._queue_size = queue_size
        self._idle_timeout = idle_timeout
        self._is_stopping = False
        # None tells the thread that takes it to end.
        self._queue: Any = thread_queue()
        self._threads: set[threading.Thread] = set()
        """Those that take jobs, or will, or were told to end and have not heard of it."""
        self._leaving: set[threading.Thread] = set()
        """Those that have left, some of which have not ended."""
        self._ending = 0
        self._unfinished = 0
        self._peak = 0
        self._peak_since: float | None = None
        self._has_one_left = asyncio.Event()

    @property
    def count(self) -> int:
        return len(self._threads)

    @property
    def are_all_busy(self) -> bool:
        return self._unfinished > len(self._threads) - self._ending

    def submit(self, job: Job) -> None:
        unfinished = self._unfinished
        available = len(self._threads) - self._ending
        if unfinished >= available:
            if available < self.limit:
                self._start_thread(is_needed=not available)
            elif unfinished - available >= self._queue_size:
                raise WorkersBusy(
                    f"{self._queue_size} requests wait for a worker thread; "
                    "raise threads or queue_size"
                )
        self._enqueue(job)

    def resume(self, job: Job) -> None:
        if self._unfinished >= len(self._threads) - self._ending < self.limit:
            self._start_thread(is_needed=False)
        self._enqueue(job)
        if self._is_stopping:
            self._hand_over()
            self._end(1)  # a thread that was started for it has heard of no end

    def _enqueue(self, job: Job) -> None:
        self._unfinished += 1
        if self._unfinished > self._peak:
            self._peak = self._unfinished
        # All jobs of one round of the loop are handed over at its end. A job that is put into the
        # queue wakes a worker, which wants the interpreter at once; the loop loses it, and has to
        # ask for it back, for each job anew, while it still has sockets to read. With many clients
        # a round has many jobs: so they are gathered, the loop has done what it has to do, and then
        # the workers run while it waits for the next bytes. A job alone is handed over in the same
        # round and loses nothing.
        if not self._batch:
            self._loop.call_soon(self._hand_over)
        self._batch.append(job)

    def parked(self) -> Iterable[ParkedJob]:
        return ()

    def _hand_over(self) -> None:
        try:
            if self._unfinished <= FEW_JOBS:
                for job in self._batch:
                    job.few_run()
        finally:  # what one of them raises keeps no other waiting
            for job in self._batch:
                self._queue.put(job)
            self._batch.clear()

    def job_ended(self) -> None:
        self._unfinished -= 1

    def expire_idle(self, now: float) -> None:
        if self._peak_since is None:
            self._peak_since = now
        elif now - self._peak_since >= self._idle_timeout:
            self._end(len(self._threads) - self._ending - self._peak)
            self._peak = self._unfinished
            self._peak_since = now

    async def stop(self) -> None:
        self._is_stopping = True
        self._hand_over()
        self._end(len(self._threads) - self._ending)
        while len(self._threads) > self._held_count():
            self._has_one_left.clear()
            await self._has_one_left.wait()
        await self._wait_for_end()

    def _held_count(self) -> int:
        """The threads for whose end a stop does not wait."""
        return self._unfinished

    def _end(self, count: int) -> None:
        for _ in range(count):
            self._ending += 1
            self._queue.put(None)

    def _start_thread(self, *, is_needed: bool) -> None:
        """Start one more, if the system lets us; `is_needed`: there is none that could do."""
        thread = threading.Thread(
            target=self._work, name=f"asyncwsgi-worker-{next(_numbers)}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # a container's limit, or want of memory
            if is_needed:
                raise WorkersBusy(f"{error}; raise the system's limit") from error
        else:
            self._threads.add(thread)

    def _work(self) -> None:
        """All that a thread does."""
        self._run_jobs(self._queue.get)
        self._mailbox.post(self._thread_left, threading.current_thread())

    def _run_jobs(self, take: Callable[[], Job | None]) -> None:
        """Run jobs until told to end, whatever they raise.

        The loop counts on a thread that it has started: were it to die, jobs would be queued to
        nobody, and a stop would wait for ever. SystemExit, too, only ends its job; in a thread it
        has never ended the program. In a process that a view has forked it ends the child.
        """
        forks_before = forks.count
        announce = self._announcer()
        while (job := take()) is not None:
            has_begun = False
            try:
                if announce is not None:
                    announce()
                has_begun = True
                job.run()
            except BaseException as error:
                if forks.count != forks_before:
                    forks.end_child(error)
                _report("a worker thread's job failed")
                if not has_begun:
                    job.cancel()
            del job  # an idle thread keeps no request alive

    def _announcer(self) -> Callable[[], None] | None:
        if self._asgiref_loop is None:
            return None
        try:
            return self._asgiref_loop.announcer()
        except BaseException:
            _report("asgiref could not be told of the server's loop")
            return None

    def _thread_left(self, thread: threading.Thread) -> None:
        self._threads.discard(thread)
        self._leaving = {leaving for leaving in self._leaving if leaving.is_alive()}
        self._leaving.add(thread)
        self._ending -= 1
        self._has_one_left.set()

    async def _wait_for_end(self) -> None:
        """Wait until those that have left have ended.

        Nobody is told when a thread has ended, and to join it would hold the loop. Another thread
        could do that, but who waits for its end? So this looks, at the end of a server and mostly
        once. In between it holds the loop for a moment: to sleep would need a clock that moves, and
        tests stop that of their loop (freezegun).
        """
        deadline = clock.monotonic() + END_TIMEOUT
        while hanging := [thread for thread in self._leaving if thread.is_alive()]:
            if clock.monotonic() >= deadline:
                logger.warning(
                    "worker threads have not ended %g s after their last request: what they "
                    "keep in thread-locals takes long to be let go of, or hangs",
                    END_TIMEOUT,
                )
                return
            hanging[0].join(LOOK_INTERVAL)
            await asyncio.sleep(0)


class ExecutorWorkers:
    """Any `concurrent.futures.Executor` in place of the worker threads. It stays its owner's.

    Its owner may shut it down, its initializer may fail, it may lose a thread: whatever becomes of
    a job that it has taken, the job is run or cancelled, once.
    """

    def __init__(
        self, executor: Executor, *, queue_size: int, asgiref_loop: AsgirefLoop | None = None
    ) -> None:
        self.limit = None
        self.count = None
        self._asgiref_loop = asgiref_loop
        self._executor = executor
        self._queue_size = queue_size
        self._unfinished = 0

    @property
    def are_all_busy(self) -> bool:
        return True  # who knows how many it has

    def submit(self, job: Job) -> None:
        if self._unfinished >= self._queue_size:
            raise WorkersBusy(
                f"{self._queue_size} requests are with the executor; "
                "give it more threads or raise queue_size"
            )
        self._submit(job)

    def resume(self, job: Job) -> None:
        try:
            self._submit(job)
        except WorkersBusy:
            self._unfinished += 1
            job.cancel()

    def _submit(self, job: Job) -> None:
        submission = _Submission(job, self._asgiref_loop)
        try:
            future = self._executor.submit(submission.run)
        except Exception as error:
            # A ThreadPoolExecutor that cannot start a thread says so after it has queued the job,
            # and a thread that it has may take that.
            if submission.take() is not None:
                raise WorkersBusy(f"the executor takes no more requests: {error}") from error
        else:
            future.add_done_callback(submission.done)
        self._unfinished += 1

    def parked(self) -> Iterable[ParkedJob]:
        return ()

    def job_ended(self) -> None:
        self._unfinished -= 1

    def expire_idle(self, now: float) -> None:
        """The executor's own affair."""

    async def stop(self) -> None:
        """The executor's own affair."""


class _Submission:
    """A job that an executor was given: who takes it runs it, cancels it or refuses it."""

    __slots__ = ("_asgiref_loop", "_forks", "_jobs")

    def __init__(self, job: Job, asgiref_loop: AsgirefLoop | None) -> None:
        # In a list, because to take it out of that is one step, whichever threads try to.
        self._jobs = [job]
        self._asgiref_loop = asgiref_loop
        self._forks = forks.count

    def take(self) -> Job | None:
        """The job, for the first to ask."""
        try:
            return self._jobs.pop()
        except IndexError:
            return None

    def run(self) -> None:
        """What the executor runs."""
        if self._asgiref_loop is None:
            self._run()
        else:
            self._asgiref_loop.run(self._run)

    def _run(self) -> None:
        job = self.take()
        if job is None:
            return
        try:
            job.run()
        except BaseException as error:
            if forks.count != self._forks:
                forks.end_child(error)
            if not isinstance(error, Exception):
                raise  # the executor's thread may be the main one, which is to hear of Ctrl+C
            _report("a worker thread's job failed")

    def done(self, future: Future[Any]) -> None:
        """Be told that the executor is through with it. In any thread."""
        job = self.take()
        if job is None:
            return
        job.cancel()
        if not future.cancelled():
            logger.error("the executor has not run a request: %r", future.exception())


def _report(message: str) -> None:
    """Log the exception in hand. In a worker thread, which nothing may end."""
    with contextlib.suppress(BaseException):
        logger.exception(message)
