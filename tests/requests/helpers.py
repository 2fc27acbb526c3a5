"""What the tests of this room share."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar

from asyncwsgi.coroutines.asgiref_loop import AsgirefLoop
from asyncwsgi.requests.mailbox import Mailbox
from asyncwsgi.requests.worker_threads import WorkerThreads
from tests.client import TIMEOUT

T = TypeVar("T")


def in_thread(call: Callable[[], T]) -> Future[T]:
    """Run `call` in a thread of its own."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="test-reader", daemon=True).start()
    return future


@contextmanager
def broken_logging(name: str) -> Iterator[threading.Event]:
    """Have every line of the logger `name` raise, as a program's filter may; set when one has."""
    was_asked = threading.Event()

    def need_request(_: logging.LogRecord) -> bool:
        was_asked.set()
        raise RuntimeError("working outside of request context")

    logger = logging.getLogger(name)
    logger.addFilter(need_request)
    try:
        yield was_asked
    finally:
        logger.removeFilter(need_request)


def worker_threads() -> set[threading.Thread]:
    """The worker threads of this process that are alive."""
    return {
        thread for thread in threading.enumerate() if thread.name.startswith("asyncwsgi-worker-")
    }


class Pool:
    """Worker threads, and the mailbox that they cannot do without."""

    def __init__(
        self, *, limit: int = 10, queue_size: int = 100, asgiref_loop: AsgirefLoop | None = None
    ) -> None:
        self._others = worker_threads()
        self.mailbox = Mailbox(asyncio.get_running_loop())
        self.workers = WorkerThreads(
            self.mailbox,
            limit=limit,
            queue_size=queue_size,
            idle_timeout=60,
            asgiref_loop=asgiref_loop,
        )

    @property
    def threads(self) -> set[threading.Thread]:
        """Its threads that are alive."""
        return worker_threads() - self._others

    def submit(self, part: Callable[[], object] = bool) -> PoolJob:
        job = PoolJob(self, part)
        self.workers.submit(job)
        return job

    async def hold(self, count: int, until: threading.Event) -> list[PoolJob]:
        """Have `count` jobs run that do not end before `until`."""
        jobs = [self.submit(lambda: until.wait(TIMEOUT)) for _ in range(count)]
        for job in jobs:
            await job.has_started()
        return jobs


class PoolJob:
    """Runs `part`; tells the pool on the loop that it has ended, as an exchange does."""

    def __init__(self, pool: Pool, part: Callable[[], object]) -> None:
        self._pool = pool
        self._part = part
        self._started = asyncio.Event()
        self._ended = asyncio.Event()
        self.thread: threading.Thread | None = None
        self.was_cancelled = False
        self.was_one_of_few = False

    def few_run(self) -> None:
        self.was_one_of_few = True

    def run(self) -> None:
        self.thread = threading.current_thread()
        self._pool.mailbox.post(lambda _: self._started.set(), None)
        try:
            self._part()
        finally:
            self._pool.mailbox.post(self._end, None)

    def cancel(self) -> None:
        self.was_cancelled = True
        self._pool.mailbox.post(self._end, None)

    def _end(self, _: None) -> None:
        self._pool.workers.job_ended()
        self._ended.set()

    async def has_started(self) -> None:
        await asyncio.wait_for(self._started.wait(), TIMEOUT)

    async def has_ended(self) -> None:
        await asyncio.wait_for(self._ended.wait(), TIMEOUT)
