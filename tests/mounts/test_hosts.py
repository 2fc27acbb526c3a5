"""What a client sees of a WSGI application inside real servers, over sockets."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from functools import partial
from http.client import IncompleteRead
from typing import Any

import flask
import pytest

from asyncwsgi import EventStream, from_thread
from asyncwsgi.asgi import WSGIApp
from tests.apps import Endless, echo
from tests.client import TIMEOUT
from tests.loops import LOOPS
from tests.mounts.hosts import HOSTS, Hosted, by_uvicorn, hosted

Host = Callable[..., Hosted]
UVLOOP = ("uvicorn", "aiohttp") if "uvloop" in LOOPS else ()
"""Hosts that are tested on that loop, too."""


PARAMETERS = [
    *(pytest.param((name, "asyncio"), id=name) for name in HOSTS),
    *(pytest.param((name, "uvloop"), id=f"{name} on uvloop") for name in UVLOOP),
]


@pytest.fixture(params=PARAMETERS)
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    """Mounts applications in hosts of one kind."""
    name, loop = request.param
    mounted, serving = HOSTS[name]
    with ExitStack() as stack:

        def begin(application: Any, **options: Any) -> Hosted:
            options.setdefault("graceful_timeout", TIMEOUT)
            return stack.enter_context(hosted(mounted(application, **options), serving, loop))

        yield begin


class Program:
    """A Flask application, and what it has noticed."""

    def __init__(self) -> None:
        self.app = app = flask.Flask("mounted")
        self.loops: list[asyncio.AbstractEventLoop] = []
        self.has_left = threading.Event()
        self.was_cancelled = threading.Event()
        self.entered = threading.Event()
        self.go_on = threading.Event()
        for rule in ("breaks", "fails", "asynchronous", "calls_loop", "waits", "events", "held"):
            app.add_url_rule(f"/{rule}", view_func=getattr(self, rule))
        app.add_url_rule("/form", view_func=self.form, methods=["POST"])

    def form(self) -> str:
        return flask.request.form["name"]

    def fails(self) -> str:
        raise RuntimeError("a view has failed")

    def breaks(self) -> flask.Response:
        def blocks() -> Iterator[bytes]:
            yield b"first"
            raise RuntimeError("a body has failed")

        return flask.Response(blocks())

    async def asynchronous(self) -> str:
        self.loops.append(asyncio.get_running_loop())
        await asyncio.sleep(0)
        return flask.request.path

    def calls_loop(self) -> str:
        async def on_loop() -> str:
            self.loops.append(asyncio.get_running_loop())
            return flask.request.path

        return from_thread.run(on_loop)

    def waits(self) -> str:
        self.entered.set()
        if flask.request.environ["asyncwsgi.disconnected"].wait(TIMEOUT):
            self.has_left.set()
        return ""

    def held(self) -> str:
        self.entered.set()
        assert self.go_on.wait(TIMEOUT)
        return "held"

    def events(self) -> EventStream:
        async def events() -> AsyncIterator[str]:
            self.loops.append(asyncio.get_running_loop())
            try:
                yield flask.request.path
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.was_cancelled.set()
                raise

        return EventStream(events())


@pytest.fixture
def program() -> Program:
    return Program()


def test_requests_of_flask_on_one_connection(host: Host, program: Program) -> None:
    with host(program.app).connect() as client:
        form = {"Content_Type": "application/x-www-form-urlencoded"}
        assert client.post("/form", b"name=spam", **form).body == b"spam"
        client.request("HEAD", "/calls_loop")
        reply = client.reply("HEAD")
        assert (reply.status, reply.header("Content-Length"), reply.body) == (200, "11", b"")
        assert client.get("/missing").status == 404


def test_async_views_and_calls_run_on_the_loop_of_the_host(host: Host, program: Program) -> None:
    served = host(program.app)
    with served.connect() as client:
        assert client.get("/asynchronous").body == b"/asynchronous"
        assert client.get("/calls_loop").body == b"/calls_loop"
    assert program.loops == [served.loop] * 2


def test_event_streams_hold_no_thread(host: Host, program: Program) -> None:
    served = host(program.app, threads=1)
    with served.connect() as first, served.connect() as second, served.connect() as third:
        for client in (first, second):
            client.request("GET", "/events")
            while client.read_line() != b"data: /events\n":
                pass
        assert third.get("/calls_loop").body == b"/calls_loop"
    assert program.loops == [served.loop] * 3
    assert program.was_cancelled.wait(TIMEOUT)


def test_an_upload_of_many_pieces(host: Host) -> None:
    body = bytes(range(256)) * 8192
    with host(echo, body_buffer_size=64 * 1024).connect() as client:
        assert client.post("/", body).body == body


def test_a_chunked_body_is_collected(host: Host) -> None:
    with host(echo).connect() as client:
        client.request("POST", "/", Transfer_Encoding="chunked")
        for _ in range(100):
            client.send(b"3\r\nabc\r\n")
        client.send(b"0\r\n\r\n")
        assert client.reply().body == b"abc" * 100


def test_a_client_that_expects_100_gets_it(host: Host) -> None:
    with host(echo).connect() as client:
        client.request("POST", "/", Content_Length="3", Expect="100-continue")
        assert client.read_line().startswith(b"HTTP/1.1 100 ")
        while client.read_line() != b"\r\n":
            pass
        client.send(b"abc")
        assert client.reply().body == b"abc"


def test_a_client_that_leaves_is_noticed_while_the_application_works(
    host: Host, program: Program
) -> None:
    served = host(program.app)
    with served.connect() as client:
        client.request("GET", "/waits")
        assert program.entered.wait(TIMEOUT)
    assert program.has_left.wait(TIMEOUT)


def test_a_client_that_leaves_ends_the_body(host: Host) -> None:
    endless = Endless()
    with host(endless).connect() as client:
        client.request()
        client.read(100_000)
        client.reset()
        assert endless.was_closed.wait(TIMEOUT)
    assert endless.closings == 1


def test_an_application_does_not_run_ahead_of_a_client_that_does_not_read(host: Host) -> None:
    produced = threading.Semaphore(0)
    size = 1024 * 1024
    most = 64

    def app(_: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "a/b"), ("Content-Length", str(most * size))])
        for _ in range(most):
            yield bytes(size)
            produced.release()

    with host(app).connect() as client:
        client.request()
        client.read(size)
        # What the buffers of the system, the host and the mount hold together is far less.
        assert not all(produced.acquire(timeout=1) for _ in range(most))
        client.read((most - 1) * size)
        assert client.file.peek(1), "the rest is to come"


def test_an_error_before_the_head_is_answered_with_500(host: Host, program: Program) -> None:
    program.app.config["PROPAGATE_EXCEPTIONS"] = True
    with host(program.app).connect() as client:
        assert client.get("/fails").status == 500


def test_an_error_behind_the_head_cuts_the_connection(host: Host, program: Program) -> None:
    with host(program.app).connect() as client:
        client.request("GET", "/breaks")
        with pytest.raises(IncompleteRead):
            client.reply()


def test_an_error_is_logged_once_at_most(
    host: Host, program: Program, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    with host(program.app).connect() as client:
        client.request("GET", "/breaks")
        client.read_all()
    assert len([r for r in caplog.records if r.exc_info]) <= 1  # hypercorn's log is off here


def test_uvicorn_ends_event_streams_when_its_patience_does(program: Program) -> None:
    serving = partial(by_uvicorn, timeout_graceful_shutdown=0)
    with ExitStack() as clients:
        with hosted(WSGIApp(program.app), serving) as served:
            client = clients.enter_context(served.connect())
            client.request("GET", "/events")
            while client.read_line() != b"data: /events\n":
                pass
        assert program.was_cancelled.wait(TIMEOUT)
    assert not [t for t in threading.enumerate() if t.name.startswith("asyncwsgi-worker")]
