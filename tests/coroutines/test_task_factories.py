"""Task factories of the program's, set on the server's loop.

One may fail, as an instrumentation library's: nobody is left waiting. What cannot be begun is an
error of whoever waits for it. Coroutines that asgiref brings can only tell themselves, so they run
all the same. And one may make eager tasks, which begin, and perhaps end, before they are returned.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest
from flask import Flask

from asyncwsgi import EventStream, ServerThread, async_to_sync, from_thread, stream
from asyncwsgi.coroutines.current import current_request
from asyncwsgi.requests.exchange import Exchange
from asyncwsgi.testing import LiveServer
from tests.client import TIMEOUT
from tests.conftest import Serve
from tests.doors.test_from_thread import app_of
from tests.http.helpers import ClientOf
from tests.loops import LOOPS


@pytest.fixture(params=LOOPS)
def serve_broken(request: pytest.FixtureRequest, serve: Serve) -> Iterator[Callable[..., Any]]:
    """Serves on a loop that makes no tasks from then on; it makes some again for the stop."""
    loops: list[asyncio.AbstractEventLoop] = []

    def start(application: Any) -> LiveServer:
        server = serve(application, loop=request.param, validate=False)
        set_factory(server, no_task)
        loops.append(server.started.result())
        return server

    yield start
    for loop in loops:
        loop.call_soon_threadsafe(loop.set_task_factory, None)


def no_task(loop: object, coroutine: Coroutine[Any, Any, Any], **more: Any) -> Any:
    raise LookupError("no task today")


def set_factory(server: ServerThread, factory: Any) -> None:
    server.server.frontend.dispatcher.mailbox.post(
        server.started.result().set_task_factory, factory
    )


async def spam() -> str:
    return "spam"


def by_run() -> str:
    return from_thread.run(spam)


def by_background() -> str:
    return from_thread.create_task(spam()).result()


def by_async_to_sync() -> str:
    return async_to_sync(spam)()


@pytest.mark.parametrize("call", [by_run, by_background, by_async_to_sync])
def test_who_waits_for_a_call_gets_the_error(
    serve_broken: Callable[..., LiveServer], client_of: ClientOf, call: Callable[[], str]
) -> None:
    assert client_of(serve_broken(app_of(call))).get().body == b"LookupError: no task today"


def test_a_background_task_that_never_began_is_logged(
    serve_broken: Callable[..., LiveServer],
    client_of: ClientOf,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR, "asyncwsgi.server"):
        client_of(serve_broken(app_of(by_background))).get()
    assert "the background task spam failed" in caplog.messages


async def blocks() -> AsyncIterator[bytes]:
    yield b"spam"


def streamed(environ: dict[str, Any], start_response: Any) -> Any:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return stream(blocks())


async def events() -> AsyncIterator[str]:
    yield "spam"


@pytest.mark.parametrize("application", [streamed, EventStream(lambda _: events())])
def test_a_body_on_the_loop_ends_unfinished_and_is_told_of(
    serve_broken: Callable[..., LiveServer],
    client_of: ClientOf,
    caplog: pytest.LogCaptureFixture,
    application: Any,
) -> None:
    server = serve_broken(application)
    client = client_of(server)
    client.request()
    assert not client.read_all().endswith(b"0\r\n\r\n")
    server.wait_for_request()
    assert "GET / failed" in caplog.messages


# Of its own: Python warns of the coroutines for which there was no task, which are also its own.
PROGRAM = """
from asyncwsgi import serve_in_thread
from tests.apps import Held
from tests.client import connect
from tests.coroutines.test_task_factories import no_task, set_factory

held = Held()
server = serve_in_thread(held, port=0, loop={loop!r}, graceful_timeout=1000)
server.start()
with connect(server.addresses[0]) as client:
    client.request()
    held.wait_until_entered()
    set_factory(server, no_task)
    try:
        server.close()
    except LookupError as error:
        print(error)
    print(client.is_closed(), server.thread.is_alive())
held.release()
"""


@pytest.mark.parametrize("loop", LOOPS)
def test_who_waits_for_a_shutdown_gets_the_error_and_clients_are_cut(loop: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(loop=loop)],
        capture_output=True, text=True, check=True, timeout=5 * TIMEOUT,
    )  # fmt: skip
    assert ended.stdout == "no task today\nTrue False\n", ended.stderr


def async_view() -> Flask:
    app = Flask("factories")
    app.add_url_rule("/", view_func=spam)
    return app


def test_an_async_view_runs_all_the_same(
    serve_broken: Callable[..., LiveServer], client_of: ClientOf
) -> None:
    assert client_of(serve_broken(async_view())).get().body == b"spam"


eager = pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")


@pytest.fixture
def serve_eager(loop: str, serve: Serve) -> Callable[..., LiveServer]:
    """Servers whose tasks run up to their first wait before whoever makes them goes on."""
    if loop == "uvloop" and sys.version_info[:2] == (3, 13):
        pytest.skip("uvloop passes eager_start, which the factory of Python 3.13 does not take")

    def start(application: Any) -> LiveServer:
        server = serve(application, loop=loop, validate=False)
        # mypy reads for 3.11.
        set_factory(server, getattr(asyncio, "eager_task_factory"))  # noqa: B009
        return server

    return start


@eager
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    "application",
    [
        pytest.param(app_of(by_run), id="run"),
        pytest.param(app_of(by_background), id="background"),
        pytest.param(app_of(by_async_to_sync), id="async_to_sync"),
        pytest.param(async_view(), id="async view"),
        pytest.param(streamed, id="stream"),
        pytest.param(EventStream(lambda _: events()), id="events"),
    ],
)
def test_eager_tasks_answer_and_the_server_stops(
    serve_eager: Callable[..., LiveServer], client_of: ClientOf, application: Any
) -> None:
    server = serve_eager(application)
    assert b"spam" in client_of(server).get().body
    server.close()
    assert not server.thread.is_alive()


@eager
@pytest.mark.parametrize("loop", LOOPS)
def test_an_eager_body_whose_client_leaves_in_its_first_step_is_closed(
    serve_eager: Callable[..., LiveServer], client_of: ClientOf
) -> None:
    ended: queue.SimpleQueue[str] = queue.SimpleQueue()

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        exchange = current_request()
        assert isinstance(exchange, Exchange)

        async def cut_off() -> AsyncIterator[bytes]:
            try:
                exchange.cut()
                await asyncio.Event().wait()
                yield b"never"
            except asyncio.CancelledError:
                ended.put("cancelled")
                raise

        start_response("200 OK", [("Content-Type", "text/plain")])
        return stream(cut_off())

    client = client_of(serve_eager(application))
    client.request()
    assert ended.get(timeout=TIMEOUT) == "cancelled"
