"""The threads that run the application.

Why not a `ThreadPoolExecutor`: its exit hook joins workers that hang, it cannot be drained with a
deadline, and its futures cost a quarter of the throughput of small requests.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from concurrent.futures import Executor
from queue import SimpleQueue
from typing import Protocol

from asyncwsgi.coroutines.asgiref_loop import AsgirefLoop
from asyncwsgi.errors import WorkersBusy
from asyncwsgi.requests.mailbox import Mailbox

logger = logging.getLogger("asyncwsgi.server")

_numbers = itertools.count(1)


class Job(Protocol):
    """Something to run in a worker thread. It keeps its exceptions to itself."""

    def run(self) -> None: ...

    def cancel(self) -> None:
        """Be told that `run` will never be called. From any thread."""


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
        home: where coroutines of the jobs run; None leaves that to whoever runs them.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        *,
        limit: int,
        queue_size: int,
        idle_timeout: float,
        home: AsgirefLoop | None = None,
    ) -> None:
        self.limit = limit
        self._home = home
        self._mailbox = mailbox
        self._loop = asyncio.get_running_loop()
        self._batch: list[Job] = []
        self._queue_size = queue_size
        self._idle_timeout = idle_timeout
        self._is_stopping = False
        # None tells the thread that takes it to end.
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._threads: set[threading.Thread] = set()
        self._ending = 0
        self._unfinished = 0
        self._peak = 0
        self._peak_since: float | None = None
        self._ended = asyncio.Event()

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
        # All jobs of one round of the loop are handed over at once: a worker that is woken by the
        # first takes the interpreter from the loop, and each further one costs two switches.
        if not self._batch:
            self._loop.call_soon(self._hand_over)
        self._batch.append(job)

    def _hand_over(self) -> None:
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
        while len(self._threads) > self._unfinished:
            self._ended.clear()
            await self._ended.wait()

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
        take = self._queue.get
        enter = None if self._home is None else self._home.entrance()
        while (job := take()) is not None:
            try:
                if enter is not None:
                    enter()
                job.run()
            except BaseException:
                logger.exception("a worker thread's job failed")
            del job  # an idle thread keeps no request alive
        self._mailbox.post(self._thread_ended, threading.current_thread())

    def _thread_ended(self, thread: threading.Thread) -> None:
        thread.join()
        self._threads.discard(thread)
        self._ending -= 1
        self._ended.set()


class ExecutorWorkers:
    """Any `concurrent.futures.Executor` in place of the worker threads. It stays its owner's."""

    def __init__(
        self, executor: Executor, *, queue_size: int, home: AsgirefLoop | None = None
    ) -> None:
        self.limit = None
        self.count = None
        self._home = home
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
        try:
            future = self._executor.submit(self._run, job)
        except RuntimeError as error:
            raise WorkersBusy(f"the executor takes no more requests: {error}") from error
        self._unfinished += 1
        future.add_done_callback(lambda done: job.cancel() if done.cancelled() else None)

    def _run(self, job: Job) -> None:
        if self._home is None:
            job.run()
        else:
            self._home.run(job.run)

    def job_ended(self) -> None:
        self._unfinished -= 1

    def expire_idle(self, now: float) -> None:
        """The executor's own affair."""

    async def stop(self) -> None:
        """The executor's own affair."""
