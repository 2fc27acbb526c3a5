"""What asgiref is told in worker threads: enough for its coroutines, and nothing that stays."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import SyncToAsync, async_to_sync, sync_to_async

from asyncwsgi import Server, from_thread
from asyncwsgi.coroutines import asgiref_loop
from asyncwsgi.coroutines.asgiref_loop import AsgirefLoop
from asyncwsgi.coroutines.tasks import LoopTasks
from asyncwsgi.coroutines.watch import LoopWatch
from asyncwsgi.requests.mailbox import Mailbox
from asyncwsgi.testing import LiveServer
from tests.client import TIMEOUT, connect
from tests.conftest import Serve
from tests.coroutines.test_watch import Warned
from tests.coroutines.test_watch import warned as warned
from tests.doors.conftest import Start
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
    def told() -> dict[str, object]:
        return dict(SyncToAsync.threadlocal.__dict__)

    with ThreadPoolExecutor(1) as executor:
        server = serve(app_of(async_to_sync(thread_name)), validate=False, executor=executor)
        assert get(server) == "asyncwsgi-server"
        executor.submit(lambda: None).result(TIMEOUT)  # the job has left the thread
        assert executor.submit(told).result(TIMEOUT) == {}
        theirs = {"main_event_loop": None, "main_event_loop_pid": 0}
        executor.submit(lambda: SyncToAsync.threadlocal.__dict__.update(theirs)).result(TIMEOUT)
        assert get(server) == "asyncwsgi-server"
        server.close()
        assert executor.submit(told).result(TIMEOUT) == theirs


def test_code_in_a_context_of_its_own_has_the_servers_loop_too(serve: Serve) -> None:
    # Whose request it belongs to is not known there, but the thread's loop is.
    def view() -> str:
        return contextvars.Context().run(async_to_sync(thread_name))

    assert answer(serve, view) == "asyncwsgi-server"


@pytest.mark.parametrize("is_own_executor", [False, True], ids=["threads", "executor"])
@pytest.mark.parametrize("what", ["no asgiref", "no thread-local"])
def test_without_what_it_tells_applications_are_served(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, what: str, is_own_executor: bool
) -> None:
    if what == "no asgiref":
        monkeypatch.setitem(sys.modules, "asgiref.sync", None)  # importing it raises ImportError
    else:
        monkeypatch.delattr(SyncToAsync, "threadlocal")
    asgiref_loop._thread_local.cache_clear()
    try:
        with ThreadPoolExecutor(1) as executor:
            options: dict[str, Any] = {"executor": executor} if is_own_executor else {}
            server = serve(app_of(lambda: from_thread.run(thread_name)), validate=False, **options)
            assert get(server) == "asyncwsgi-server"
            server.close()
    finally:
        asgiref_loop._thread_local.cache_clear()


def test_an_asgiref_that_cannot_be_imported_keeps_nobody_from_serving(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> Any:
        raise SyntaxError("asgiref is for another Python")

    monkeypatch.setattr(asgiref_loop, "_thread_local", fail)
    assert answer(serve, lambda: from_thread.run(thread_name)) == "asyncwsgi-server"
    assert "asgiref could not be told of the server's loop" in caplog.text


OUT_OF_DESCRIPTORS = """
import asyncio, resource, sys
from concurrent.futures import ThreadPoolExecutor
from asyncwsgi import Server
from asyncwsgi.frontends.http import HttpConnection

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str("asgiref.sync" in sys.modules).encode()]

class Last(HttpConnection):
    def connection_made(self, transport):
        super().connection_made(transport)
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, most))

async def main():
    executor = ThreadPoolExecutor() if sys.argv[1] == "executor" else None
    server = Server(application, port=0, executor=executor)
    server.connection_class = Last
    async with server:
        sys.stderr.write(f"listening on {server.url}\\n")
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("threads", ["threads", "executor"])
def test_a_first_request_without_descriptors_finds_it_imported(start: Start, threads: str) -> None:
    with start("-c", OUT_OF_DESCRIPTORS, threads).connect() as client:
        assert client.get().body == b"True"


def test_older_releases_are_told_whether_the_loop_runs() -> None:
    # They ask before they use it, and make one of their own if not.
    loops: list[Any] = []

    async def main() -> None:
        for _ in range(2):
            mailbox = Mailbox(asyncio.get_running_loop())
            tasks = LoopTasks(mailbox, LoopWatch(mailbox))
            loops.append(AsgirefLoop(tasks)._loop_of_program)
            assert loops[-1].is_running()
        tasks.close()
        assert [loop.is_running() for loop in loops] == [True, False]

    asyncio.run(main())
    assert not loops[0].is_running()


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
    asgiref_loop._thread_local.cache_clear()
    try:
        assert answer(serve, async_to_sync(thread_name)) != "asyncwsgi-server"
    finally:
        asgiref_loop._thread_local.cache_clear()


def test_a_coroutine_that_blocks_is_named(serve: Serve, warned: Warned) -> None:
    async def report() -> str:
        assert warned.event.wait(TIMEOUT), "nobody was warned"
        return "blocked"

    warned.awaited = "report"
    server: LiveServer = serve(app_of(async_to_sync(report)), validate=False)
    assert get(server) == "blocked"
    assert "report has held the server's loop" in warned.lines[-1]
    assert f"{__file__}:{report.__code__.co_firstlineno + 1}" in warned.lines[-1]
