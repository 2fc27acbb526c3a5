"""Clients that leave: the application hears of it once, the log and the other clients never do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import pytest

from asyncwsgi import ClientDisconnected, Server
from asyncwsgi.frontends.http import HttpConnection
from tests.client import TIMEOUT, Client
from tests.conftest import Serve
from tests.http.helpers import (
    MIB,
    Blocks,
    ClientOf,
    Gate,
    Witness,
    come_round,
    leavings,
    messages,
    take,
)

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
# More than socket buffers take, so that a server that does not notice is found out.
TOTAL = 256 * MIB


@leavings
def test_a_stream_ends_and_is_closed_once(
    serve: Serve,
    client_of: ClientOf,
    caplog: pytest.LogCaptureFixture,
    leave: Callable[[Client], None],
) -> None:
    app = Blocks(TOTAL)
    server = serve(app)
    client = client_of(server)
    client.request()
    client.read(MIB)
    leave(client)
    assert app.was_closed.wait(TIMEOUT)
    server.close()  # whatever was still to come has come
    assert app.produced < TOTAL
    assert app.closings == 1
    assert messages(caplog.records) == []


@leavings
def test_a_stream_of_tiny_blocks_ends_too(
    serve: Serve,
    client_of: ClientOf,
    caplog: pytest.LogCaptureFixture,
    leave: Callable[[Client], None],
) -> None:
    # asyncio's transport complains in the log of many writes after the connection was lost.
    app = Blocks(MIB, block_size=1)
    server = serve(app)
    client = client_of(server)
    client.request()
    client.read(1)
    leave(client)
    assert app.was_closed.wait(TIMEOUT)
    server.close()
    assert app.produced < MIB
    assert messages(caplog.records) == []


@leavings
def test_an_application_that_is_held_by_a_slow_reader_is_released(
    serve: Serve,
    client_of: ClientOf,
    caplog: pytest.LogCaptureFixture,
    leave: Callable[[Client], None],
) -> None:
    is_held_up = threading.Semaphore(0)

    class PausingConnection(HttpConnection):
        def pause_writing(self) -> None:
            super().pause_writing()
            is_held_up.release()

    class PausingServer(Server):
        connection_class = PausingConnection

    app = Blocks(TOTAL)
    server = serve(app, server_class=PausingServer)
    client = client_of(server)
    client.request()
    take(is_held_up)
    leave(client)
    assert app.was_closed.wait(TIMEOUT)
    server.close()
    assert app.produced < TOTAL
    assert app.closings == 1
    assert messages(caplog.records) == []


def test_write_raises(serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture) -> None:
    witness = Witness()

    def writing(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        block = b"x" * 16 * 1024

        def write_all() -> None:
            for _ in range(TOTAL // len(block)):
                write(block)

        witness.run(write_all)
        return []

    server = serve(writing)
    client = client_of(server)
    client.request()
    client.read(1)
    client.reset()
    assert isinstance(witness.wait(), ClientDisconnected)
    server.close()
    assert messages(caplog.records) == []


def test_what_an_application_makes_of_it_is_its_own_failure(
    serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    # Only the server's own exception is the client's fault.
    class Breaking(Blocks):
        def close(self) -> None:
            super().close()
            raise RuntimeError("cannot close")

    app = Breaking(TOTAL)
    server = serve(app)
    client = client_of(server)
    client.request(target="/stream")
    client.read(1)
    client.reset()
    assert app.was_closed.wait(TIMEOUT)
    server.close()
    assert messages(caplog.records) == ["GET /stream failed with a traceback"]


def test_other_connections_go_on(serve: Serve, client_of: ClientOf) -> None:
    def blocks(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        return Blocks(4 * MIB)(environ, start_response)

    gate = Gate(blocks)
    server = serve(gate)
    stay, leave = client_of(server), client_of(server)
    stay.request(target="/held")
    gate.wait_until_entered()
    leave.request(target="/stream")
    leave.read(1)
    leave.reset()
    gate.open()
    assert len(stay.reply().body) == 4 * MIB
    assert stay.get("/again").status == 200


@leavings
@pytest.mark.parametrize(
    ("request_", "behind"),
    [
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 8000000\r\n\r\nx",
            b"x" * 1000,
            id="an upload",
        ),
        # A little more than is read; a kernel that is short of memory takes not much of the rest.
        pytest.param(GET, GET * (80_000 // len(GET)), id="pipelined requests"),
    ],
)
def test_it_is_noticed_behind_bytes_that_nobody_reads(
    serve: Serve,
    client_of: ClientOf,
    where: dict[str, Any],
    leave: Callable[[Client], None],
    request_: bytes,
    behind: bytes,
) -> None:
    entered, witness = threading.Semaphore(0), Witness()
    noticed: list[bool] = []

    def wait(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        entered.release()
        noticed.append(environ["asyncwsgi.disconnected"](TIMEOUT))
        witness.run(lambda: None)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return []

    server = serve(wait, body_buffer_size=1, **where)
    client = client_of(server)
    client.send(request_)
    take(entered)
    client.send(behind)
    come_round(server)  # it has stopped reading
    leave(client)
    witness.wait()
    assert noticed[0]
