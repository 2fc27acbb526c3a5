"""Who reads a large body reads most of it from the socket itself; nobody can tell."""

from __future__ import annotations

import contextlib
import hashlib
import random
import select
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import pytest

from asyncwsgi import Server
from asyncwsgi.errors import ClientDisconnected, RequestBodyError
from asyncwsgi.frontends.http import HttpConnection
from asyncwsgi.frontends.socket_loan import LentInput
from asyncwsgi.testing import Authority, HungApplication
from tests.client import TIMEOUT, Client, connect
from tests.conftest import Serve
from tests.http.helpers import (
    MIB,
    ClientOf,
    Clock,
    Gate,
    leavings,
    passed,
    sockets,
    until,
    wait_for,
)

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

BODY = random.Random(1).randbytes(8 * MIB)
HELD = 64 * 1024
"""Bytes that the loop collects before the application is called."""


class Loans:
    """What was read from lent sockets, and how many there were."""

    def __init__(self) -> None:
        self.size = 0
        self.count = 0
        self.has_waited = threading.Event()
        """Somebody has found nothing more in one."""
        self.has_ended = threading.Event()
        """The loop reads again."""


@pytest.fixture(autouse=True)
def loans(monkeypatch: pytest.MonkeyPatch) -> Loans:
    loans = Loans()
    read_into, wait, begin = LentInput.read_into, LentInput.wait, LentInput.__init__
    end = LentInput.end

    def note(self: LentInput, view: memoryview) -> int:
        size = read_into(self, view)
        loans.size += max(size, 0)
        return size

    def note_wait(self: LentInput) -> None:
        wait(self)
        loans.has_waited.set()

    def note_begin(self: LentInput, *args: int) -> None:
        begin(self, *args)
        loans.count += 1

    def note_end(self: LentInput) -> None:
        end(self)
        loans.has_ended.set()

    monkeypatch.setattr(LentInput, "end", note_end)
    monkeypatch.setattr(LentInput, "read_into", note)
    monkeypatch.setattr(LentInput, "wait", note_wait)
    monkeypatch.setattr(LentInput, "__init__", note_begin)
    return loans


def digest(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    """Answers with the body's hash, and how often it has read."""
    digest = hashlib.sha256()
    while block := environ["wsgi.input"].read(50_000):
        digest.update(block)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [digest.hexdigest().encode()]


DIGEST = hashlib.sha256(BODY).hexdigest().encode()


def test_a_body_and_the_requests_behind_it_arrive_whole(
    serve: Serve, client_of: ClientOf, where: dict[str, Any], loans: Loans
) -> None:
    client = client_of(serve(digest, body_buffer_size=HELD, **where))
    requests = b"".join(
        [
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(BODY),
            BODY,
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ]
    )
    sender = threading.Thread(target=client.send, args=[requests * 3])
    sender.start()
    empty = hashlib.sha256(b"").hexdigest().encode()
    assert [client.reply().body for _ in range(6)] == [DIGEST, empty] * 3
    sender.join()
    assert loans.size > len(BODY)  # most of the 24 MiB came so


def test_a_live_server_of_a_test_has_the_body_though_it_went_another_way(
    serve: Serve, client_of: ClientOf, loans: Loans
) -> None:
    server = serve(digest, body_buffer_size=HELD, recorded_body_size=len(BODY))
    assert client_of(server).post(body=BODY).body == DIGEST
    (request,) = server.requests
    assert request.body == BODY
    assert loans.size > 0


@pytest.mark.parametrize("way", ["TLS", "chunks", "a connection that sees what it is sent"])
def test_nothing_is_lent_where_somebody_else_has_to_see_the_bytes(
    serve: Serve, way: str, loans: Loans, authority: Authority
) -> None:
    class Seeing(HttpConnection):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)

    class SeeingServer(Server):
        connection_class = Seeing

    server = serve(
        digest,
        server_class=SeeingServer if way.startswith("a conn") else Server,
        body_buffer_size=HELD,
        stream_chunked_bodies=True,
        tls=authority if way == "TLS" else False,
    )
    tls = authority.client_context() if way == "TLS" else None
    with connect(server.addresses[0], tls=tls) as client:
        if way == "chunks":
            client.request("POST", "/", None, Transfer_Encoding="chunked")
            client.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY))
            assert client.reply().body == DIGEST
        else:
            assert client.post(body=BODY).body == DIGEST
    assert loans.count == 0


def test_a_client_that_pauses_is_waited_for_by_the_loop(
    serve: Serve, client_of: ClientOf, loans: Loans, clock: Clock
) -> None:
    server = serve(digest, body_buffer_size=HELD, body_timeout=30.0)
    client = client_of(server)
    client.request("POST", Content_Length=str(len(BODY)))
    client.send(BODY[: 2 * MIB])
    wait_for(loans.has_ended)
    client.send(BODY[2 * MIB :])  # and so the loop reads on
    assert client.reply().body == DIGEST
    assert loans.size > 0


