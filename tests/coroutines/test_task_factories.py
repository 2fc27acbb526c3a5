"""A task factory that fails, as an instrumentation library's may: nobody is left waiting.

What cannot be begun is an error of whoever waits for it. Coroutines that asgiref brings can only
tell themselves, so they run all the same. And a task factory whose tasks begin at once.
"""

from __future__ import annotations

import asyncio
import logging
import queue
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

    def factory(loop: object, coroutine: Coroutine[Any, Any, Any], **more: Any) -> Any:
        raise LookupError("no task today")

    def start(application: Any) -> LiveServer:
        server = serve(application, loop=request.param, validate=False)
        set_factory(server, factory)
        loops.append(server.started.result())
        return server

    yield start
    for loop in loops:
        loop.call_soon_threadsafe(loop.set_task_factory, None)


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


def test_an_async_view_runs_all_the_same(
    serve_broken: Callable[..., LiveServer], client_of: ClientOf
) -> None:
    app = Flask("factories")
    app.add_url_rule("/", view_func=spam)
    assert client_of(serve_broken(app)).get().body == b"spam"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks are never eager before Python 3.12")
class TestEagerTasks:
    """Tasks that run up to their first wait before whoever makes them goes on."""

    @pytest.fixture(params=LOOPS)
    def serve_eager(
        self, request: pytest.FixtureRequest, serve: Serve
    ) -> Callable[..., LiveServer]:
        def start(application: Any) -> LiveServer:
            server = serve(application, loop=request.param, validate=False)
            set_factory(server, getattr(asyncio, "eager_task_factory"))  # noqa: B009
            return server

        return start

    def test_a_body_that_never_waits_is_whole(
        self, serve_eager: Callable[..., LiveServer], client_of: ClientOf
    ) -> None:
        client = client_of(serve_eager(streamed))
        for _ in range(2):
            assert client.get().body == b"spam"

    def test_a_body_whose_client_leaves_in_its_first_step_is_closed(
        self, serve_eager: Callable[..., LiveServer], client_of: ClientOf
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
