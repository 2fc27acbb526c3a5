"""Coroutines that threads have the loop run: nobody is left waiting."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextvars import copy_context

import pytest

from asyncwsgi import Server, from_thread
from asyncwsgi.bridge.loop_work import LoopWork
from asyncwsgi.bridge.mailbox import Mailbox
from tests.bridge.helpers import in_thread
from tests.bridge.test_loop_watch import watchers
from tests.client import TIMEOUT, connect
from tests.doors.test_from_thread import FOREVER, Cancelled, app_of, for_ever


@pytest.fixture
async def work() -> AsyncIterator[LoopWork]:
    work = LoopWork(Mailbox(asyncio.get_running_loop()), has_async_views=False)
    yield work
    work.close()
    await work.calls.wait_until_idle()


async def failure(future: Future[None]) -> BaseException | None:
    return await asyncio.to_thread(future.exception, TIMEOUT)


async def test_one_whose_task_is_cancelled_before_its_first_step_is_told(work: LoopWork) -> None:
    future = work.calls.submit(for_ever, copy_context())
    # Behind the delivery that makes the task, before the task's first step.
    asyncio.get_running_loop().call_soon(lambda: [t.cancel() for t in work.calls._tasks])
    assert isinstance(await failure(future), asyncio.CancelledError)


async def test_one_that_has_not_begun_when_the_server_stops_is_told(work: LoopWork) -> None:
    future = work.calls.submit(for_ever, copy_context())
    work.close()
    assert "the server that ran this request has stopped" in str(await failure(future))


async def delivered(work: LoopWork) -> None:
    """What was posted to the loop has arrived, and what that has begun has had its first step."""
    arrived = asyncio.Event()
    work.calls._mailbox.post(lambda _: arrived.set(), None)
    await arrived.wait()
    await asyncio.sleep(0)


async def test_what_had_not_begun_when_the_server_stopped_never_runs(work: LoopWork) -> None:
    ran: list[str] = []

    async def note() -> None:
        ran.append("ran")

    work.calls.submit(note, copy_context())
    given_up = work.calls.submit(note, copy_context())
    assert given_up.cancel()
    work.close()
    await delivered(work)
    assert ran == []


async def test_nobody_waits_for_what_was_refused(work: LoopWork) -> None:
    work.close()
    with pytest.raises(RuntimeError, match="has stopped"):
        work.calls.submit(for_ever, copy_context())
    await asyncio.wait_for(work.calls.wait_until_idle(), TIMEOUT)


async def test_what_was_posted_is_waited_for(work: LoopWork) -> None:
    ran: list[str] = []

    async def note() -> None:
        await asyncio.sleep(0)
        ran.append("ran")

    work.calls.submit(note, copy_context())
    await work.calls.wait_until_idle()
    assert ran == ["ran"]


async def test_who_waits_for_what_never_begins_hears_of_the_end() -> None:
    loop = asyncio.get_running_loop()

    class Held(Mailbox):
        def post(self, *_: object) -> None:
            """Deliver nothing."""

    work = LoopWork(Held(loop), has_async_views=False)
    work.calls.submit(for_ever, copy_context())
    waiting = asyncio.create_task(work.calls.wait_until_idle())
    await asyncio.sleep(0)
    work.close()
    await asyncio.wait_for(waiting, TIMEOUT)


async def test_a_task_that_is_cancelled_as_it_begins_hears_of_it(work: LoopWork) -> None:
    # asgiref's callers wait for what the task does in its last moments.
    early, late = Cancelled(), Cancelled()
    work.calls.create_task(early())
    work.close()
    work.calls.create_task(late())
    await asyncio.wait_for(work.calls.wait_until_idle(), TIMEOUT)
    assert early.cancelled.is_set()
    assert late.cancelled.is_set()


async def test_who_tidies_up_is_not_cancelled_again(work: LoopWork) -> None:
    go_on, tidied = asyncio.Event(), asyncio.Event()

    async def tidy() -> None:
        try:
            await for_ever()
        finally:
            await go_on.wait()
            tidied.set()

    task = work.calls.create_task(tidy())
    work.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    work.close()
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.wait({task})
    assert tidied.is_set()


async def test_errors_leave_no_cycle(work: LoopWork) -> None:
    # What an exception's frames hold would live until the garbage collector comes.
    errors: list[weakref.ref[BaseException]] = []

    class Failure(Exception):
        pass

    async def fail() -> None:
        raise Failure

    def call() -> None:
        try:
            work.calls.run(fail)
        except Failure as error:
            errors.append(weakref.ref(error))

    gc.disable()
    try:
        await asyncio.to_thread(call)
        await work.calls.wait_until_idle()
        assert errors[0]() is None
    finally:
        gc.enable()


class TestDrain:
    @pytest.fixture
    def cut(self) -> asyncio.Event:
        return asyncio.Event()

    async def test_waits_for_the_last_task(self, work: LoopWork, cut: asyncio.Event) -> None:
        others = asyncio.all_tasks()
        go_on = asyncio.Event()
        work.background.submit(go_on.wait, copy_context())
        draining = asyncio.create_task(work.drain(FOREVER, cut, FOREVER))
        await delivered(work)
        assert not draining.done()
        go_on.set()
        await asyncio.wait_for(draining, TIMEOUT)
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == others
        with pytest.raises(RuntimeError, match="has stopped"):
            work.calls.submit(for_ever, copy_context())

    @pytest.mark.parametrize("is_cut", [False, True], ids=["timeout", "cut"])
    async def test_cancels_what_is_left_and_lets_it_tidy_up(
        self,
        work: LoopWork,
        cut: asyncio.Event,
        caplog: pytest.LogCaptureFixture,
        is_cut: bool,
    ) -> None:
        outcome: list[str] = []

        async def background() -> None:
            try:
                await for_ever()
            finally:
                for _ in range(10):
                    await asyncio.sleep(0)
                outcome.append("tidied up")

        work.background.submit(background, copy_context())
        await delivered(work)
        if is_cut:
            cut.set()
        timeout = FOREVER if is_cut else 0.0
        await asyncio.wait_for(work.drain(timeout, cut, FOREVER), TIMEOUT)
        assert outcome == ["tidied up"]
        assert [r.getMessage() for r in caplog.records if r.levelname == "ERROR"] == []


async def test_the_watch_rests_when_nothing_runs_and_ends_with_the_work(work: LoopWork) -> None:
    before = set(watchers())
    task = work.calls.create_task(asyncio.sleep(0))
    (thread,) = set(watchers()) - before
    assert work.watch._has_work.is_set()
    await task
    await work.calls.wait_until_idle()
    assert not work.watch._has_work.is_set()
    work.close()
    await asyncio.to_thread(thread.join, TIMEOUT)
    assert not thread.is_alive()


async def test_one_that_was_given_up_before_it_began_never_runs(work: LoopWork) -> None:
    calls: list[str] = []

    async def note() -> None:
        calls.append("ran")

    future = work.calls.submit(note, copy_context())
    assert future.cancel()
    await work.calls.wait_until_idle()
    assert calls == []


async def test_an_interrupted_thread_leaves_nothing_running(
    work: LoopWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    coroutine = Cancelled()

    class Interrupted(Future[None]):
        def exception(self, timeout: float | None = None) -> BaseException | None:
            assert coroutine.entered.wait(TIMEOUT)
            raise KeyboardInterrupt

    monkeypatch.setattr("asyncwsgi.bridge.loop_calls.Future", Interrupted)
    thread = in_thread(lambda: work.calls.run(coroutine))
    assert isinstance(await failure(thread), KeyboardInterrupt)
    assert await asyncio.to_thread(coroutine.cancelled.wait, TIMEOUT)


async def test_a_cancelled_call_ends_before_the_server_has_stopped() -> None:
    coroutine = Cancelled()
    ended = threading.Event()

    def view() -> None:
        try:
            from_thread.run(coroutine)
        finally:
            ended.set()

    server = Server(app_of(view), port=0, graceful_timeout=0)
    await server.start()
    with connect(server.addresses[0]) as client:
        client.request()
        assert await asyncio.to_thread(coroutine.entered.wait, TIMEOUT)
        await server.shutdown()
        assert ended.is_set()
