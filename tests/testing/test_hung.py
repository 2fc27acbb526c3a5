"""An application that hangs is named with its stack, and closing a server ends all the same."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import flask
import pytest

from asyncwsgi import EventStream, Server, stream
from asyncwsgi.requests.request_body import RequestBody
from asyncwsgi.testing import HungApplication, LiveServer
from asyncwsgi.testing.leaks import check as leaks
from tests.client import Client, connect

PATIENCE = leaks.PATIENCE


class Gate(threading.Event):
    """Tells of who waits for it from within the wait: there the stack shows it from then on."""

    def __init__(self, entered: threading.Semaphore) -> None:
        super().__init__()
        self._entered = entered

    def wait(self, timeout: float | None = None) -> bool:
        self._entered.release()
        return super().wait(timeout)


class Change(threading.Condition):
    """Tells of who waits for it."""

    def __init__(self, entered: threading.Semaphore) -> None:
        super().__init__(threading.Lock())
        self._entered = entered

    def wait(self, timeout: float | None = None) -> bool:
        self._entered.release()
        return super().wait(timeout)


class Hanging:
    """An application whose views hang until the test is over."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.gate = Gate(self.entered)
        self.app = app = flask.Flask("app")

        @app.get("/sync")
        def sync_view() -> str:
            return self.wait()

        @app.get("/async")
        async def async_view() -> str:
            self.entered.release()
            await asyncio.Event().wait()
            return ""

        @app.get("/stream")
        def streaming_view() -> flask.Response:
            return flask.Response(stream(blocks_of_stream()))

        async def blocks_of_stream() -> AsyncIterator[str]:
            yield "first"
            self.entered.release()
            await asyncio.Event().wait()

        @app.get("/events")
        def events_view() -> flask.Response:
            def events() -> Iterator[str]:
                yield "data: first\n\n"
                yield self.wait()

            return flask.Response(events(), mimetype="text/event-stream")

        @app.get("/blocking")
        async def blocking_view() -> str:
            return self.wait()

        @app.post("/upload")
        def upload() -> bytes:
            return flask.request.get_data()

        @app.get("/async-events")
        def async_events() -> Any:
            return EventStream(blocks_of_stream())

    def wait(self) -> str:
        self.gate.wait()
        return ""


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    hanging = Hanging()
    yield hanging
    hanging.gate.set()


def close(hanging: Hanging, *targets: str, **options: Any) -> str:
    """Ask for `targets`, and close the server while it answers; the error."""
    server = LiveServer(hanging.app, owner="t.py::test", graceful_timeout=0.05, **options)
    server.start()
    clients = [connect(server.addresses[0]) for _ in targets]
    try:
        for client, target in zip(clients, targets, strict=True):
            client.request(target=target)
            if options.get("threads") != 1 or target is targets[0]:
                assert hanging.entered.acquire(timeout=30)
        with pytest.raises(HungApplication) as caught:
            server.close()
    finally:
        for client in clients:
            client.close()
    return str(caught.value)


@contextmanager
def close_without_error(hanging: Hanging, **options: Any) -> Iterator[Client]:
    """A client of a server, which closes while it answers."""
    server = LiveServer(hanging.app, graceful_timeout=0.05, **options)
    server.start()
    with connect(server.addresses[0]) as client:
        yield client
        server.close()
    assert server.ended.done()


def test_a_view_is_named_with_the_stack_of_its_thread(hanging: Hanging) -> None:
    said = close(hanging, "/sync?page=2")
    assert "what the server of t.py::test runs did not end within graceful_timeout" in said
    assert "GET /sync?page=2, for " in said
    assert "in the thread asyncwsgi-worker-" in said
    assert "in sync_view" in said
    assert "self.gate.wait()" in said
    assert "asyncwsgi/bridge" not in said


def test_a_request_that_waits_for_a_thread_is_named_too(hanging: Hanging) -> None:
    said = close(hanging, "/sync", "/async", threads=1)
    assert "GET /async, for " in said
    assert "and waits for a worker thread" in said


def test_an_async_view_is_named_with_the_stack_of_its_coroutine(hanging: Hanging) -> None:
    said = close(hanging, "/async")
    assert "GET /async, for " in said
    assert "a coroutine on the server's loop:" in said
    assert "in async_view" in said


def test_a_body_on_the_loop_is_named_with_the_place_of_its_iterator(hanging: Hanging) -> None:
    said = close(hanging, "/stream")
    assert "GET /stream, for " in said
    assert "on the server's loop:" in said
    assert "in blocks_of_stream" in said


def test_an_endless_response_that_does_not_notice_its_cut_is_named(hanging: Hanging) -> None:
    said = close(hanging, "/events")
    assert "GET /events, for " in said
    assert "in events" in said


def test_a_view_that_holds_the_loop_is_named_with_the_stack_of_the_loop(
    hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaks, "PATIENCE", PATIENCE)
    said = close(hanging, "/blocking")
    assert "the server's loop, which has not answered for 1 s:" in said
    assert "in blocking_view" in said


def test_a_lifespan_that_is_not_left_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncwsgi.testing.leaks.check.STOP_TIMEOUT", 0.1)
    gate = threading.Event()
    is_left = threading.Event()

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        yield
        is_left.set()
        await asyncio.to_thread(gate.wait, 10)

    server = LiveServer(flask.Flask("app"), lifespan=lifespan, graceful_timeout=0.1)
    server.start()
    server.shutdown()
    try:
        assert is_left.wait(10)
        with pytest.raises(HungApplication, match=r"the lifespan, which .* within 0.2 s:\n  File"):
            server.close()
    finally:
        gate.set()
        server.ended.result(10)


@pytest.mark.usefixtures("patience")
def test_an_endless_response_that_can_be_cut_hangs_nothing(hanging: Hanging) -> None:
    with close_without_error(hanging) as client:
        client.request(target="/async-events")
        assert hanging.entered.acquire(timeout=30)


@pytest.mark.usefixtures("patience")
def test_a_request_whose_client_owes_the_rest_hangs_nothing(hanging: Hanging) -> None:
    class Body(RequestBody):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self._changed = Change(hanging.entered)

    class BodyServer(Server):
        request_body_class = Body

    options = {"server_class": BodyServer, "body_buffer_size": 1}
    with close_without_error(hanging, **options) as client:
        client.send(b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
        assert hanging.entered.acquire(timeout=30)


def test_the_next_server_of_the_same_application_serves(hanging: Hanging) -> None:
    close(hanging, "/sync")
    with LiveServer(hanging.app) as server, connect(server.addresses[0]) as client:
        assert client.get("/missing").status == 404
