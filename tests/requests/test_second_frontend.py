"""An exchange knows no protocol: another frontend serves Flask through the same rooms."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator

import flask
import pytest

from asyncwsgi import ClientDisconnected, EventStream, ServerThread, from_thread, stream
from asyncwsgi.config import Loop
from tests.client import TIMEOUT
from tests.loops import LOOPS
from tests.requests.line_frontend import LineClient, LineServer

BLOCK = bytes(64 * 1024)


class Program:
    """A Flask application, and what it has noticed."""

    def __init__(self) -> None:
        self.app = app = flask.Flask("lines")
        self.entered = threading.Event()
        self.closed = threading.Event()
        self.left = threading.Event()
        self.sent_blocks = 0
        app.add_url_rule("/echo", view_func=self.echo, methods=["POST"])
        app.add_url_rule("/fails", view_func=self.fails)
        app.add_url_rule("/breaks", view_func=self.breaks)
        app.add_url_rule("/endless", view_func=self.endless)
        app.add_url_rule("/events", view_func=self.events)
        app.add_url_rule("/async", view_func=self.asynchronous)
        app.add_url_rule("/loop", view_func=self.calls_loop)
        app.add_url_rule("/waits", view_func=self.waits)
        app.add_url_rule("/socket", view_func=self.has_socket)

    def echo(self) -> bytes:
        return flask.request.get_data()

    def fails(self) -> str:
        raise RuntimeError("a view has failed")

    def breaks(self) -> flask.Response:
        def blocks() -> Iterator[bytes]:
            yield b"first"
            raise RuntimeError("a body has failed")

        return flask.Response(blocks())

    def endless(self) -> flask.Response:
        def blocks() -> Iterator[bytes]:
            try:
                while True:
                    yield BLOCK
                    self.sent_blocks += 1
            finally:
                self.closed.set()

        return flask.Response(blocks())

    def events(self) -> EventStream:
        async def numbers() -> AsyncIterator[str]:
            try:
                for number in range(3):
                    yield f"{number} of {flask.request.args['of']}"
                await asyncio.Event().wait()
            finally:
                self.closed.set()

        return EventStream(numbers())

    async def asynchronous(self) -> dict[str, object]:
        await asyncio.sleep(0)
        return {"loop": id(asyncio.get_running_loop()), "query": flask.request.args["q"]}

    def has_socket(self) -> str:
        return str("werkzeug.socket" in flask.request.environ)

    def calls_loop(self) -> str:
        async def loop_id() -> int:
            return id(asyncio.get_running_loop())

        return str(from_thread.run(loop_id))

    def waits(self) -> str:
        self.entered.set()
        if flask.request.environ["asyncwsgi.disconnected"].wait(TIMEOUT):
            self.left.set()
        return ""


@pytest.fixture
def program() -> Program:
    return Program()


@pytest.fixture(params=LOOPS)
def server(request: pytest.FixtureRequest, program: Program) -> Iterator[ServerThread]:
    loop: Loop = request.param
    with ServerThread(LineServer(program.app, port=0, loop=loop)) as server:
        yield server


@pytest.fixture
def connect(server: ServerThread) -> Iterator[Callable[[], LineClient]]:
    with contextlib.ExitStack() as stack:

        def make() -> LineClient:
            address = ("127.0.0.1", server.port)
            sock = stack.enter_context(socket.create_connection(address, TIMEOUT))
            client = LineClient(sock)
            stack.callback(client._file.close)
            return client

        yield make


Connect = Callable[[], LineClient]


def test_requests_with_bodies_of_any_size_follow_each_other(connect: Connect) -> None:
    client = connect()
    for size in (1, 100_000, 3 * 1024 * 1024):
        body = bytes(range(256)) * (size // 256) + bytes(size % 256)
        assert client.get("/echo", body) == ("200 OK", body)


def test_a_view_that_fails_is_answered(connect: Connect) -> None:
    client = connect()
    assert client.get("/fails")[0] == "500 INTERNAL SERVER ERROR"
    assert client.get("/loop")[0] == "200 OK"


def test_who_hands_out_no_sockets_has_no_key_for_one(connect: Connect) -> None:
    # Libraries look for the key to learn whether they can speak WebSocket.
    assert connect().get("/socket") == ("200 OK", b"False")


def test_a_body_that_fails_ends_the_connection_without_its_mark(connect: Connect) -> None:
    client = connect()
    client.ask("GET", "/breaks")
    assert client.head()[0] == "200 OK"
    assert client.block() == b"first"
    with pytest.raises(ClientDisconnected):
        client.block()


def test_a_client_that_does_not_read_holds_the_body_back(
    connect: Connect, program: Program
) -> None:
    client = connect()
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    client.ask("GET", "/endless")
    client.head()
    for _ in range(100):
        assert client.block() == BLOCK
    # Ahead are the server's buffers and the kernel's, and nothing that grows.
    assert program.sent_blocks < 100 + 200
    assert not program.closed.is_set()
    client.sock.close()
    client._file.close()
    assert program.closed.wait(TIMEOUT)


def test_events_leave_from_the_loop_until_the_client_does(
    connect: Connect, program: Program
) -> None:
    client = connect()
    client.ask("GET", "/events?of=3")
    _, headers = client.head()
    assert headers["Content-Type"].startswith("text/event-stream")
    received = b""
    while received.count(b"data:") < 3:
        received += client.block()
    assert b"data: 2 of 3\n\n" in received
    client._file.close()
    client.sock.close()
    assert program.closed.wait(TIMEOUT)


def test_async_views_and_calls_run_on_the_loop_that_serves(connect: Connect) -> None:
    client = connect()
    status, body = client.get("/async?q=spam")
    assert status == "200 OK"
    said = flask.json.loads(body)
    assert said["query"] == "spam"
    assert client.get("/loop") == ("200 OK", str(said["loop"]).encode())


def test_a_view_hears_that_its_client_has_left(connect: Connect, program: Program) -> None:
    client = connect()
    client.ask("GET", "/waits")
    assert program.entered.wait(TIMEOUT)
    client._file.close()
    client.sock.close()
    assert program.left.wait(TIMEOUT)


def test_a_stream_of_bytes_is_whole(server: ServerThread, connect: Connect) -> None:
    async def blocks() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield BLOCK

    app = server.server.application
    assert isinstance(app, flask.Flask)
    app.view_functions["echo"] = lambda: flask.Response(stream(blocks()))
    assert connect().get("/echo", b"x") == ("200 OK", BLOCK * 100)
