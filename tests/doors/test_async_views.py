"""`async def` in unmodified Flask applications runs on the server's loop.

Needs nothing but Flask, asgiref and pytest: `make conformance` runs it on other releases, too.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from flask import Flask, current_app, g, render_template_string, request, session
from flask.views import MethodView

import asyncwsgi
from asyncwsgi.testing import HungApplication, LiveServer
from tests.client import TIMEOUT

CONCURRENT = 200
NAME: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="unset")

Serve = Callable[..., LiveServer]


@pytest.fixture(params=["asgiref", "override"])
def app(request: pytest.FixtureRequest) -> Flask:
    """An application as it is, and one that uses Flask's documented override."""
    app = Flask(__name__)
    app.secret_key = "for tests"
    if request.param == "override":
        app.async_to_sync = asyncwsgi.async_to_sync  # type: ignore[method-assign, assignment]
    return app


@pytest.fixture(params=["threads wait", "parked"])
def serve_app(request: pytest.FixtureRequest) -> Iterator[Serve]:
    """Serves an application; requests that wait for coroutines keep their threads, or do not."""
    parks = request.param == "parked"
    if parks:
        pytest.importorskip("greenlet")

    def start(app: Flask, **options: Any) -> LiveServer:
        if parks and not options.keys() & {"executor", "async_views_on_loop"}:
            options["park_async_views"] = True
        return stack.enter_context(LiveServer(app, **{"access_log": False, **options}))

    with ExitStack() as stack:
        yield start


def get(server: LiveServer, path: str = "/") -> str:
    with urlopen(server.url + path, timeout=TIMEOUT) as reply:
        body: bytes = reply.read()
    return body.decode()


def loop_id() -> str:
    return str(id(asyncio.get_running_loop()))


def loop_of(server: LiveServer) -> str:
    return str(id(server.started.result(TIMEOUT)))


class TestTheLoop:
    def test_is_the_servers_in_every_view(self, app: Flask, serve_app: Serve) -> None:
        @app.get("/")
        async def view() -> str:
            return loop_id()

        server = serve_app(app)
        assert {get(server) for _ in range(3)} == {loop_of(server)}

    def test_is_the_same_in_all_functions_around_a_view(self, app: Flask, serve_app: Serve) -> None:
        seen: list[tuple[str, str]] = []
        over = threading.Event()

        def note(where: str) -> None:
            seen.append((where, loop_id()))

        @app.before_request
        async def before() -> None:
            note("before")

        @app.after_request
        async def after(response: Any) -> Any:
            note("after")
            return response

        @app.teardown_request
        async def teardown(_: BaseException | None) -> None:
            note("teardown")
            over.set()

        @app.context_processor
        async def context() -> dict[str, str]:
            note("context processor")
            return {"word": "template"}

        @app.errorhandler(LookupError)
        async def failed(error: LookupError) -> str:
            note("error handler")
            return f"handled {error}"

        class View(MethodView):
            async def get(self) -> str:
                note("method view")
                return "method view"

        app.add_url_rule("/method", view_func=View.as_view("method"))

        @app.get("/template")
        def template() -> str:
            return render_template_string("{{ word }}")

        @app.get("/error")
        async def error() -> str:
            raise LookupError("this")

        server = serve_app(app)
        assert get(server, "/method") == "method view"
        assert get(server, "/template") == "template"
        assert get(server, "/error") == "handled this"
        assert over.wait(TIMEOUT)
        assert {where for where, _ in seen} == {
            "before", "after", "teardown", "context processor", "error handler", "method view",
        }  # fmt: skip
        assert {loop for _, loop in seen} == {loop_of(server)}

    def test_of_several_servers_is_each_ones_own(self, app: Flask, serve_app: Serve) -> None:
        @app.get("/")
        async def view() -> str:
            return loop_id()

        # One executor: the same threads work for both.
        with ThreadPoolExecutor(1) as executor:
            servers = [serve_app(app, executor=executor) for _ in range(2)]
            for _ in range(2):
                for server in servers:
                    assert get(server) == loop_of(server)
            for server in servers:
                server.close()

    def test_keeps_loop_bound_objects_usable(self, app: Flask, serve_app: Serve) -> None:
        streams: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        answered: list[asyncio.Event] = []

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while line := await reader.readline():
                writer.write(line.upper())
            writer.close()
            await writer.wait_closed()
            answered[0].set()

        @app.get("/<word>")
        async def view(word: str) -> str:
            if not streams:
                answered.append(asyncio.Event())
                echo = await asyncio.start_server(answer, "127.0.0.1", 0)
                app.extensions["echo"] = echo
                streams.append(await asyncio.open_connection(*echo.sockets[0].getsockname()))
            reader, writer = streams[0]
            writer.write(f"{word}\n".encode())
            return (await reader.readline()).decode().strip()

        @app.get("/close")
        async def close() -> str:
            streams[0][1].close()
            await streams[0][1].wait_closed()
            await answered[0].wait()
            app.extensions["echo"].close()
            return "closed"

        server = serve_app(app)
        assert [get(server, f"/{word}") for word in ("one", "two", "three")] == [
            "ONE", "TWO", "THREE",
        ]  # fmt: skip
        assert get(server, "/close") == "closed"

    def test_runs_tasks_beyond_the_response(self, app: Flask, serve_app: Serve) -> None:
        go: list[asyncio.Event] = []
        tasks: list[asyncio.Task[None]] = []
        done = threading.Event()

        async def later() -> None:
            await go[0].wait()
            done.set()

        @app.get("/begin")
        async def begin() -> str:
            go.append(asyncio.Event())
            tasks.append(asyncio.create_task(later()))
            return "begun"

        @app.get("/go")
        async def proceed() -> str:
            go[0].set()
            return "gone"

        server = serve_app(app)
        assert get(server, "/begin") == "begun"
        assert not done.is_set()
        get(server, "/go")
        assert done.wait(TIMEOUT)

    def test_of_a_view_is_its_own_if_the_option_is_off(self, serve_app: Serve) -> None:
        app = Flask(__name__)

        @app.get("/")
        async def view() -> str:
            return threading.current_thread().name

        server = serve_app(app, async_views_on_loop=False)
        assert get(server) != "asyncwsgi-server"


