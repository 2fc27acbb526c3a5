"""Clients that leave before their request is whole, before it ran or while nobody reads them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import pytest

from asyncwsgi import ClientDisconnected, Server
from asyncwsgi.frontends.http import HttpConnection
from asyncwsgi.requests.exchange import Exchange
from tests.client import TIMEOUT, Client
from tests.conftest import Serve
from tests.http.helpers import (
    ClientOf,
    Gate,
    Paths,
    Witness,
    counting_submissions,
    leavings,
    messages,
    watched,
)
from tests.http.wire import chunk

if TYPE_CHECKING:
    from wsgiref.types import StartResponse


IN_CHUNKS = b"Transfer-Encoding: chunked\r\n\r\n"


def reading(witness: Witness) -> Callable[..., Iterable[bytes]]:
    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        body = witness.run(lambda: environ["wsgi.input"].read(-1))
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [body]

    return app


def test_an_upload_that_is_reset_fails_the_read(
    serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    witness = Witness()
    gate = Gate(reading(witness))
    server = serve(gate, body_buffer_size=1)
    client = client_of(server)
    client.request("POST", "/held", Content_Length="9")
    client.send(b"spam")
    gate.wait_until_entered()
    gate.open()
    client.reset()
    assert isinstance(witness.wait(), ClientDisconnected)
    server.close()
    assert messages(caplog.records) == []


@pytest.mark.parametrize(
    "cut",
    [
        pytest.param(b"Content-Length: 9\r\n\r\nspam", id="a sized body"),
        pytest.param(IN_CHUNKS + chunk(b"spam"), id="between chunks"),
        pytest.param(IN_CHUNKS + b"9\r\nspam", id="within a chunk"),
        pytest.param(IN_CHUNKS + chunk(b"spam") + b"0\r\n", id="before the end of the trailers"),
    ],
)
def test_an_upload_that_is_cut_short_fails_the_read_and_is_no_failure_of_the_application(
    serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture, cut: bytes
) -> None:
    # Not a short read: the body must never be taken for complete. Werkzeug's LimitedStream makes
    # its ClientDisconnected of an OSError. What has come can be read before.
    witness = Witness()
    came: list[bytes] = []

    def read_twice(body: Any) -> None:
        came.append(body.read(4))
        body.read(1)

    def reading_twice(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        witness.run(lambda: read_twice(environ["wsgi.input"]))
        return []

    gate = Gate(reading_twice)
    server = serve(gate, body_buffer_size=1, stream_chunked_bodies=True)
    client = client_of(server)
    client.send(b"POST /held HTTP/1.1\r\nHost: test\r\n" + cut)
    gate.wait_until_entered()
    client.half_close()
    gate.open()
    assert isinstance(witness.wait(), OSError)
    assert came == [b"spam"]
    # RFC 9112 8: an incomplete request may be answered with an error; not one of the server's.
    assert client.reply().status == 400
    server.close()
    assert messages(caplog.records) == []


def test_an_upload_that_is_reset_before_the_application_was_called_is_forgotten(
    serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    app = Paths()
    server = serve(app)
    client, other = client_of(server), client_of(server)
    client.request("POST", Content_Length="9")
    client.send(b"spam")
    assert other.get("/other").body == b"/other"
    client.reset()
    assert other.get("/again").body == b"/again"
    server.close()
    assert app.calls == ["GET /other", "GET /again"]
    assert messages(caplog.records) == []


def test_a_request_whose_client_leaves_while_it_is_queued_is_skipped(
    serve: Serve,
    client_of: ClientOf,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("asyncwsgi.requests.saturation.PATIENCE", TIMEOUT)
    left = threading.Event()

    class WatchedExchange(Exchange):
        def connection_lost(self) -> None:
            super().connection_lost()
            left.set()

    counting, submitted = counting_submissions()

    class WatchedServer(counting):  # type: ignore[valid-type, misc]
        exchange_class = WatchedExchange

    app = Paths()
    gate = Gate(app)
    server = serve(gate, server_class=WatchedServer, threads=1)
    first, leaving, last = (client_of(server) for _ in range(3))
    for client, target in ((first, "/held"), (leaving, "/leaving"), (last, "/last")):
        client.request(target=target)
        assert submitted.acquire(timeout=TIMEOUT)
    leaving.reset()
    assert left.wait(TIMEOUT)
    gate.open()
    assert [first.reply().body, last.reply().body] == [b"/held", b"/last"]
    server.close()
    assert app.calls == ["GET /held", "GET /last"]
    assert messages(caplog.records) == []


@leavings
def test_a_connection_that_says_nothing_and_leaves_is_forgotten(
    serve: Serve,
    client_of: ClientOf,
    caplog: pytest.LogCaptureFixture,
    leave: Callable[[Client], None],
) -> None:
    server_class, lost = watched()
    server = serve(Paths(), server_class=server_class, max_connections=1)
    leave(client_of(server))
    assert lost.wait(TIMEOUT)
    assert client_of(server).get().status == 200  # else it would be one too many
    assert messages(caplog.records) == []


@leavings
def test_a_refused_connection_that_has_left_already_is_no_failure_of_the_server(
    serve: Serve,
    client_of: ClientOf,
    caplog: pytest.LogCaptureFixture,
    leave: Callable[[Client], None],
) -> None:
    has_left = threading.Event()
    lost = threading.Semaphore(0)

    class LateConnection(HttpConnection):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert has_left.wait(TIMEOUT)
            super().connection_made(transport)

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            lost.release()

    class LateServer(Server):
        connection_class = LateConnection

    server = serve(Paths(), server_class=LateServer, max_connections=1)
    stay, client = client_of(server), client_of(server)
    leave(client)
    has_left.set()
    assert lost.acquire(timeout=TIMEOUT), "the connection was never forgotten"
    assert stay.get().status == 200
    server.close()
    (line,) = messages(caplog.records)
    assert line.endswith("refused with 503: too many connections; raise max_connections")


@leavings
@pytest.mark.parametrize("connection", ["close", "keep-alive"])
def test_a_client_that_left_while_it_was_not_read_is_forgotten(
    serve: Serve,
    client_of: ClientOf,
    caplog: pytest.LogCaptureFixture,
    leave: Callable[[Client], None],
    connection: str,
) -> None:
    # Nothing is read while the body is full, so that the server learns of it when it answers.
    gate = Gate()
    server_class, lost = watched()
    server = serve(gate, server_class=server_class, body_buffer_size=1)
    client = client_of(server)
    client.request("POST", "/held", Content_Length="9", Connection=connection)
    client.send(b"spam")
    gate.wait_until_entered()
    leave(client)
    gate.open()
    assert lost.wait(TIMEOUT), "the connection was never forgotten"
    server.close()
    assert messages(caplog.records) == []
