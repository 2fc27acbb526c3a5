"""What asgiref is told in worker threads: enough for its coroutines, and nothing that stays."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from asgiref.sync import SyncToAsync, async_to_sync, sync_to_async

from asyncwsgi import Server
from asyncwsgi.bridge import asgiref_home
from asyncwsgi.testing import LiveServer
from tests.bridge.test_loop_watch import Warned
from tests.bridge.test_loop_watch import warned as warned
from tests.client import TIMEOUT, connect
from tests.conftest import Serve
from tests.doors.test_from_thread import answer, app_of, get


async def thread_name() -> str:
    return threading.current_thread().name


def test_sync_to_async_runs_in_the_thread_of_the_request(serve: Serve) -> None:
    def view() -> bool:
        inside = async_to_sync(sync_to_async(threading.get_ident))()
        return inside == threading.get_ident()

    assert answer(serve, view) == "True"


def test_a_loop_that_other_code_left_in_the_thread_is_replaced(serve: Serve) -> None:
    def leave_a_loop() -> str:
        # As asgiref does for synchronous code that it runs in this thread.
        loop = asyncio.new_event_loop()
        loop.close()
        SyncToAsync.threadlocal.main_event_loop = loop
        return "left"

    views: list[Callable[[], str]] = [async_to_sync(thread_name), leave_a_loop]
    server = serve(app_of(lambda: views.pop()()), validate=False, threads=1)
    assert [get(server), get(server)] == ["left", "asyncwsgi-server"]


def test_a_thread_of_an_executor_is_left_as_it_was(serve: Serve) -> None:
    def names() -> set[str]:
        return set(SyncToAsync.threadlocal.__dict__)

    with ThreadPoolExecutor(1) as executor:
        server = serve(app_of(async_to_sync(thread_name)), validate=False, executor=executor)
        assert get(server) == "asyncwsgi-server"
        server.close()  # the job has left the thread
        assert executor.submit(names).result(TIMEOUT) == set()


async def test_what_outlives_the_server_has_a_loop_of_its_own() -> None:
    entered, go = threading.Event(), threading.Event()
    outcome: Future[str] = Future()

    def view() -> None:
        entered.set()
        assert go.wait(TIMEOUT)
        outcome.set_result(async_to_sync(thread_name)())

    server = Server(app_of(view), port=0, graceful_timeout=0)
    await server.start()
    with connect(server.addresses[0]) as client:
        client.request()
        assert await asyncio.to_thread(entered.wait, TIMEOUT)
        await server.shutdown()
        go.set()
        name = await asyncio.to_thread(outcome.result, TIMEOUT)
    assert name != threading.current_thread().name


@pytest.mark.parametrize("version", ["3.2.10", "3.3.1"])
def test_releases_that_hang_are_left_alone(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr("asgiref.__version__", version)
    asgiref_home._thread_local.cache_clear()
    try:
        assert answer(serve, async_to_sync(thread_name)) != "asyncwsgi-server"
    finally:
        asgiref_home._thread_local.cache_clear()


def test_a_coroutine_that_blocks_is_named(serve: Serve, warned: Warned) -> None:
    async def report() -> str:
        assert warned.event.wait(TIMEOUT), "nobody was warned"
        return "blocked"

    server: LiveServer = serve(app_of(async_to_sync(report)), validate=False)
    assert get(server) == "blocked"
    assert "report has held the server's loop" in warned.lines[0]
    assert f"{__file__}:{report.__code__.co_firstlineno + 1}" in warned.lines[0]
