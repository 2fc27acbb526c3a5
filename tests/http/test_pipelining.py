"""Requests sent without waiting for the answers (RFC 9112 9.3.2)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import pytest

from tests.apps import echo, hello
from tests.client import TIMEOUT, Client
from tests.conftest import Serve
from tests.http.helpers import (
    MIB,
    TURNS,
    ClientOf,
    Clock,
    Gate,
    Paths,
    fill,
    messages,
    nothing_came,
    watched,
)
from tests.http.wire import CHUNKED, LAST_CHUNK, SIZED, bytewise, chunk, get, whole

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

pytestmark = pytest.mark.usefixtures("lent_to_few")

Feed = Callable[[Client, bytes], None]

feedings = pytest.mark.parametrize("feed", [whole, bytewise])


@feedings
def test_pipelined_requests_are_answered_in_order(
    serve: Serve, client_of: ClientOf, feed: Feed
) -> None:
    app = Paths()
    client = client_of(serve(app))
    targets = [f"/{n}" for n in range(20)]
    feed(client, b"".join(map(get, targets)))
    assert [client.reply().body.decode() for _ in targets] == targets
    assert app.calls == [f"GET {target}" for target in targets]


def test_500_requests_in_one_segment_are_answered_in_order(
    serve: Serve, client_of: ClientOf
) -> None:
    client = client_of(serve(Paths()))
    targets = [f"/{n}" for n in range(500)]
    client.send(b"".join(map(get, targets)))
    assert [client.reply().body.decode() for _ in targets] == targets
    assert client.get("/again").body == b"/again"


@feedings
def test_bodies_of_pipelined_requests_go_to_their_own_requests(
    serve: Serve, client_of: ClientOf, feed: Feed
) -> None:
    client = client_of(serve(echo))
    sized = SIZED % 4 + b"spam"
    chunked = CHUNKED + chunk(b"eg ") + chunk(b"gs") + LAST_CHUNK
    feed(client, sized + chunked + get("/") + sized)
    assert [client.reply().body for _ in range(4)] == [b"spam", b"eg gs", b"", b"spam"]


def test_empty_lines_between_requests_are_skipped(serve: Serve, client_of: ClientOf) -> None:
    # RFC 9112 2.2: a server SHOULD ignore at least one empty line before the request line.
    client = client_of(serve(Paths()))
    client.send(b"\r\n" + get("/one") + b"\r\n\r\n" + get("/two"))
    assert [client.reply().body for _ in range(2)] == [b"/one", b"/two"]


def test_one_request_of_a_connection_runs_at_a_time(serve: Serve, client_of: ClientOf) -> None:
    gate = Gate()
    server = serve(gate, threads=4)
    client, other = client_of(server), client_of(server)
    client.send(get("/held/1") + get("/held/2"))
    gate.wait_until_entered()
    assert nothing_came(client, other.get)
    assert not gate.entered.acquire(blocking=False), "the second request did not wait"
    gate.open()
    assert [client.reply().body for _ in range(2)] == [b"/held/1", b"/held/2"]


def test_a_bad_request_is_refused_only_after_the_answers_before_it(
    serve: Serve, client_of: ClientOf
) -> None:
    gate = Gate()
    server = serve(gate)
    client, other = client_of(server), client_of(server)
    client.send(get("/held") + b"spam\r\n\r\n" + get("/never"))
    gate.wait_until_entered()
    assert nothing_came(client, other.get)
    gate.open()
    assert [client.reply().status for _ in range(2)] == [200, 400]
    assert client.is_closed()


def test_a_last_request_ends_the_pipeline(serve: Serve, client_of: ClientOf) -> None:
    app = Paths()
    client = client_of(serve(app))
    last = b"GET /last HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    client.send(get("/first") + last + get("/never"))
    assert [client.reply().body for _ in range(2)] == [b"/first", b"/last"]
    assert client.is_closed()
    assert app.calls == ["GET /first", "GET /last"]


def test_a_client_that_pipelines_without_end_is_no_longer_read(
    serve: Serve, client_of: ClientOf
) -> None:
    gate = Gate()
    server = serve(gate)
    client, other = client_of(server), client_of(server)
    client.send(get("/held"))
    gate.wait_until_entered()
    # What it takes is 64 KiB and one read of the loop; the rest is socket buffers.
    fill(client, get("/next") * 1000, other.get, limit=32 * MIB)
    client.reset()
    gate.open()


def test_a_client_whose_pipeline_had_to_wait_is_answered_to_the_end(
    serve: Serve, client_of: ClientOf
) -> None:
    gate = Gate()
    server = serve(gate)
    client, other = client_of(server), client_of(server)
    # Ten times what is read ahead.
    padded = get("/next").replace(b"Host", b"X-Padding: " + b"x" * 2000 + b"\r\nHost")
    client.send(get("/held"))
    gate.wait_until_entered()
    sender = threading.Thread(target=client.send, args=[padded * 400])
    sender.start()
    other.get()
    gate.open()
    bodies = [client.reply().body for _ in range(401)]
    sender.join()
    assert bodies == [b"/held"] + [b"/next"] * 400


class Large:
    """Answers with 64 KiB, which is little for one client and much for many requests at once."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/turn":
            return hello(environ, start_response)
        self.calls += 1
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"x" * 64 * 1024]


class TestAnswersThatNobodyReads:
    """A client that sends requests and does not read must not fill the memory."""

    COUNT = 400  # 25 MiB of answers, of which socket buffers take some

    def test_they_stop_the_pipeline_and_the_client_is_cut(
        self, serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
    ) -> None:
        app = Large()
        server_class, lost = watched()
        client = client_of(serve(app, server_class=server_class, send_timeout=0.2))
        client.send(get("/") * self.COUNT)
        assert lost.wait(TIMEOUT), "the client was never cut"
        assert app.calls * 64 * 1024 < 16 * MIB
        assert messages(caplog.records) == []

    def test_the_rest_is_answered_when_the_client_reads_on(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        app = Large()
        client = client_of(serve(app))
        client.send(get("/") * self.COUNT)
        assert [client.reply().status for _ in range(self.COUNT)] == [200] * self.COUNT
        assert app.calls == self.COUNT

    def test_the_rest_is_answered_to_a_client_that_shut_its_side(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        app = Large()
        server = serve(app)
        client, other = client_of(server), client_of(server)
        client.send(get("/") * self.COUNT)
        wait_until_held(app, lambda: other.get("/turn"))
        client.half_close()
        wait_until_held(app, lambda: other.get("/turn"))  # the end has come to the server
        assert [client.reply().status for _ in range(self.COUNT)] == [200] * self.COUNT
        assert client.is_closed()

    def test_a_client_with_requests_to_be_answered_is_not_idle(
        self, serve: Serve, client_of: ClientOf, clock: Clock
    ) -> None:
        app = Large()
        server = serve(app, keep_alive_timeout=5.0)
        client, other, idle = (client_of(server) for _ in range(3))
        client.send(get("/") * self.COUNT)
        wait_until_held(app, lambda: other.get("/turn"))
        for _ in range(2):
            clock.pass_time(server, 5.0)
        assert idle.is_closed()
        assert [client.reply().status for _ in range(self.COUNT)] == [200] * self.COUNT


def wait_until_held(app: Large, turn: Callable[[], object]) -> None:
    """Wait until the server's loop has come round many times without another call of `app`."""
    calls = turns = 0
    while turns < TURNS:
        turn()
        turns = turns + 1 if app.calls == calls else 0
        calls = app.calls
