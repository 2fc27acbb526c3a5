"""Views that wait for coroutines without their threads: unmodified Flask, on either loop."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

import pytest
from asgiref.sync import SyncToAsync, async_to_sync, sync_to_async
from flask import Flask, copy_current_request_context, g, request, session, stream_with_context

import asyncwsgi
from asyncwsgi import ConfigError, Server, from_thread
from asyncwsgi.testing import HungApplication, LiveServer
from tests.client import TIMEOUT, connect
from tests.conftest import Serve, serve_on

MANY = 60
NAME: ContextVar[str] = ContextVar("name")


@pytest.fixture(params=["asyncio", "uvloop"])
def park(request: pytest.FixtureRequest, serve: Serve) -> Callable[..., LiveServer]:
    """Serves an application by two threads that park."""
    start = serve_on(request.param, serve)

    def serve_parked(app: Any, **options: Any) -> LiveServer:
        options = {"threads": 2, "park_async_views": True, "validate": False} | options
        return start(app, **options)

    return serve_parked


class Meeting:
    """Coroutines that go on when all are there."""

    def __init__(self, count: int) -> None:
        self._missing = count
        self._is_complete = asyncio.Event()

    async def __call__(self) -> None:
        self._missing -= 1
        if not self._missing:
            self._is_complete.set()
        await self._is_complete.wait()


class Gates:
    """Coroutines that wait until a test lets them go on."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.cancelled = threading.Event()
        self._go_on: list[Callable[[], object]] = []

    async def __call__(self) -> None:
        loop, gate = asyncio.get_running_loop(), asyncio.Event()
        self._go_on.append(lambda: loop.call_soon_threadsafe(gate.set))
        self.entered.release()
        try:
            await gate.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    def wait_until_entered(self, count: int = 1) -> None:
        for _ in range(count):
            assert self.entered.acquire(timeout=TIMEOUT), "nobody waits"

    def open(self) -> None:
        while self._go_on:
            self._go_on.pop()()


def ask_all(server: LiveServer, paths: list[str]) -> list[str]:
    """Ask for all of them at the same time."""
    clients = [connect(server.addresses[0]) for _ in paths]
    entered = [client.__enter__() for client in clients]
    try:
        for client, path in zip(entered, paths, strict=True):
            client.request(target=path)
        return [client.reply().body.decode() for client in entered]
    finally:
        for client in clients:
            client.__exit__(None, None, None)


def note() -> str:
    """Write down whose request this is, wherever a request may; its name."""
    mine = request.args["n"]
    g.owner = session["owner"] = mine
    NAME.set(mine)
    return mine


def check(mine: str) -> str:
    """The name of the request, if it finds everywhere what it has written."""
    found = {request.args["n"], g.owner, session["owner"], NAME.get()}
    return mine if found == {mine} else f"{mine} has found {found}"


def make_app(meet: Callable[[], Any]) -> Flask:
    """An application in which all requests for a path meet before any goes on."""
    app = Flask(__name__)
    app.secret_key = "for tests"
    add_views(app, meet)
    add_functions_around_views(app, meet)
    return app


def add_views(app: Flask, meet: Callable[[], Any]) -> None:
    @app.get("/async")
    async def async_view() -> str:
        mine = note()
        await meet()
        return check(mine)

    @app.get("/from_thread")
    def sync_view() -> str:
        mine, thread = note(), threading.get_ident()
        from_thread.run(meet)
        assert threading.get_ident() == thread
        return check(mine)

    @app.get("/generator")
    def generator() -> Any:
        def blocks(mine: str) -> Iterator[str]:
            yield mine[:1]
            from_thread.run(meet)
            yield check(mine)[1:]

        return stream_with_context(blocks(note()))

    @app.get("/copied")
    async def copied() -> str:
        mine = note()

        @copy_current_request_context
        def elsewhere() -> str:
            return check(mine)

        await meet()
        return await asyncio.to_thread(elsewhere)


def add_functions_around_views(app: Flask, meet: Callable[[], Any]) -> None:
    @app.get("/error")
    async def failing() -> str:
        raise LookupError(note())

    @app.errorhandler(LookupError)
    async def failed(error: LookupError) -> str:
        await meet()
        return check(str(error))

    @app.get("/before")
    @app.get("/after")
    def plain() -> str:
        return g.get("owner") or note()

    @app.before_request
    async def before() -> None:
        if request.path == "/before":
            note()
            await meet()

    @app.after_request
    async def after(response: Any) -> Any:
        if request.path == "/after":
            await meet()
        check(request.args["n"])
        return response


