"""The async context manager inside which a server serves."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any

import pytest

import asyncwsgi
from asyncwsgi import LifespanError, Server, from_thread
from tests.apps import Held, hello
from tests.client import TIMEOUT
from tests.server.helpers import aget, refuses, soon

if TYPE_CHECKING:
    from wsgiref.types import StartResponse


class Recorded:
    """A lifespan that notes what happens around it."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.tasks: list[asyncio.Task[Any] | None] = []

    @contextlib.asynccontextmanager
    async def __call__(self) -> AsyncIterator[None]:
        self.events.append("entered")
        self.tasks.append(asyncio.current_task())
        yield
        self.tasks.append(asyncio.current_task())
        self.events.append("left")

    def app(self, _environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        self.events.append("request")
        from_thread.create_task(self.background())
        return hello({}, start_response)

    async def background(self) -> None:
        await asyncio.sleep(0)
        self.events.append("background task")


async def test_surrounds_requests_and_background_tasks() -> None:
    lifespan = Recorded()
    async with Server(lifespan.app, port=0, lifespan=lifespan) as server:
        assert lifespan.events == ["entered"]
        await aget(server.addresses[0])
    assert lifespan.events == ["entered", "request", "background task", "left"]


async def test_is_entered_and_left_by_one_task() -> None:
    # Task groups and cancel scopes demand it.
    lifespan = Recorded()
    async with Server(hello, port=0, lifespan=lifespan):
        pass
    first, last = lifespan.tasks
    assert first is not None
    assert first is last
    assert first.get_name() == "asyncwsgi-lifespan"


async def test_no_request_is_served_before_it_is_entered() -> None:
    may_enter, is_entering = asyncio.Event(), asyncio.Event()
    lifespan = Recorded()

    @contextlib.asynccontextmanager
    async def slow() -> AsyncIterator[None]:
        is_entering.set()
        await may_enter.wait()
        async with lifespan():
            yield

    server = Server(lifespan.app, port=0, lifespan=slow)
    starting = asyncio.create_task(server.start())
    await soon(is_entering.wait())
    asking = asyncio.create_task(aget(server.addresses[0]))  # the kernel holds the connection
    may_enter.set()
    await soon(starting)
    await soon(asking)
    await soon(server.shutdown())
    assert lifespan.events[:2] == ["entered", "request"]


async def connect_to_database() -> None:
    raise LookupError("no database")


async def test_an_error_on_entry_is_raised_and_leaves_nothing_open() -> None:
    @contextlib.asynccontextmanager
    async def failing() -> AsyncIterator[None]:
        await connect_to_database()
        yield

    server = Server(hello, port=0, lifespan=failing)
    with pytest.raises(LifespanError, match=r"failed with LookupError: no database") as caught:
        await server.start()
    assert isinstance(caught.value.__cause__, LookupError)
    assert refuses(server.addresses[0])
    await soon(server.shutdown())


async def test_what_is_no_context_manager_is_an_error_on_entry() -> None:
    factory: Any = object
    with pytest.raises(LifespanError, match="entering the lifespan failed with TypeError"):
        await Server(hello, port=0, lifespan=factory).start()


async def test_an_error_on_the_way_out_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    @contextlib.asynccontextmanager
    async def failing() -> AsyncIterator[None]:
        yield
        raise LookupError("the database left first")

    async with Server(hello, port=0, lifespan=failing):
        pass
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert record.getMessage() == "the lifespan failed on its way out"
    assert record.exc_text is not None
    assert "the database left first" in record.exc_text


async def test_one_that_fails_while_the_server_serves_stops_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fail = asyncio.Event()

    async def work() -> None:
        await fail.wait()
        raise LookupError("the feed ended")

    @contextlib.asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            group.create_task(work())
            yield

    async with Server(hello, port=0, lifespan=lifespan) as server:
        fail.set()
        await soon(server.serve_forever())
    assert "the lifespan failed, so the server stops" in caplog.text
    assert "the feed ended" in caplog.text


class EndlessEntry:
    """A lifespan that is never entered; knows when that was begun, and when it was given up."""

    def __init__(self) -> None:
        self.began, self.left = asyncio.Event(), asyncio.Event()

    @contextlib.asynccontextmanager
    async def __call__(self) -> AsyncIterator[None]:
        self.began.set()
        try:
            await asyncio.Event().wait()
            yield
        finally:
            self.left.set()


async def test_a_start_that_is_cancelled_leaves_it() -> None:
    lifespan = EndlessEntry()
    server = Server(hello, port=0, lifespan=lifespan)
    starting = asyncio.create_task(server.start())
    await soon(lifespan.began.wait())
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert lifespan.left.is_set()
    assert refuses(server.addresses[0])


async def test_a_start_that_is_cancelled_again_does_not_wait_for_its_tidying_up() -> None:
    began, is_tidying, left = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @contextlib.asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        try:
            began.set()
            await asyncio.Event().wait()
            yield
        finally:
            is_tidying.set()
            try:
                await asyncio.Event().wait()
            finally:
                left.set()

    starting = asyncio.create_task(Server(hello, port=0, lifespan=lifespan).start())
    await soon(began.wait())
    starting.cancel()
    await soon(is_tidying.wait())
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(starting)
    await soon(left.wait())


async def test_is_not_entered_if_the_server_was_shut_down_before() -> None:
    lifespan = Recorded()
    server = Server(hello, port=0, lifespan=lifespan)
    await server.shutdown()
    async with server:
        await soon(server.serve_forever())
    assert lifespan.events == []


async def test_one_that_is_cancelled_stops_the_server(caplog: pytest.LogCaptureFixture) -> None:
    lifespan = Recorded()
    async with Server(hello, port=0, lifespan=lifespan) as server:
        (task,) = lifespan.tasks
        assert task is not None
        task.cancel()
        await soon(server.serve_forever())
    assert "the lifespan was cancelled, so the server stops" in caplog.text
    assert "Traceback" not in caplog.text


async def test_a_shutdown_does_not_wait_until_it_is_entered() -> None:
    lifespan = EndlessEntry()
    server = Server(hello, port=0, lifespan=lifespan)
    starting = asyncio.create_task(server.start())
    await soon(lifespan.began.wait())
    await soon(server.shutdown())
    await soon(starting)
    assert lifespan.left.is_set()
    assert refuses(server.addresses[0])


@pytest.mark.parametrize("is_cut", [False, True], ids=["left alone", "cut"])
async def test_its_way_out_may_take_its_time(monkeypatch: pytest.MonkeyPatch, is_cut: bool) -> None:
    monkeypatch.setattr("asyncwsgi.server.server.CUT_TIMEOUT", TIMEOUT if is_cut else 0)
    leaving, may_leave = asyncio.Event(), asyncio.Event()
    left: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        yield
        leaving.set()
        await may_leave.wait()
        left.append("in peace")

    others = asyncio.all_tasks()
    server = Server(hello, port=0, lifespan=lifespan)
    await server.start()
    stopping = asyncio.create_task(server.shutdown())
    await soon(leaving.wait())
    if is_cut:
        server.abort()
    await asyncio.to_thread(bool)  # the loop has come round
    assert not stopping.done()
    may_leave.set()
    await soon(stopping)
    await asyncio.sleep(0)
    assert left == ["in peace"]
    assert asyncio.all_tasks() == others


async def test_an_abort_that_cuts_requests_lets_it_leave() -> None:
    lifespan = Recorded()
    held = Held()
    server = Server(held, port=0, lifespan=lifespan, graceful_timeout=TIMEOUT)
    await server.start()
    asking = asyncio.create_task(aget(server.addresses[0]))
    await asyncio.to_thread(held.wait_until_entered)
    stopping = asyncio.create_task(server.shutdown())
    await asyncio.sleep(0)
    server.abort()
    await asyncio.wait({asking}, timeout=TIMEOUT)
    held.release()
    await soon(stopping)
    assert lifespan.events == ["entered", "left"]


async def test_one_that_hangs_on_its_way_out_is_cut_by_abort(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("asyncwsgi.server.server.CUT_TIMEOUT", 0)
    leaving = asyncio.Event()

    @contextlib.asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        yield
        leaving.set()
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(10):
                await asyncio.sleep(0)
            tidied.append("up")

    tidied: list[str] = []
    server = Server(hello, port=0, lifespan=lifespan)
    await server.start()
    stopping = asyncio.create_task(server.shutdown())
    await soon(leaving.wait())
    server.abort()
    await asyncio.wait_for(stopping, TIMEOUT)
    assert tidied == ["up"]


def test_every_door_has_it() -> None:
    lifespan = Recorded()
    with asyncwsgi.serve_in_thread(hello, port=0, lifespan=lifespan):
        assert lifespan.events == ["entered"]
    assert lifespan.events == ["entered", "left"]
