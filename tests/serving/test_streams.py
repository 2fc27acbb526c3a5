"""stream() below Werkzeug's hooks."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterable
from typing import TYPE_CHECKING, Any

import pytest

from asyncwsgi import stream
from asyncwsgi.serving import WSGIRequestHandler
from tests.client import TIMEOUT, Client
from tests.coroutines.streams import EVENTS, PLAIN, Feed, app_of, open_stream
from tests.serving.conftest import Running, Start

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

ClientOf = Callable[[Running], Client]


def test_a_server_without_threads_answers_others_meanwhile(
    start: Start, client_of: ClientOf
) -> None:
    class Closing(WSGIRequestHandler):
        protocol_version = "HTTP/1.0"  # until a threaded server of the process makes it 1.1

    feed = Feed()
    app = app_of(feed.blocks)
    running = start(app, validate=False, threaded=False, request_handler=Closing)
    clients = [client_of(running) for _ in range(3)]
    for client in clients:  # each with a response until the connection closes
        client.request(target="/stream")
        while client.read_line() != b"\r\n":
            pass
        assert client.read_line() == b"first\n"
    assert client_of(running).get().body == b"ordinary"
    feed.go_on()
    for client in clients:
        assert client.read_all() == b"last\n"
    running.close()
    assert feed.closings == 3


def test_one_line_and_one_close(
    start: Start, client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    closed = threading.Event()
    closings = 0

    class Closing(stream):
        def close(self) -> None:
            nonlocal closings
            closings += 1
            super().close()
            closed.set()

    async def blocks() -> AsyncIterator[bytes]:
        yield b"spam"

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        assert environ["asyncwsgi.disconnected"]() is False
        assert environ["waitress.client_disconnected"]() is False
        start_response("200 OK", PLAIN)
        return Closing(blocks())

    caplog.set_level("INFO", "werkzeug")
    running = start(app, validate=False)
    assert client_of(running).get("/stream").body == b"spam"
    assert closed.wait(TIMEOUT)
    running.close()
    assert closings == 1
    lines = [m for m in caplog.messages if "/stream" in m]
    assert len(lines) == 1


def test_it_is_closed_when_the_client_leaves(start: Start, client_of: ClientOf) -> None:
    feed = Feed()
    running = start(app_of(feed.blocks, EVENTS), validate=False)
    client = client_of(running)
    open_stream(client)
    client.close()
    feed.wait_until_closed()


def test_it_is_closed_when_the_server_stops(start: Start, client_of: ClientOf) -> None:
    feed = Feed()
    running = start(app_of(feed.blocks, EVENTS), validate=False)
    open_stream(client_of(running))
    running.close()
    feed.wait_until_closed()
    assert feed.closings == 1


def test_an_error_is_werkzeugs_to_log(
    start: Start, client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    async def blocks() -> AsyncIterator[bytes]:
        yield b"first\n"
        raise ValueError("eggs")

    running = start(app_of(blocks), validate=False)
    client = client_of(running)
    open_stream(client)
    assert client.read_all() == b""
    running.close()
    assert [m for m in caplog.messages if "Error on request" in m and "ValueError: eggs" in m]
