"""Who sends a large response sends most of it by the socket itself; nobody can tell."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

import asyncwsgi
from asyncwsgi import Server
from asyncwsgi.errors import ClientDisconnected
from asyncwsgi.frontends.http import HttpConnection
from asyncwsgi.frontends.socket_loan import LentOutput
from asyncwsgi.testing import Authority, HungApplication, LiveServer
from tests.client import Client, connect
from tests.conftest import Serve
from tests.http.helpers import (
    MIB,
    ClientOf,
    Clock,
    come_round,
    leavings,
    passed,
    sockets,
    until,
    wait_for,
)

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

pytestmark = pytest.mark.usefixtures("lent_to_few")

BODY = random.Random(2).randbytes(16 * MIB)
BLOCK_SIZE = 100_000
BLOCKS = [BODY[start : start + BLOCK_SIZE] for start in range(0, len(BODY), BLOCK_SIZE)]


class Loans:
    """What was sent by lent sockets."""

    def __init__(self) -> None:
        self.size = 0
        self.threads: set[int] = set()
        """Those that have sent."""
        self.was_refused = threading.Event()
        """A client has not taken all that it was sent."""


@pytest.fixture(autouse=True)
def loans(monkeypatch: pytest.MonkeyPatch) -> Loans:
    loans = Loans()
    send = LentOutput.send

    def note(self: LentOutput, data: bytes | memoryview) -> int:
        size = send(self, data)
        loans.size += size
        loans.threads.add(threading.get_ident())
        if size < len(data):
            loans.was_refused.set()
        return size

    monkeypatch.setattr(LentOutput, "send", note)
    return loans


def until_held_up(server: LiveServer, loans: Loans) -> None:
    """Wait until the client, which reads nothing, holds up its response, whoever sends that."""

    def is_held_up() -> bool:
        exchanges = list(server.server._dispatcher.exchanges)
        return loans.was_refused.is_set() or any(each.waits_until_writable for each in exchanges)

    until(server, is_held_up)


class Streams:
    """Streams the body in blocks; remembers what that has raised."""

    def __init__(self, *headers: tuple[str, str], by_write: bool = False) -> None:
        self._headers = [("Content-Type", "application/octet-stream"), *headers]
        self._by_write = by_write
        self.error: BaseException | None = None
        self.has_ended = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", self._headers)
        if self._by_write:
            for block in BLOCKS:
                write(block)
            return []
        return self._blocks()

    def _blocks(self) -> Iterator[bytes]:
        try:
            yield from BLOCKS
        except BaseException as error:
            self.error = error
            raise
        finally:
            self.has_ended.set()


@pytest.mark.parametrize("by_write", [False, True], ids=["iterated", "written"])
@pytest.mark.parametrize(
    "headers", [[], [("Content-Length", str(len(BODY)))]], ids=["chunks", "length"]
)
def test_responses_and_what_follows_them_arrive_whole(
    serve: Serve,
    client_of: ClientOf,
    where: dict[str, Any],
    headers: list[tuple[str, str]],
    by_write: bool,
    loans: Loans,
) -> None:
    server = serve(Streams(*headers, by_write=by_write), **where)
    client = client_of(server)
    come_round(server)
    before = sockets()
    for _ in range(3):
        client.request()
    assert [client.reply().body == BODY for _ in range(3)] == [True] * 3
    until(server, lambda: sockets() == before)
    assert loans.size > len(BODY)  # most of the 48 MiB went so


def test_a_response_that_its_end_delimits_is_whole(
    serve: Serve, client_of: ClientOf, loans: Loans
) -> None:
    client = client_of(serve(Streams()))
    client.send(b"GET / HTTP/1.0\r\n\r\n")
    assert client.reply().body == BODY
    assert loans.size > 0


def test_its_size_in_the_log_is_that_of_all_that_was_sent(
    serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture, loans: Loans
) -> None:
    caplog.set_level(logging.INFO, "asyncwsgi.access")
    server = serve(Streams(("Content-Length", str(len(BODY)))), access_log=True)
    assert client_of(server).get().body == BODY
    server.close()
    (size,) = [record.__dict__["size"] for record in caplog.records if "size" in record.__dict__]
    assert len(BODY) < size < len(BODY) + 1000
    assert loans.size > 0


@pytest.mark.parametrize("way", ["TLS", "a connection that sees what is sent", "an event stream"])
def test_nothing_is_lent_where_somebody_else_has_to_see_the_bytes(
    serve: Serve, way: str, loans: Loans, authority: Authority
) -> None:
    class Seeing(HttpConnection):
        def write(self, data: bytes | memoryview) -> bool:
            return super().write(data)

    class SeeingServer(Server):
        connection_class = Seeing

    headers = [("Cache-Control", "no-store")]
    app = Streams(*headers)
    if way.startswith("an event"):
        app._headers = [("Content-Type", "text/event-stream")]
    server = serve(
        app,
        server_class=SeeingServer if way.startswith("a conn") else Server,
        tls=authority if way == "TLS" else False,
    )
    tls = authority.client_context() if way == "TLS" else None
    with connect(server.addresses[0], tls=tls) as client:
        assert client.get().body == BODY
    assert loans.size == 0


def test_a_client_that_pauses_gets_the_rest_when_it_reads_on(
    serve: Serve, client_of: ClientOf, loans: Loans
) -> None:
    server = serve(Streams())
    client = client_of(server)
    client.request()
    until_held_up(server, loans)
    assert client.reply().body == BODY


def test_a_client_that_reads_no_more_is_cut_after_send_timeout(
    serve: Serve, client_of: ClientOf, loans: Loans, clock: Clock
) -> None:
    app = Streams()
    server = serve(app, send_timeout=60.0)
    client = client_of(server)
    client.request()
    until_held_up(server, loans)
    until(server, lambda: passed(clock, server, 61.0) and app.has_ended.is_set())
    assert isinstance(app.error, ClientDisconnected | GeneratorExit)


@leavings
def test_who_leaves_in_the_middle_is_missed_and_leaves_nothing_open(
    serve: Serve, loans: Loans, leave: Callable[[Client], None]
) -> None:
    app = Streams()
    server = serve(app)
    before = sockets()
    client = connect(server.addresses[0])
    client.request()
    until_held_up(server, loans)
    leave(client)
    client.close()
    wait_for(app.has_ended)
    until(server, lambda: sockets() == before)


def test_a_stop_that_cuts_ends_who_sends(
    serve: Serve, client_of: ClientOf, loans: Loans, patience: None
) -> None:
    app = Streams()
    server = serve(app, graceful_timeout=0)
    client = client_of(server)
    client.request()
    until_held_up(server, loans)
    with contextlib.suppress(HungApplication):  # which is how it came to be cut
        server.close()
    assert app.has_ended.is_set()


def test_a_stop_cuts_what_a_client_reads_and_reads(
    serve: Serve, loans: Loans, patience: None
) -> None:
    def endless(environ: dict[str, Any], start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        while True:
            yield BLOCKS[0]

    server = serve(endless, graceful_timeout=0)
    with connect(server.addresses[0]) as client:
        client.request()
        reader = threading.Thread(target=read_all, args=[client])
        reader.start()
        until(server, lambda: loans.size > len(BODY))
        with contextlib.suppress(HungApplication):  # which is how it came to be cut
            server.close()
        reader.join()


def read_all(client: Client) -> None:
    with contextlib.suppress(OSError):
        while client.sock.recv(MIB):
            pass


def test_the_loop_sends_what_it_iterates_itself(
    serve: Serve, client_of: ClientOf, loans: Loans
) -> None:
    async def more() -> AsyncIterator[bytes]:
        for block in BLOCKS:
            yield block

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", [("Content-Type", "application/octet-stream")])
        for block in BLOCKS:
            write(block)
        return asyncwsgi.stream(more())

    server = serve(app, validate=False)
    assert client_of(server).get().body == BODY + BODY
    assert loans.size > 0
    assert server.thread.ident not in loans.threads


def test_what_is_missing_shows_if_the_application_fails(
    serve: Serve, client_of: ClientOf, loans: Loans
) -> None:
    def fail(environ: dict[str, Any], start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        yield from BLOCKS
        raise ZeroDivisionError

    server = serve(fail)
    client = client_of(server)
    client.request()
    received = b""
    while data := client.sock.recv(MIB):
        received += data
    assert not received.endswith(b"0\r\n\r\n")
    come_round(server)
    assert loans.size > 0


def test_more_streams_than_threads_all_arrive(serve: Serve, loans: Loans) -> None:
    server = serve(Streams(), threads=2)
    whole: list[bool] = []

    def load() -> None:
        with connect(server.addresses[0]) as client:
            whole.append(client.get().body == BODY)

    threads = [threading.Thread(target=load) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert whole == [True] * 6
