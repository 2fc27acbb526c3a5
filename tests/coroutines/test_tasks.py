"""Coroutines that threads have the loop run: nobody is left waiting."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextvars import copy_context
from types import SimpleNamespace
from typing import Any

import pytest

from asyncwsgi import Server, from_thread
from asyncwsgi.coroutines.tasks import AwaitedCall, LoopTasks
from asyncwsgi.coroutines.watch import LoopWatch
from asyncwsgi.requests.mailbox import Mailbox
from tests.client import TIMEOUT, connect
from tests.coroutines.test_watch import watchers
from tests.doors.test_from_thread import FOREVER, Cancelled, app_of, for_ever
from tests.requests.helpers import in_thread


def tasks_of(mailbox: Mailbox) -> LoopTasks:
    return LoopTasks(mailbox, LoopWatch(mailbox))


@pytest.fixture
async def tasks() -> AsyncIterator[LoopTasks]:
    loop = asyncio.get_running_loop()
    told: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: told.append(context))
    tasks = tasks_of(Mailbox(loop))
    yield tasks
    tasks.close()
    await tasks.wait_until_idle()
    assert told == []


Make = Callable[[], Coroutine[Any, Any, Any]]
Submit = Callable[[LoopTasks, Make], Future[Any]]
Errors = list[weakref.ref[BaseException]]


def call(tasks: LoopTasks, make: Make) -> Future[Any]:
    """As the thread of a view does; but it is posted when this returns."""
    posted = AwaitedCall(make)
    tasks.post(posted)

    def outcome() -> Any:
        posted.wait()
        return posted.outcome()

    return in_thread(outcome)


def in_background(tasks: LoopTasks, make: Make) -> Future[Any]:
    return tasks.submit(make(), copy_context(), "a test's", on_failed=lambda _: None)


both = pytest.mark.parametrize("submit", [call, in_background])


async def failure(future: Future[None]) -> BaseException | None:
    return await asyncio.to_thread(future.exception, TIMEOUT)


@both
async def test_one_whose_task_is_cancelled_before_its_first_step_is_told(
    tasks: LoopTasks, submit: Submit
) -> None:
    future = submit(tasks, for_ever)
    running = tasks._tasks
    # Behind the delivery that makes the task, before the task's first step.
    asyncio.get_running_loop().call_soon(lambda: [task.cancel() for task in running])
    assert isinstance(await failure(future), asyncio.CancelledError)


@both
async def test_one_that_has_not_begun_when_the_server_stops_is_told(
    tasks: LoopTasks, submit: Submit
) -> None:
    future = submit(tasks, for_ever)
    tasks.close()
    assert "the server that ran this request has stopped" in str(await failure(future))


async def delivered(tasks: LoopTasks) -> None:
    """What was posted to the loop has arrived, and what that has begun has had its first step."""
    arrived = asyncio.Event()
    tasks._mailbox.post(lambda _: arrived.set(), None)
    await arrived.wait()
    await asyncio.sleep(0)


@both
async def test_what_had_not_begun_when_the_server_stopped_never_runs(
    tasks: LoopTasks, submit: Submit
) -> None:
    ran: list[str] = []

    async def note() -> None:
        ran.append("ran")

    submit(tasks, note)
    tasks.close()
    await delivered(tasks)
    assert ran == []


async def test_what_was_given_up_when_the_server_stopped_never_runs(tasks: LoopTasks) -> None:
    ran: list[str] = []

    async def note() -> None:
        ran.append("ran")

    assert in_background(tasks, note).cancel()
    tasks.close()
    await delivered(tasks)
    assert ran == []


@both
async def test_nobody_waits_for_what_was_refused(tasks: LoopTasks, submit: Submit) -> None:
    tasks.close()
    with pytest.raises(RuntimeError, match="has stopped"):
        submit(tasks, for_ever)
    await asyncio.wait_for(tasks.wait_until_idle(), TIMEOUT)


@both
async def test_what_was_posted_is_waited_for(tasks: LoopTasks, submit: Submit) -> None:
    ran: list[str] = []

    async def note() -> None:
        await asyncio.sleep(0)
        ran.append("ran")

    submit(tasks, note)
    await tasks.wait_until_idle()
    assert ran == ["ran"]


async def test_who_waits_for_what_never_begins_hears_of_the_end() -> None:
    loop = asyncio.get_running_loop()

    class Held(Mailbox):
        def post(self, *_: object) -> None:
            """Deliver nothing."""

    tasks = tasks_of(Held(loop))
    in_background(tasks, for_ever)
    waiting = asyncio.create_task(tasks.wait_until_idle())
    await asyncio.sleep(0)
    tasks.close()
    await asyncio.wait_for(waiting, TIMEOUT)


async def test_a_task_that_is_cancelled_as_it_begins_hears_of_it(tasks: LoopTasks) -> None:
    # asgiref's callers wait for what the task does in its last moments.
    early, late = Cancelled(), Cancelled()
    tasks.create_task(early())
    tasks.close()
    tasks.create_task(late())
    await asyncio.wait_for(tasks.wait_until_idle(), TIMEOUT)
    assert early.cancelled.is_set()
    assert late.cancelled.is_set()


async def test_who_tidies_up_is_not_cancelled_again(tasks: LoopTasks) -> None:
    go_on, tidied = asyncio.Event(), asyncio.Event()

    async def tidy() -> None:
        try:
            await for_ever()
        finally:
            await go_on.wait()
            tidied.set()

    task = tasks.create_task(tidy())
    tasks.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    tasks.close()
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.wait({task})
    assert tidied.is_set()


class Failure(Exception):
    pass


class TestErrorsLeaveNoCycle:
    """What an exception's frames hold would live until the garbage collector comes."""

    @pytest.fixture(autouse=True)
    def no_collector(self) -> Iterator[None]:
        gc.disable()
        yield
        gc.enable()

    @pytest.fixture
    def errors(self) -> Errors:
        return []

    @pytest.fixture
    def fail(self, errors: Errors) -> Make:
        async def fail() -> None:
            error = Failure()
            errors.append(weakref.ref(error))
            try:
                raise error
            finally:
                del error

        return fail

    async def test_of_calls(self, tasks: LoopTasks, errors: Errors, fail: Make) -> None:
        def call() -> None:
            with contextlib.suppress(Failure):
                tasks.run(fail)

        await asyncio.to_thread(call)
        await tasks.wait_until_idle()
        assert errors[0]() is None

    async def test_of_calls_whose_thread_has_left(
        self, tasks: LoopTasks, errors: Errors, fail: Make
    ) -> None:
        tasks.post(AwaitedCall(fail))
        await tasks.wait_until_idle()
        assert errors[0]() is None

    async def test_in_the_background(
        self, tasks: LoopTasks, errors: Errors, fail: Make, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.CRITICAL)  # what is logged is held
        in_background(tasks, fail)
        await tasks.wait_until_idle()
        assert errors[0]() is None


