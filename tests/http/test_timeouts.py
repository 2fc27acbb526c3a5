"""Clients that are slow or silent.

Where a deadline shall pass, it is small and the client waits for the reply; where something has to
come before it, the clock is the test's.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Any

import pytest

from asyncwsgi import Server
from asyncwsgi.errors import RequestRefused
from asyncwsgi.frontends.http import HttpConnection
from tests.apps import echo
from tests.client import TIMEOUT
from tests.conftest import Serve
from tests.http.helpers import (
    MIB,
    TURNS,
    Blocks,
    ClientOf,
    Clock,
    Gate,
    Paths,
    come_round,
    listen,
    messages,
    watched,
)

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

BRIEF = 0.1
"""For deadlines that the test wants to pass."""
AMPLE = 10.0
"""For deadlines that pass on the test's clock."""


class TestHead:
    def test_a_head_that_does_not_come_is_refused_with_408(
        self, serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
    ) -> None:
        app = Paths()
        client = client_of(serve(app, head_timeout=BRIEF))
        listen(caplog)
        client.send(b"GET / HTTP/1.1\r\nHost: te")
        reply = client.reply()
        assert (reply.status, reply.header("Connection")) == (408, "close")
        assert client.is_closed()
        (line,) = messages(caplog.records)
        assert "refused with 408: no request head within 0.1 s" in line
        assert app.calls == []

    def test_bytes_that_trickle_in_do_not_extend_it(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        # Slowloris: one deadline for the whole head, not one per read.
        client = client_of(serve(Paths(), head_timeout=BRIEF))
        client.send(b"GET / HTTP/1.1\r\nHost: ")
        trickled = 0
        while not select.select([client.sock], [], [], BRIEF / 10)[0]:
            client.send(b"x")
            trickled += 1
            assert trickled < 1000, "the head was waited for for ever"
        assert client.reply().status == 408

    def test_the_head_behind_a_request_has_its_time_too(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        client = client_of(serve(Paths(), head_timeout=BRIEF))
        client.send(b"GET /first HTTP/1.1\r\nHost: test\r\n\r\nGET /sec")
        assert [client.reply().status for _ in range(2)] == [200, 408]
        assert client.is_closed()


class TestBody:
    def test_a_body_that_does_not_come_is_refused_with_408(
        self, serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
    ) -> None:
        app = Paths()
        client = client_of(serve(app, body_timeout=BRIEF))
        listen(caplog)
        client.request("POST", Content_Length="9")
        client.send(b"spam")
        reply = client.reply()
        assert (reply.status, reply.header("Connection")) == (408, "close")
        assert client.is_closed()
        (line,) = messages(caplog.records)
        assert "refused with 408: no byte of the request body for 0.1 s" in line
        assert app.calls == []

    def test_a_body_that_the_application_waits_for_fails_its_read_with_408(
        self, serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
    ) -> None:
        client = client_of(serve(echo, body_buffer_size=1, body_timeout=BRIEF))
        listen(caplog)
        client.request("POST", "/upload", b"spam", Content_Length="9")
        reply = client.reply()
        assert (reply.status, reply.header("Connection")) == (408, "close")
        assert client.is_closed()
        assert messages(caplog.records) == [
            "POST /upload: no byte of the request body for 0.1 s"
        ]  # fmt: skip

    def test_a_client_that_never_goes_on_after_a_100_times_out(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        client = client_of(serve(echo, body_timeout=BRIEF))
        client.request("POST", Content_Length="4", Expect="100-continue")
        assert client.reply().status == 408
        assert client.is_closed()

    def test_bytes_that_trickle_in_extend_it(
        self, serve: Serve, client_of: ClientOf, clock: Clock
    ) -> None:
        # The measure is progress: a slow uploader costs no thread, and may be honest.
        server = serve(echo, body_timeout=AMPLE)
        client = client_of(server)
        client.request("POST", Content_Length="24")
        for _ in range(24):  # half as long again as one deadline
            client.send(b"x")
            clock.pass_time(server, AMPLE / 16)
        assert client.reply().body == b"x" * 24

    @pytest.mark.parametrize("expect", [{}, {"Expect": "100-continue"}], ids=["plain", "expecting"])
    def test_a_body_that_nobody_waits_for_has_no_deadline(
        self, serve: Serve, client_of: ClientOf, clock: Clock, expect: dict[str, str]
    ) -> None:
        gate = Gate(echo)
        server = serve(gate, body_buffer_size=1, body_timeout=AMPLE)
        client, other = client_of(server), client_of(server)
        client.request("POST", "/held", b"spam", Content_Length="8", **expect)
        gate.wait_until_entered()
        other.request("POST", "/other", Content_Length="8")
        for _ in range(3):
            clock.pass_time(server, AMPLE / 2)
        assert other.reply().status == 408
        client.send(b"eggs")
        gate.open()
        assert client.reply().body == b"spameggs"


@pytest.mark.parametrize("count", [1, 8])
def test_a_hook_that_fails_at_a_deadline_spares_no_one(
    serve: Serve, client_of: ClientOf, clock: Clock, count: int
) -> None:
    class FailingConnection(HttpConnection):
        def request_refused(self, refused: RequestRefused) -> None:
            raise RuntimeError("disk full")

    class FailingServer(Server):
        connection_class = FailingConnection

    server = serve(Paths(), server_class=FailingServer, head_timeout=AMPLE)
    clients = [client_of(server) for _ in range(count)]
    for client in clients:
        client.send(b"GET / HTTP/1.1\r\nHost: te")
    clock.pass_time(server, AMPLE)
    assert [client.reply().status for client in clients] == [408] * count


def test_a_deadline_is_measured_from_when_it_begins(
    serve: Serve, client_of: ClientOf, clock: Clock
) -> None:
    # And not from the last look at deadlines: it would be shorter by what has passed since.
    server = serve(Paths(), head_timeout=AMPLE, keep_alive_timeout=10 * AMPLE)
    client = client_of(server)
    assert client.get().status == 200
    server.wait_for_request()
    clock.pass_time(server, 0.0)
    clock.let_pass(AMPLE * 0.9)
    client.send(b"GET / HTTP/1.1\r\nHost: ")
    clock.pass_time(server, AMPLE * 0.9)
    client.send(b"test\r\n\r\n")
    assert client.reply().status == 200


class TestIdle:
    def test_a_connection_that_never_says_anything_is_closed_without_a_word(
        self, serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
    ) -> None:
        client = client_of(serve(Paths(), keep_alive_timeout=BRIEF))
        listen(caplog)
        assert client.is_closed()
        assert messages(caplog.records) == []

    def test_a_kept_connection_is_closed_without_a_word(
        self,
        serve: Serve,
        client_of: ClientOf,
        clock: Clock,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        server = serve(Paths(), keep_alive_timeout=AMPLE)
        client = client_of(server)
        listen(caplog)
        assert client.get().status == 200
        server.wait_for_request()
        clock.pass_time(server, AMPLE)
        assert client.is_closed()
        assert messages(caplog.records) == []

    def test_a_request_that_takes_longer_is_not_idle(
        self, serve: Serve, client_of: ClientOf, clock: Clock
    ) -> None:
        gate = Gate()
        server = serve(gate, keep_alive_timeout=AMPLE)
        client, idle = client_of(server), client_of(server)
        client.request(target="/held")
        gate.wait_until_entered()
        clock.pass_time(server, AMPLE)
        assert idle.is_closed()
        gate.open()
        assert client.reply().body == b"/held"
        server.wait_for_request()
        clock.pass_time(server, AMPLE)
        assert client.is_closed()


class TestSend:
    def test_a_client_that_never_reads_is_cut_and_the_iterable_closed(
        self, serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
    ) -> None:
        app = Blocks(64 * MIB)
        server_class, lost = watched()
        client = client_of(serve(app, server_class=server_class, send_timeout=BRIEF))
        listen(caplog)
        client.request()
        assert lost.wait(TIMEOUT), "the client was never cut"
        assert app.was_closed.wait(TIMEOUT), "the worker thread was never released"
        assert app.closings == 1
        (line,) = messages(caplog.records)
        assert line.endswith("reads nothing for 0.1 s; cut")

    def test_a_client_that_reads_slowly_is_not_cut(
        self, serve: Serve, client_of: ClientOf, clock: Clock
    ) -> None:
        total = 64 * MIB
        app = Blocks(total)
        server = serve(app, send_timeout=AMPLE)
        client = client_of(server)
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        received = 0
        for _ in range(24):  # half as long again as one deadline
            received += len(client.read(MIB))
            produced = turns = 0
            while turns < TURNS:  # until the server waits for the client again
                come_round(server)
                turns = turns + 1 if app.produced == produced else 0
                produced = app.produced
            clock.pass_time(server, AMPLE / 16)
        received += len(client.read_all())
        assert received > total

    def test_a_refused_client_that_does_not_leave_is_cut(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        server_class, lost = watched()
        client = client_of(serve(Paths(), server_class=server_class, drain_timeout=BRIEF))
        client.send(b"spam\r\n\r\n")
        assert lost.wait(TIMEOUT), "the connection lingers for ever"

    def test_a_response_that_the_application_is_done_with_is_cut_too(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        body = b"x" * 16 * MIB

        def large(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [body]

        server_class, lost = watched()
        server = serve(
            large, server_class=server_class, send_timeout=BRIEF, response_buffer_size=64 * MIB
        )
        client = client_of(server)
        client.request(Connection="close")
        assert lost.wait(TIMEOUT), "the client was never cut"
