"""Jobs that wait for coroutines without their threads."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import logging
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from greenlet import getcurrent, greenlet

from asyncwsgi.clock import clock
from asyncwsgi.coroutines.asgiref_loop import AsgirefLoop
from asyncwsgi.coroutines.tasks import LoopTasks
from asyncwsgi.coroutines.waiting import parking_wait
from asyncwsgi.coroutines.watch import LoopWatch
from asyncwsgi.errors import WorkersBusy
from asyncwsgi.requests.parking import MOST_SPARE, ParkingThreads
from tests.client import TIMEOUT
from tests.requests.helpers import Pool, PoolJob

NAME: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="unset")


class ParkingPool(Pool):
    """Threads whose jobs are parked, and the coroutines for which these wait."""

    def __init__(self, *, limit: int = 1, queue_size: int = 100, max_parked: int = 1000) -> None:
        super().__init__()
        self.watch = LoopWatch(self.mailbox)
        self.tasks = LoopTasks(self.mailbox, self.watch)
        self.workers: ParkingThreads = ParkingThreads(
            self.mailbox,
            limit=limit,
            queue_size=queue_size,
            idle_timeout=60,
            asgiref_loop=AsgirefLoop(self.tasks),
            max_parked=max_parked,
        )

    def wait_in(self, coroutine: Callable[[], Awaitable[object]], **more: Any) -> PoolJob:
        """Have a job wait for a coroutine."""
        return self.submit(lambda: self.tasks.run(coroutine, **more))

    async def park(self, until: asyncio.Event) -> PoolJob:
        """Have a job be parked until `until` is set."""
        entered = asyncio.Event()

        async def wait() -> None:
            entered.set()
            await until.wait()

        before = len(list(self.workers.parked()))
        job = self.wait_in(wait)
        await asyncio.wait_for(entered.wait(), TIMEOUT)
        # The loop runs the coroutine, perhaps, before the thread has put the job aside.
        async with asyncio.timeout(TIMEOUT):
            while len(list(self.workers.parked())) == before:  # noqa: ASYNC110
                await asyncio.sleep(0)
        return job


@pytest.fixture
async def pool() -> AsyncIterator[ParkingPool]:
    pool = ParkingPool()
    yield pool
    await pool.workers.stop()
    pool.watch.stop()
    assert pool.threads == set()


async def test_more_jobs_wait_than_there_are_threads(pool: ParkingPool) -> None:
    gate = asyncio.Event()
    jobs = [await pool.park(gate) for _ in range(50)]
    assert len(list(pool.workers.parked())) == 50
    gate.set()
    for job in jobs:
        await job.has_ended()
    assert len({job.thread for job in jobs}) == 1
    assert list(pool.workers.parked()) == []


async def test_a_job_goes_on_in_its_own_context(pool: ParkingPool) -> None:
    gate = asyncio.Event()
    found: list[tuple[str, str]] = []

    def part(name: str) -> None:
        NAME.set(name)
        pool.tasks.run(gate.wait)
        found.append((name, NAME.get()))

    def run(name: str) -> None:
        contextvars.Context().run(part, name)

    jobs = [pool.submit(lambda n=n: run(n)) for n in "abc"]  # type: ignore[misc]
    for job in jobs:
        await job.has_started()
    gate.set()
    for job in jobs:
        await job.has_ended()
    assert sorted(found) == [("a", "a"), ("b", "b"), ("c", "c")]


async def test_one_that_can_go_on_goes_before_new_ones(pool: ParkingPool) -> None:
    order: list[str] = []
    entered, gate, release = asyncio.Event(), asyncio.Event(), threading.Event()

    async def wait() -> None:
        entered.set()
        await gate.wait()

    def parked() -> None:
        pool.tasks.run(wait)
        order.append("parked")

    jobs = [pool.submit(parked)]
    await entered.wait()
    jobs += await pool.hold(1, release)
    jobs += [pool.submit(lambda: order.append("new"))]
    gate.set()
    await pool.tasks.wait_until_idle()
    release.set()
    for job in jobs:
        await job.has_ended()
    assert order == ["parked", "new"]


async def test_what_a_coroutine_raises_reaches_its_job(pool: ParkingPool) -> None:
    raised: list[BaseException] = []

    async def fail() -> None:
        await asyncio.sleep(0)
        raise LookupError("this")

    def part() -> None:
        try:
            pool.tasks.run(fail)
        except LookupError as error:
            raised.append(error)

    await pool.submit(part).has_ended()
    assert str(raised[0]) == "this"
    raised.clear()  # its traceback knows this frame


async def test_a_timeout_ends_the_wait_of_one_and_of_no_other(pool: ParkingPool) -> None:
    gate = asyncio.Event()
    other = await pool.park(gate)
    raised: list[str] = []

    def part() -> None:
        try:
            pool.tasks.run(asyncio.Event().wait, timeout=0.01)
        except TimeoutError as error:
            raised.append(str(error))

    await pool.submit(part).has_ended()
    assert "took longer than its timeout" in raised[0]
    assert len(list(pool.workers.parked())) == 1
    gate.set()
    await other.has_ended()


async def test_timeouts_that_were_not_reached_are_forgotten(pool: ParkingPool) -> None:
    async def soon() -> None:
        await asyncio.sleep(0)

    for _ in range(3 * MOST_SPARE):
        await pool.wait_in(soon, timeout=3600.0).has_ended()
    (hub,) = pool.workers._hubs
    # Looked through when there are more than two for each that is parked, of which there was one.
    assert len(hub._deadlines) <= 2 + MOST_SPARE + 1


class TestTheLimit:
    async def test_beyond_it_one_that_waits_keeps_its_thread(self) -> None:
        pool = ParkingPool(limit=1, queue_size=1, max_parked=0)
        gate = asyncio.Event()
        waiting = await pool.park(gate)
        next_one = pool.submit()
        with pytest.raises(WorkersBusy, match="max_parked"):
            pool.submit()
        (parked,) = pool.workers.parked()
        assert parked.keeps_thread
        assert next_one.thread is None
        gate.set()
        for job in (waiting, next_one):
            await job.has_ended()
        await pool.workers.stop()
        pool.watch.stop()

    async def test_a_thread_that_is_kept_goes_on_with_what_it_has_parked(self) -> None:
        pool = ParkingPool(limit=1, max_parked=1)
        first_gate, gate = asyncio.Event(), asyncio.Event()
        first, kept = await pool.park(first_gate), await pool.park(gate)
        new = pool.submit()
        first_gate.set()
        # Its place is free now: the other is parked there, and new ones run.
        for job in (first, new):
            await job.has_ended()
        gate.set()
        await kept.has_ended()
        await pool.workers.stop()
        pool.watch.stop()


class TestTheEnd:
    async def test_a_thread_that_has_parked_goes_on_with_that_before_it_ends(self) -> None:
        pool = ParkingPool(limit=1)
        gate = asyncio.Event()
        job = await pool.park(gate)
        pool.workers._end(1)
        assert pool.threads
        gate.set()
        await job.has_ended()
        await pool.workers.stop()
        assert job.thread is not None
        assert not job.thread.is_alive()
        pool.watch.stop()

    async def test_threads_that_have_parked_do_not_expire(self, pool: ParkingPool) -> None:
        gate = asyncio.Event()
        job = await pool.park(gate)
        now = clock.monotonic()
        for later in (0, 100, 200, 300):
            pool.workers.expire_idle(now + later)
        await pool.submit().has_ended()
        gate.set()
        await job.has_ended()
        assert {job.thread} == pool.threads

    async def test_a_stop_does_not_wait_for_one_that_stays_parked(self) -> None:
        pool = ParkingPool(limit=2)
        gate, release = asyncio.Event(), threading.Event()
        parked = await pool.park(gate)
        (held,) = await pool.hold(1, release)
        release.set()
        await held.has_ended()
        await asyncio.wait_for(pool.workers.stop(), TIMEOUT)
        assert {thread for thread in pool.threads if thread.is_alive()} == {parked.thread}
        gate.set()
        await parked.has_ended()
        assert parked.thread is not None
        await asyncio.to_thread(parked.thread.join, TIMEOUT)
        pool.watch.stop()


class TestWhereNothingIsParked:
    async def test_outside_of_jobs(self) -> None:
        assert parking_wait() is None

    async def test_in_greenlets_of_the_application(self, pool: ParkingPool) -> None:
        found: list[object] = []

        def part() -> None:
            found.append(parking_wait())
            found.append(greenlet(parking_wait).switch())

        await pool.submit(part).has_ended()
        assert found[0] is not None
        assert found[1] is None

    async def test_inside_of_a_transaction(
        self, pool: ParkingPool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found: list[object] = []
        connection = SimpleNamespace(in_atomic_block=True)
        connections = SimpleNamespace(all=lambda initialized_only: [connection])
        monkeypatch.setitem(sys.modules, "django.db", SimpleNamespace(connections=connections))

        def part() -> None:
            found.append(parking_wait())
            connection.in_atomic_block = False
            found.append(parking_wait())

        await pool.submit(part).has_ended()
        assert found[0] is None
        assert found[1] is not None

    async def test_inside_of_a_loop_of_the_applications_own(self, pool: ParkingPool) -> None:
        async def inside() -> object:
            return parking_wait()

        found: list[object] = []
        await pool.submit(lambda: found.append(asyncio.run(inside()))).has_ended()
        assert found == [None]


async def test_a_job_that_does_not_wait_stays_in_the_greenlet_of_the_one_before(
    pool: ParkingPool,
) -> None:
    greenlets: list[Any] = []
    for _ in range(3):
        await pool.submit(lambda: greenlets.append(getcurrent())).has_ended()
    assert len(set(greenlets)) == 1


async def test_few_greenlets_are_kept_for_the_next(pool: ParkingPool) -> None:
    gate = asyncio.Event()
    jobs = [await pool.park(gate) for _ in range(5 * MOST_SPARE)]
    gate.set()
    for job in jobs:
        await job.has_ended()
    await pool.submit().has_ended()
    gc.collect()
    # By type(), since objects of other tests may answer isinstance() with code of theirs.
    greenlets = [o for o in gc.get_objects() if issubclass(type(o), greenlet)]
    alive = [g for g in greenlets if g.parent and not g.dead]
    assert len(alive) <= MOST_SPARE + 1


async def test_no_cycle_outlives_a_job(pool: ParkingPool) -> None:
    class Local:
        """Of the job's frame."""

    gone: list[weakref.ref[Local]] = []

    async def fail() -> None:
        await asyncio.sleep(0)
        raise LookupError

    def part() -> None:
        local = Local()
        gone.append(weakref.ref(local))
        with contextlib.suppress(LookupError):
            pool.tasks.run(fail)

    gc.disable()
    try:
        await pool.submit(part).has_ended()
        await pool.submit().has_ended()
        assert gone[0]() is None
    finally:
        gc.enable()


async def test_a_thread_that_does_not_come_back_is_named(
    pool: ParkingPool, caplog: pytest.LogCaptureFixture
) -> None:
    gate, release = asyncio.Event(), threading.Event()
    parked = await pool.park(gate)
    (held,) = await pool.hold(1, release)
    gate.set()
    await pool.tasks.wait_until_idle()
    now = clock.monotonic()
    with caplog.at_level(logging.WARNING):
        pool.workers.expire_idle(now)
        assert caplog.messages == []
        for _ in range(2):
            pool.workers.expire_idle(now + 10)
    (message,) = caplog.messages
    assert "has not come back for more than 1 s to 1 request" in message
    assert "; it stood at /" in message
    release.set()
    for job in (parked, held):
        await job.has_ended()
