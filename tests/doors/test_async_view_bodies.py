"""Async views that read request bodies: the loop that receives a body must never wait for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, request

import asyncwsgi
from asyncwsgi import from_thread
from asyncwsgi.requests import request_body
from asyncwsgi.testing import LiveServer
from tests.client import TIMEOUT, Client
from tests.conftest import Serve
from tests.http.helpers import until

ClientOf = Callable[[LiveServer], Client]


@pytest.fixture(params=["asgiref", "override"])
def app(request: pytest.FixtureRequest) -> Flask:
    app = Flask(__name__)
    if request.param == "override":
        app.async_to_sync = asyncwsgi.async_to_sync  # type: ignore[assignment, method-assign]
    app.add_url_rule("/", "size", size, methods=["GET", "POST"])
    app.add_url_rule("/sync", "sync", lambda: "sync")
    return app


loops: list[asyncio.AbstractEventLoop] = []


async def size() -> str:
    loops.append(asyncio.get_running_loop())
    return str(len(request.get_data()))


def chunked(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


def test_a_large_body_is_read(serve: Serve, client_of: ClientOf, app: Flask) -> None:
    client = client_of(serve(app))
    for _ in range(2):
        assert client.post("/", bytes(1_000_000)).body == b"1000000"


def test_a_chunked_body_is_read(serve: Serve, client_of: ClientOf, app: Flask) -> None:
    client = client_of(serve(app, validate=False))
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    client.send(chunked(bytes(700_000)))
    assert client.reply().body == b"700000"


def test_a_client_that_waits_is_told_to_continue(
    serve: Serve, client_of: ClientOf, app: Flask
) -> None:
    client = client_of(serve(app))
    client.request("POST", "/", None, Content_Length="5", Expect="100-continue")
    assert client.read_line() == b"HTTP/1.1 100 Continue\r\n"
    assert client.read_line() == b"\r\n"
    client.send(b"12345")
    assert client.reply().body == b"5"


def test_others_are_answered_while_a_body_is_on_its_way(
    serve: Serve, client_of: ClientOf, app: Flask
) -> None:
    server = serve(app)
    slow = client_of(server)
    slow.request("POST", "/", None, Content_Length="600000")
    slow.send(bytes(400_000))
    other = client_of(server)
    assert other.get("/sync").body == b"sync"
    assert other.get("/").body == b"0"
    slow.send(bytes(200_000))
    assert slow.reply().body == b"600000"


def test_a_body_that_is_too_large_to_be_held_is_read_on_another_loop(
    serve: Serve, client_of: ClientOf, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_body, "COLLECTED_SIZE", 100_000)
    server = serve(app, body_buffer_size=50_000)
    client = client_of(server)
    loops.clear()
    assert client.post("/", bytes(1_000_000)).body == b"1000000"
    assert client.post("/", bytes(10)).body == b"10"
    large, small = loops
    assert large is not small
    assert client.get("/").body == b"0"
    assert loops[-1] is small


def test_a_body_that_never_comes_times_out(serve: Serve, client_of: ClientOf, app: Flask) -> None:
    server = serve(app, body_timeout=0.05, body_buffer_size=1)
    client = client_of(server)
    client.request("POST", "/", None, Content_Length="5")
    client.send(b"12")
    assert client.reply().status in (400, 408)
    assert client_of(server).get("/sync").body == b"sync"


def test_a_client_that_leaves_meanwhile_holds_nobody_up(
    serve: Serve, client_of: ClientOf, app: Flask
) -> None:
    server = serve(app)
    client = client_of(server)
    client.request("POST", "/", None, Content_Length="600000")
    client.send(bytes(400_000))
    client.close()
    assert client_of(server).get("/").body == b"0"


def test_reading_on_the_loop_what_has_not_come_is_an_error(
    serve: Serve, client_of: ClientOf
) -> None:
    app = Flask(__name__)
    errors: list[str] = []
    tried = threading.Event()

    @app.post("/")
    def view() -> str:
        async def read() -> Any:
            return request.environ["wsgi.input"].read(5)

        try:
            from_thread.run(read)
        except RuntimeError as error:
            errors.append(str(error))
        tried.set()
        return "answered"

    client = client_of(serve(app, validate=False))
    client.request("POST", "/", None, Content_Length="5", Expect="100-continue")
    assert tried.wait(TIMEOUT)
    assert client.reply().body == b"answered"
    assert "waiting for it on the server's loop would be for ever" in errors[0]


def test_a_body_that_is_collected_is_counted_and_goes_on_whatever_there_is_room_for(
    serve: Serve, client_of: ClientOf, app: Flask
) -> None:
    server = serve(app, max_buffered_size=50_000)
    client = client_of(server)
    client.request("POST", "/", None, Content_Length="1000000")
    client.send(bytes(900_000))
    until(server, lambda: server.server.snapshot().buffered_size == 900_000)
    client.send(bytes(100_000))
    assert client.reply().body == b"1000000"
    until(server, lambda: server.server.snapshot().buffered_size == 0)