class TestInside:
    def test_flasks_objects_are_those_of_the_request(self, app: Flask, serve_app: Serve) -> None:
        @app.before_request
        async def before() -> None:
            g.word = "from before"

        @app.get("/<int:number>")
        async def view(number: int) -> str:
            await asyncio.sleep(0)
            session["number"] = number
            assert current_app._get_current_object() is app  # type: ignore[attr-defined]
            return json.dumps([request.path, g.word, session["number"]])

        server = serve_app(app)
        assert json.loads(get(server, "/7")) == ["/7", "from before", 7]

    def test_variables_that_were_set_come_back(self, app: Flask, serve_app: Serve) -> None:
        seen: list[str] = []

        @app.before_request
        async def before() -> None:
            NAME.set(f"set for {request.path}")

        @app.get("/<word>")
        def view(word: str) -> str:
            return NAME.get()

        @app.teardown_request
        def teardown(_: BaseException | None) -> None:
            seen.append(NAME.get())

        server = serve_app(app, threads=1)
        assert [get(server, path) for path in ("/a", "/b")] == ["set for /a", "set for /b"]

    def test_an_exception_keeps_its_type_and_traceback(self, app: Flask, serve_app: Serve) -> None:
        import traceback

        caught: list[str] = []

        async def deep() -> None:
            raise ZeroDivisionError("from the deep")

        @app.get("/")
        async def view() -> str:
            await asyncio.sleep(0)
            await deep()
            return ""

        @app.errorhandler(ZeroDivisionError)
        def failed(error: ZeroDivisionError) -> tuple[str, int]:
            caught.extend(frame.name for frame in traceback.extract_tb(error.__traceback__))
            return str(error), 500

        with pytest.raises(HTTPError) as raised:
            get(serve_app(app))
        assert raised.value.read() == b"from the deep"
        assert caught[-2:] == ["view", "deep"]

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, StopIteration])
    def test_what_ends_loops_ends_only_the_request(
        self, app: Flask, serve_app: Serve, error: type[BaseException]
    ) -> None:
        @app.get("/fail")
        async def fail() -> str:
            raise error

        @app.get("/")
        async def view() -> str:
            return loop_id()

        server = serve_app(app)
        with pytest.raises(HTTPError) as raised:
            get(server, "/fail")
        raised.value.close()
        assert raised.value.code == 500
        assert get(server) == loop_of(server)

    def test_concurrent_requests_are_not_mixed_up(self, app: Flask, serve_app: Serve) -> None:
        gate: list[asyncio.Event] = []
        waiting: list[int] = []

        @app.get("/<int:number>")
        async def view(number: int) -> str:
            if not gate:
                gate.append(asyncio.Event())
            g.number = number
            NAME.set(str(number))
            waiting.append(number)
            if len(waiting) == CONCURRENT:
                gate[0].set()
            await gate[0].wait()
            return json.dumps([g.number, request.path, NAME.get()])

        server = serve_app(app, threads=CONCURRENT)
        with ThreadPoolExecutor(CONCURRENT) as clients:
            replies = list(clients.map(lambda n: get(server, f"/{n}"), range(CONCURRENT)))
        assert [json.loads(reply) for reply in replies] == [
            [n, f"/{n}", str(n)] for n in range(CONCURRENT)
        ]

    def test_waiting_on_the_loops_own_thread_is_an_error(
        self, app: Flask, serve_app: Serve
    ) -> None:
        @app.context_processor
        async def context() -> dict[str, str]:
            return {}

        @app.get("/")
        async def view() -> str:
            try:
                return render_template_string("never")
            except RuntimeError as error:
                return f"RuntimeError: {error}"

        reply = get(serve_app(app))
        assert reply.startswith("RuntimeError: ")
        assert "await" in reply

    def test_the_test_client_still_works(self, app: Flask) -> None:
        @app.get("/")
        async def view() -> str:
            NAME.set("in the test client")
            return loop_id()

        assert app.test_client().get("/").status_code == 200


class TestShutdown:
    def test_a_view_that_does_not_end_is_cancelled(self, app: Flask, serve_app: Serve) -> None:
        entered, cancelled = threading.Event(), threading.Event()

        @app.get("/")
        async def view() -> str:
            entered.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise
            return ""

        server = serve_app(app, graceful_timeout=0)
        with ThreadPoolExecutor(1) as clients:
            reply = clients.submit(get, server)
            assert entered.wait(TIMEOUT)
            with pytest.raises(HungApplication):
                server.close()
            assert cancelled.wait(TIMEOUT)
            with pytest.raises(OSError, match=r".*"):
                reply.result(TIMEOUT)
