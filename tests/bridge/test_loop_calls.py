"""Coroutines that threads have the loop run: nobody is left waiting."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextvars import copy_context

import pytest

from asyncwsgi import Server, from_thread
from asyncwsgi.bridge.loop_work import LoopWork
from asyncwsgi.bridge.mailbox import Mailbox
from tests.bridge.helpers import in_thread
from tests.client import TIMEOUT, connect
from tests.doors.test_from_thread import Cancelled, app_of, for_ever


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