@pytest.mark.parametrize("is_override", [False, True], ids=["asgiref", "override"])
@pytest.mark.parametrize(
    "path", ["/async", "/from_thread", "/generator", "/copied", "/error", "/before", "/after"]
)
def test_many_wait_at_a_time_and_each_finds_its_own(
    park: Callable[..., LiveServer], path: str, is_override: bool
) -> None:
    app = make_app(Meeting(MANY))
    if is_override:
        app.async_to_sync = asyncwsgi.async_to_sync  # type: ignore[assignment, method-assign]
    names = [f"{number:03}" for number in range(MANY)]
    assert ask_all(park(app), [f"{path}?n={name}" for name in names]) == names


class TestThreadSensitiveCode:
    """What ``sync_to_async`` runs belongs into the thread of its request."""

    def test_runs_there_while_others_are_parked_there(
        self, park: Callable[..., LiveServer]
    ) -> None:
        app, meet = Flask(__name__), Meeting(MANY)

        @app.get("/")
        async def view() -> str:
            await meet()
            threads = [await sync_to_async(threading.get_ident)() for _ in range(3)]
            return f"{threads == [g.thread] * 3}"

        @app.before_request
        def before() -> None:
            g.thread = threading.get_ident()

        assert ask_all(park(app), ["/"] * MANY) == ["True"] * MANY

    def test_what_it_raises_reaches_the_coroutine(self, park: Callable[..., LiveServer]) -> None:
        app = Flask(__name__)

        def fail() -> None:
            raise LookupError("this")

        @app.get("/")
        async def view() -> str:
            try:
                await sync_to_async(fail)()
            except LookupError as error:
                return str(error)
            return "nothing"

        assert ask_all(park(app), ["/"]) == ["this"]

    def test_may_wait_for_a_coroutine_itself(self, park: Callable[..., LiveServer]) -> None:
        app = Flask(__name__)

        async def innermost() -> str:
            return f"{await sync_to_async(threading.current_thread)() is g.thread}"

        def inner() -> str:
            return async_to_sync(innermost)() + from_thread.run(asyncio.sleep, 0, "!")

        @app.get("/")
        async def view() -> str:
            return await sync_to_async(inner)()

        @app.before_request
        def before() -> None:
            g.thread = threading.current_thread()

        assert ask_all(park(app), ["/"] * 3) == ["True!"] * 3

    def test_of_a_task_that_outlives_its_call_runs_in_the_call_around_it(
        self, park: Callable[..., LiveServer]
    ) -> None:
        app, is_over = Flask(__name__), asyncio.Event()
        tasks: list[asyncio.Task[int]] = []

        @app.get("/")
        async def view() -> str:
            await sync_to_async(async_to_sync(inner))()
            is_over.set()
            return f"{await tasks.pop() == g.thread}"

        async def inner() -> None:
            tasks.append(asyncio.create_task(late()))

        async def late() -> int:
            await is_over.wait()
            return await sync_to_async(threading.get_ident)()

        @app.before_request
        def before() -> None:
            g.thread = threading.get_ident()

        assert ask_all(park(app), ["/"]) == ["True"]

    def test_what_asgiref_notes_of_it_is_not_found_by_others_of_its_thread(
        self, park: Callable[..., LiveServer]
    ) -> None:
        app, gates = Flask(__name__), Gates()
        found: list[dict[str, Any]] = []

        def inner() -> str:
            before = noted_now()
            from_thread.run(gates)
            return f"{'task_context' in before and noted_now() == before}"

        def noted_now() -> dict[str, Any]:
            return dict(SyncToAsync.threadlocal.__dict__)

        @app.get("/inside")
        async def inside() -> str:
            return await sync_to_async(inner)()

        @app.get("/other")
        def other() -> str:
            found.append(noted_now())
            return "other"

        server = park(app, threads=1)
        with connect(server.addresses[0]) as client, connect(server.addresses[0]) as another:
            client.request(target="/inside")
            gates.wait_until_entered()
            until(server.server.snapshot, lambda s: s.parked_count)
            another.request(target="/other")
            assert another.reply().body == b"other"
            gates.open()
            assert client.reply().body == b"True"
        (notes,) = found
        assert "task_context" not in notes
        assert notes["main_event_loop"] is not server.started.result()

    def test_the_next_coroutine_of_the_request_is_parked_again(
        self, park: Callable[..., LiveServer]
    ) -> None:
        app, meet = Flask(__name__), Meeting(MANY)

        @app.get("/")
        async def view() -> str:
            return await sync_to_async(str)("answer")

        @app.after_request
        async def after(response: Any) -> Any:
            await meet()
            return response

        assert ask_all(park(app), ["/"] * MANY) == ["answer"] * MANY