class TestDrain:
    @pytest.fixture
    def cut(self) -> asyncio.Event:
        return asyncio.Event()

    async def test_waits_for_the_last_task(self, tasks: LoopTasks, cut: asyncio.Event) -> None:
        others = asyncio.all_tasks()
        go_on = asyncio.Event()
        in_background(tasks, go_on.wait)
        draining = asyncio.create_task(tasks.drain(FOREVER, cut, FOREVER))
        await delivered(tasks)
        assert not draining.done()
        go_on.set()
        await asyncio.wait_for(draining, TIMEOUT)
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == others
        with pytest.raises(RuntimeError, match="has stopped"):
            in_background(tasks, for_ever)

    @pytest.mark.parametrize("is_cut", [False, True], ids=["timeout", "cut"])
    async def test_cancels_what_is_left_and_lets_it_tidy_up(
        self,
        tasks: LoopTasks,
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

        in_background(tasks, background)
        await delivered(tasks)
        if is_cut:
            cut.set()
        timeout = FOREVER if is_cut else 0.0
        await asyncio.wait_for(tasks.drain(timeout, cut, FOREVER), TIMEOUT)
        assert outcome == ["tidied up"]
        assert [r.getMessage() for r in caplog.records if r.levelname == "ERROR"] == []


async def test_the_watch_rests_when_nothing_runs(tasks: LoopTasks) -> None:
    before = set(watchers())
    task = tasks.create_task(asyncio.sleep(0))
    (thread,) = set(watchers()) - before
    assert tasks._watch._has_work.is_set()
    await task
    await tasks.wait_until_idle()
    assert not tasks._watch._has_work.is_set()
    tasks._watch.stop()
    await asyncio.to_thread(thread.join, TIMEOUT)
    assert not thread.is_alive()


async def test_one_that_was_given_up_before_it_began_never_runs(tasks: LoopTasks) -> None:
    ran: list[str] = []

    async def note() -> None:
        ran.append("ran")

    assert in_background(tasks, note).cancel()
    given_up = AwaitedCall(note)
    tasks.post(given_up)
    tasks.cancel(given_up)
    await tasks.wait_until_idle()
    assert ran == []


async def test_who_does_not_heed_its_cancellation_changes_nothing(tasks: LoopTasks) -> None:
    begun = asyncio.Event()

    async def heedless() -> str:
        begun.set()
        with contextlib.suppress(asyncio.CancelledError):
            await for_ever()
        return "a result that nobody wants"

    future = in_background(tasks, heedless)
    await begun.wait()
    assert future.cancel()
    await tasks.wait_until_idle()
    assert future.cancelled()


def with_locks_of(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have threads wait for tasks at locks of another kind, and nothing else in this process."""
    names = {**vars(threading), "Lock": kind}
    monkeypatch.setattr("asyncwsgi.coroutines.tasks.threading", SimpleNamespace(**names))


async def test_an_interrupted_thread_leaves_nothing_running(
    tasks: LoopTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    coroutine = Cancelled()

    class Interrupted:
        """A lock: the first to acquire it gets it."""

        def acquire(self, *, timeout: float | None = None) -> bool:
            if timeout is not None:
                assert coroutine.entered.wait(TIMEOUT)
                raise KeyboardInterrupt
            return True

        def release(self) -> None:
            """Nobody waits."""

    with_locks_of(Interrupted, monkeypatch)
    thread = in_thread(lambda: tasks.run(coroutine))
    assert isinstance(await failure(thread), KeyboardInterrupt)
    assert await asyncio.to_thread(coroutine.cancelled.wait, TIMEOUT)


async def test_one_that_ends_at_the_last_moment_has_not_taken_too_long(
    tasks: LoopTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = threading.Event()

    class Late:
        """A lock that is asked in time, and says too late that it was not had in time."""

        def acquire(self, *, timeout: float | None = None) -> bool:
            return timeout is None or not ended.wait(TIMEOUT)

        def release(self) -> None:
            ended.set()

    async def result() -> str:
        return "in time"

    with_locks_of(Late, monkeypatch)
    assert await asyncio.to_thread(tasks.run, result, timeout=0.0) == "in time"


@pytest.mark.usefixtures("patience")
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
