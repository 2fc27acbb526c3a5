"""The threads that run the application: how many there are, and what they survive."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import cast

import pytest

from asyncwsgi.coroutines.asgiref_loop import AsgirefLoop
from asyncwsgi.errors import WorkersBusy
from asyncwsgi.requests.worker_threads import FEW_JOBS
from tests.client import TIMEOUT
from tests.requests.helpers import Pool, PoolJob, broken_logging


async def have_ended(threads: Iterable[threading.Thread]) -> bool:
    for thread in threads:
        await asyncio.to_thread(thread.join, TIMEOUT)
        assert not thread.is_alive()
    return True


class TestStart:
    async def test_there_is_no_thread_without_work(self) -> None:
        pool = Pool()
        assert pool.threads == set()
        await pool.workers.stop()

    async def test_one_thread_does_for_jobs_that_come_one_by_one(self) -> None:
        pool = Pool()
        jobs = []
        for _ in range(5):
            jobs.append(pool.submit())
            await jobs[-1].has_ended()
        assert {job.thread for job in jobs} == pool.threads
        assert len(pool.threads) == 1
        await pool.workers.stop()

    async def test_jobs_that_come_together_run_together(self) -> None:
        pool = Pool()
        together = threading.Barrier(5)
        jobs = [pool.submit(lambda: together.wait(TIMEOUT)) for _ in range(5)]
        for job in jobs:
            await job.has_ended()
        assert len({job.thread for job in jobs}) == 5
        await pool.workers.stop()

    async def test_there_are_no_more_threads_than_the_limit_and_what_waits_runs_in_order(
        self,
    ) -> None:
        pool = Pool(limit=2)
        release = threading.Event()
        held = await pool.hold(2, release)
        order: list[int] = []
        waiting = [pool.submit(lambda n=n: order.append(n)) for n in range(6)]  # type: ignore[misc]
        held += [pool.submit()]
        assert len(pool.threads) == 2
        release.set()
        for job in (*held, *waiting):
            await job.has_ended()
        assert sorted(order) == list(range(6))
        assert len({job.thread for job in (*held, *waiting)}) == 2
        await pool.workers.stop()

    async def test_one_thread_runs_what_waits_in_order(self) -> None:
        pool = Pool(limit=1)
        release = threading.Event()
        await pool.hold(1, release)
        order: list[int] = []
        jobs = [pool.submit(lambda n=n: order.append(n)) for n in range(20)]  # type: ignore[misc]
        release.set()
        await jobs[-1].has_ended()
        assert order == list(range(20))
        await pool.workers.stop()

    async def test_jobs_are_told_whether_they_are_few(self) -> None:
        pool = Pool()
        release = threading.Event()
        few = await pool.hold(FEW_JOBS, release)
        many = await pool.hold(2, release)
        release.set()
        for job in (*few, *many):
            await job.has_ended()
        again = pool.submit()
        await again.has_ended()
        assert [job.was_one_of_few for job in (*few, *many, again)] == [
            *[True] * FEW_JOBS, False, False, True,
        ]  # fmt: skip
        await pool.workers.stop()

    async def test_what_one_raises_when_it_is_told_keeps_no_job_waiting(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(_: PoolJob) -> None:
            raise LookupError("a hook of the program")

        monkeypatch.setattr(PoolJob, "few_run", fail)
        raised: list[object] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, told: raised.append(told["exception"])
        )
        pool = Pool()
        for _ in range(2):
            await pool.submit().has_ended()
        assert [type(each) for each in raised] == [LookupError] * 2
        await pool.workers.stop()

    async def test_threads_do_not_keep_the_process_alive(self) -> None:
        pool = Pool()
        await pool.submit().has_ended()
        assert [thread.daemon for thread in pool.threads] == [True]
        await pool.workers.stop()


class TestQueue:
    async def test_a_full_queue_takes_no_more(self) -> None:
        pool = Pool(limit=2, queue_size=3)
        release = threading.Event()
        jobs = await pool.hold(2, release)
        jobs += [pool.submit() for _ in range(3)]
        for _ in range(2):
            with pytest.raises(WorkersBusy, match="3 requests wait for a worker thread"):
                pool.submit()
        release.set()
        for job in jobs:
            await job.has_ended()
        await pool.submit().has_ended()
        await pool.workers.stop()


@pytest.mark.parametrize(
    "error",
    [ValueError("spam"), SystemExit(3), KeyboardInterrupt(), StopIteration(), GeneratorExit()],
    ids=lambda error: type(error).__name__,
)
async def test_a_thread_survives_what_its_job_raises(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise error

    pool = Pool(limit=1)
    jobs = [pool.submit(fail), pool.submit(), pool.submit()]
    for job in jobs:
        await job.has_ended()
    assert {job.thread for job in jobs} == pool.threads
    assert len(pool.threads) == 1
    (record,) = caplog.records
    assert (record.name, record.getMessage()) == (
        "asyncwsgi.server", "a worker thread's job failed",
    )  # fmt: skip
    assert record.exc_info is not None
    assert record.exc_info[1] is error
    await pool.workers.stop()


async def test_a_thread_survives_a_line_that_cannot_be_written() -> None:
    def fail() -> None:
        raise ValueError("spam")

    pool = Pool(limit=1)
    with broken_logging("asyncwsgi.server") as was_asked:
        job = pool.submit(fail)
        await job.has_ended()
        await pool.submit().has_ended()
    assert was_asked.is_set()
    assert {job.thread} == pool.threads
    await asyncio.wait_for(pool.workers.stop(), TIMEOUT)


class BrokenAsgirefLoop:
    """In the place of what tells asgiref of the loop: another release may know nothing of it."""

    def __init__(self, *, can_announce: bool) -> None:
        self._can_announce = can_announce

    def announcer(self) -> Callable[[], None]:
        if not self._can_announce:
            raise AttributeError("main_event_loop")
        return self.fail

    def run(self, call: Callable[[], None]) -> None:
        self.fail()

    def fail(self) -> None:
        raise AttributeError("main_event_loop")


async def test_a_job_that_its_thread_cannot_begin_is_cancelled() -> None:
    pool = Pool(asgiref_loop=cast("AsgirefLoop", BrokenAsgirefLoop(can_announce=True)))
    jobs = [pool.submit(), pool.submit()]
    for job in jobs:
        await job.has_ended()
    assert [job.was_cancelled for job in jobs] == [True, True]
    await asyncio.wait_for(pool.workers.stop(), TIMEOUT)


async def test_a_thread_that_cannot_tell_asgiref_of_the_loop_runs_jobs_all_the_same() -> None:
    pool = Pool(asgiref_loop=cast("AsgirefLoop", BrokenAsgirefLoop(can_announce=False)))
    job = pool.submit()
    await job.has_ended()
    assert job.thread in pool.threads
    await asyncio.wait_for(pool.workers.stop(), TIMEOUT)


async def test_an_idle_thread_keeps_no_job_alive() -> None:
    pool = Pool()
    job = pool.submit()
    await job.has_ended()
    gone = threading.Event()
    remains = weakref.ref(job, lambda _: gone.set())
    del job
    assert await asyncio.to_thread(gone.wait, TIMEOUT)
    assert remains() is None
    await pool.workers.stop()


class SlowToLetGo:
    """A thread-local's value that takes its time when its thread ends: a database's connection."""

    def __init__(self) -> None:
        self.is_let_go = threading.Event()
        self.may_end = threading.Event()
        self._local = threading.local()
        self._was_in_time: list[bool] = []

    def keep(self) -> None:
        """Have the thread that runs this keep it."""
        self._local.value = _Value(self)

    def let_go(self) -> None:
        self.is_let_go.set()
        self._was_in_time.append(self.may_end.wait(TIMEOUT))

    async def end(self, thread: threading.Thread | None) -> None:
        """Let it end, which has not been waited for, and `thread` with it."""
        self.may_end.set()
        assert thread is not None
        assert await have_ended([thread])
        assert self._was_in_time == [True]


class _Value:
    def __init__(self, owner: SlowToLetGo) -> None:
        self._owner = owner

    def __del__(self) -> None:
        self._owner.let_go()


class TestExpiry:
    async def test_the_loop_goes_on_while_a_thread_takes_its_time_to_end(self) -> None:
        pool, slow = Pool(), SlowToLetGo()
        job = pool.submit(slow.keep)
        await job.has_ended()
        for now in (1000.0, 1060.0, 1120.0):
            pool.workers.expire_idle(now)
        assert await asyncio.to_thread(slow.is_let_go.wait, TIMEOUT)
        following = pool.submit()
        await following.has_ended()
        assert following.thread is not job.thread
        await slow.end(job.thread)
        await pool.workers.stop()

    async def test_threads_end_after_a_period_without_need_of_them(self) -> None:
        pool = Pool()
        release = threading.Event()
        pool.workers.expire_idle(now=1000.0)
        for job in await pool.hold(3, release):
            release.set()
            await job.has_ended()
        threads = pool.threads
        pool.workers.expire_idle(now=1060.0)  # in this period all three were needed
        assert len(threads) == 3
        assert pool.threads == threads
        pool.workers.expire_idle(now=1119.9)
        assert pool.threads == threads
        pool.workers.expire_idle(now=1120.0)
        assert await have_ended(threads)
        await pool.submit().has_ended()  # and come again on demand
        assert len(pool.threads) == 1
        await pool.workers.stop()

    async def test_as_many_as_were_needed_together_stay(self) -> None:
        pool = Pool()
        pool.workers.expire_idle(now=1000.0)
        all_of_them, two_of_them = threading.Event(), threading.Event()
        held = await pool.hold(2, two_of_them)
        short = await pool.hold(3, all_of_them)
        all_of_them.set()
        for job in short:
            await job.has_ended()
        pool.workers.expire_idle(now=1060.0)
        pool.workers.expire_idle(now=1120.0)
        assert await have_ended(thread for job in short if (thread := job.thread))
        assert pool.threads == {job.thread for job in held}
        two_of_them.set()
        for job in held:
            await job.has_ended()
        await pool.submit().has_ended()
        assert len(pool.threads) == 2
        await pool.workers.stop()


class TestStop:
    async def test_no_thread_is_left(self) -> None:
        pool = Pool()
        release = threading.Event()
        jobs = await pool.hold(4, release)
        release.set()
        for job in jobs:
            await job.has_ended()
        await asyncio.wait_for(pool.workers.stop(), TIMEOUT)
        assert pool.threads == set()

    async def test_a_thread_that_takes_its_time_to_end_is_waited_for_and_holds_nobody(self) -> None:
        pool, slow = Pool(), SlowToLetGo()
        job = pool.submit(slow.keep)
        await job.has_ended()
        stopping = asyncio.create_task(pool.workers.stop())
        assert await asyncio.to_thread(slow.is_let_go.wait, TIMEOUT)
        assert not stopping.done()
        await slow.end(job.thread)
        await asyncio.wait_for(stopping, TIMEOUT)
        assert pool.threads == set()

    async def test_a_thread_that_hangs_while_it_ends_is_not_waited_for_long(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr("asyncwsgi.requests.worker_threads.END_TIMEOUT", 0.0)
        pool, slow = Pool(), SlowToLetGo()
        job = pool.submit(slow.keep)
        await job.has_ended()
        await asyncio.wait_for(pool.workers.stop(), TIMEOUT)
        (line,) = [record.getMessage() for record in caplog.records]
        assert "worker threads have not ended 0 s after their last request" in line
        await slow.end(job.thread)

    async def test_a_job_that_hangs_is_not_waited_for(self) -> None:
        pool = Pool()
        release = threading.Event()
        (hanging,) = await pool.hold(1, release)
        await pool.submit().has_ended()
        await asyncio.wait_for(pool.workers.stop(), TIMEOUT / 2)
        assert pool.threads == {hanging.thread}
        release.set()
        assert await have_ended(pool.threads)  # when it comes back, it finds that it may go

    async def test_what_was_submitted_before_is_run(self) -> None:
        pool = Pool()
        await pool.submit().has_ended()
        job = pool.submit()
        await pool.workers.stop()
        await job.has_ended()
        assert await have_ended(pool.threads)