class TestTheEnd:
    def test_a_drain_waits_for_what_is_parked(self, park: Callable[..., LiveServer]) -> None:
        gates = Gates()
        server = park(make_app(gates))
        with connect(server.addresses[0]) as client:
            client.request(target="/async?n=a")
            gates.wait_until_entered()
            server.started.result().call_soon_threadsafe(server.server.begin_shutdown)
            gates.open()
            assert client.reply().body == b"a"

    def test_what_is_parked_is_cancelled_when_it_is_cut(
        self, park: Callable[..., LiveServer], patience: None
    ) -> None:
        gates = Gates()
        app, torn_down = make_app(gates), threading.Event()
        app.teardown_request(lambda _: torn_down.set())
        server = park(app, graceful_timeout=0.0)
        with connect(server.addresses[0]) as client:
            client.request(target="/async?n=a")
            gates.wait_until_entered()
            with pytest.raises(HungApplication, match="parked by the thread asyncwsgi-worker") as e:
                server.close()
            assert gates.cancelled.is_set()
            assert torn_down.is_set()
            assert "in __call__" in str(e.value)


def test_a_snapshot_says_where_it_is_parked(park: Callable[..., LiveServer]) -> None:
    gates = Gates()
    server = park(make_app(gates))
    with connect(server.addresses[0]) as client:
        client.request(target="/from_thread?n=a")
        gates.wait_until_entered()
        snapshot = until(lambda: server.server.snapshot(stacks=True), lambda s: s.parked_count)
        (parked,) = snapshot.requests
        assert parked.state == "parked"
        assert str(parked.thread).startswith("asyncwsgi-worker-")
        assert "in sync_view" in parked.stack
        assert "in park" not in parked.stack
        gates.open()
        assert client.reply().status == 200
    assert server.server.snapshot().parked_count == 0


def until(look: Callable[[], Any], is_so: Callable[[Any], object]) -> Any:
    """What `look` returns when it is so: a coroutine is entered before its caller has parked."""
    deadline = time.monotonic() + TIMEOUT
    while not is_so(found := look()):
        assert time.monotonic() < deadline
    return found


def test_a_client_that_leaves_cancels_its_view_where_that_was_asked_for(
    park: Callable[..., LiveServer],
) -> None:
    gates = Gates()
    server = park(make_app(gates), cancel_on_disconnect=True)
    with connect(server.addresses[0]) as client:
        client.request(target="/async?n=a")
        gates.wait_until_entered()
    assert gates.cancelled.wait(TIMEOUT)


class TestWhatItCannotGoWith:
    def test_views_on_loops_of_their_own(self) -> None:
        with pytest.raises(ConfigError, match="async_views_on_loop is off"):
            Server(Flask(__name__), park_async_views=True, async_views_on_loop=False)

    def test_an_executor(self) -> None:
        with (
            ThreadPoolExecutor(1) as executor,
            pytest.raises(ConfigError, match="executor replaces them"),
        ):
            Server(Flask(__name__), park_async_views=True, executor=executor)

    async def test_no_greenlet(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(sys.modules, "asyncwsgi.requests.parking", raising=False)
        monkeypatch.setitem(sys.modules, "greenlet", None)  # importing it raises ImportError
        server = Server(Flask(__name__), port=0, park_async_views=True)
        with pytest.raises(ConfigError, match="pip install greenlet"):
            await server.start()

    async def test_threads_that_are_greenlets(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("asyncwsgi.requests.parkable.patching_library", lambda: "gevent")
        server = Server(Flask(__name__), port=0, park_async_views=True)
        with pytest.raises(ConfigError, match="gevent has replaced"):
            await server.start()