def test_a_client_that_stops_is_told_so_after_body_timeout(
    serve: Serve, client_of: ClientOf, loans: Loans, clock: Clock
) -> None:
    server = serve(digest, body_buffer_size=HELD, body_timeout=30.0)
    client = client_of(server)
    client.request("POST", Content_Length=str(len(BODY)))
    client.send(BODY[: 2 * MIB])
    wait_for(loans.has_waited)
    # The first look that finds somebody waiting begins the deadline.
    until(
        server,
        lambda: passed(clock, server, 31.0) and bool(select.select([client.sock], [], [], 0)[0]),
    )
    assert client.reply().status == 408


class Remembers:
    """Reads all of the body, and remembers how that ended."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.has_ended = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        try:
            while environ["wsgi.input"].read(50_000):
                pass
        except BaseException as error:
            self.error = error
            raise
        finally:
            self.has_ended.set()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return []


@leavings
def test_who_leaves_in_the_middle_is_missed_and_leaves_nothing_open(
    serve: Serve, client_of: ClientOf, loans: Loans, leave: Callable[[Client], None]
) -> None:
    app = Remembers()
    server = serve(app, body_buffer_size=HELD)
    other = client_of(server)
    other.post(body=b"")  # what a first request opens is open
    app.has_ended.clear()
    before = sockets()
    client = client_of(server)
    client.request("POST", Content_Length=str(len(BODY)))
    client.send(BODY[: 2 * MIB])
    wait_for(loans.has_waited)
    leave(client)
    wait_for(app.has_ended)
    assert isinstance(app.error, RequestBodyError | ClientDisconnected)
    until(server, lambda: sockets() == before)
    assert loans.size > 0


def test_who_leaves_while_nobody_reads_leaves_nothing_open(
    serve: Serve, client_of: ClientOf, loans: Loans, clock: Clock
) -> None:
    gate = Gate(digest)
    server = serve(gate, body_buffer_size=HELD)
    before = sockets()
    client = client_of(server)
    client.request("POST", "/held", None, Content_Length=str(len(BODY)))
    client.send(BODY[:MIB])
    gate.wait_until_entered()
    client.reset()
    until(server, lambda: passed(clock, server, 1.0) and sockets() == before)
    gate.open()
    assert loans.count == 1


def has_input(client: Client) -> bool:
    return bool(select.select([client.sock], [], [], 0)[0])


def first_byte(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    body = environ["wsgi.input"].read(1)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "1")])
    return [body]


def some(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    """Reads a part of the body that is held no more, and so comes from the socket."""
    size = len(environ["wsgi.input"].read(MIB))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % size]


@pytest.mark.parametrize(("app", "answer"), [(first_byte, BODY[:1]), (some, b"%d" % MIB)])
def test_what_nobody_has_read_is_read_behind_the_response(
    serve: Serve, client_of: ClientOf, loans: Loans, app: Any, answer: bytes
) -> None:
    client = client_of(serve(app, body_buffer_size=HELD, drain_size=len(BODY)))
    for _ in range(3):
        assert client.post(body=BODY).body == answer
    assert loans.count >= 3


def test_beyond_drain_size_the_connection_is_closed_behind_a_whole_response(
    serve: Serve, client_of: ClientOf, loans: Loans
) -> None:
    client = client_of(serve(some, body_buffer_size=HELD, drain_size=MIB))
    client.request("POST", "/", BODY)
    assert client.reply().body == b"%d" % MIB
    assert client.is_closed()
    assert loans.size > 0


def test_a_stop_that_cuts_ends_a_reader_in_the_middle(
    serve: Serve, client_of: ClientOf, loans: Loans, patience: None
) -> None:
    app = Remembers()
    server = serve(app, body_buffer_size=HELD, graceful_timeout=0)
    client = client_of(server)
    client.request("POST", Content_Length=str(len(BODY)))
    client.send(BODY[: 2 * MIB])
    wait_for(loans.has_waited)
    with contextlib.suppress(HungApplication):  # which is how it came to be cut
        server.close()
    assert isinstance(app.error, ClientDisconnected)


def test_more_uploads_than_threads_all_arrive(serve: Serve, loans: Loans) -> None:
    server = serve(digest, body_buffer_size=HELD, threads=2, queue_size=100)
    answers: list[bytes] = []

    def upload() -> None:
        with connect(server.addresses[0]) as client:
            answers.append(client.post(body=BODY).body)

    threads = [threading.Thread(target=upload) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert answers == [DIGEST] * 8
