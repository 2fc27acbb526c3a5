"""Requests that the server answers itself: the status, one line in the log that says why, the end.

Which bytes are malformed is the parser's affair (see tests/http1); here it is what becomes of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from tests.apps import echo
from tests.client import TIMEOUT, Client, Reply
from tests.conftest import Serve
from tests.http.helpers import (
    MIB,
    ClientOf,
    Gate,
    Paths,
    counting_submissions,
    listen,
    messages,
    watched,
)
from tests.http.wire import CHUNKED, LAST_CHUNK, SIZED, bytewise, chunk, whole
from tests.server.helpers import FOREVER

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

Feed = Callable[[Client, bytes], None]

# A ClientHello as openssl begins one.
TLS = b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + bytes(range(32)) + b"\r\n\r\n" * 30

TABLE = [
    pytest.param(b"spam\r\n\r\n", {}, 400, "illegal request line: 'spam'", id="no request"),
    pytest.param(b"GET / HTTP/1.1\r\n\r\n", {}, 400, "Host", id="no Host"),
    pytest.param(
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", {}, 400, "malformed Host", id="malformed Host"
    ),
    pytest.param(
        b"GET spam HTTP/1.1\r\nHost: test\r\n\r\n",
        {}, 400, "request target", id="a relative target",
    ),
    pytest.param(
        b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: +5\r\n\r\nspam\n",
        {}, 400, "Content-Length", id="a length that is no number",
    ),
    pytest.param(
        CHUNKED + b"spam\r\nspam\r\n", {}, 400, "malformed request body", id="a malformed chunk"
    ),
    pytest.param(
        SIZED % 11, {"max_body_size": 10}, 413, "request body of 11 bytes, at most 10",
        id="a long body",
    ),
    pytest.param(
        SIZED % (10**20 - 1), {"max_body_size": 10}, 413, "at most 10", id="a length beyond 64 bits"
    ),
    pytest.param(
        CHUNKED + b"b\r\nspam and eg\r\n0\r\n\r\n",
        {"max_body_size": 10}, 413, "request body of more than 10 bytes", id="a long chunked body",
    ),
    pytest.param(
        b"GET /0123456789 HTTP/1.1\r\nHost: test\r\n\r\n",
        {"max_target_size": 10}, 414, "request target too long: 11 bytes, at most 10",
        id="a long target",
    ),
    pytest.param(
        b"GET /" + b"0" * 300,
        {"max_head_size": 256}, 414, "request line too long", id="a request line without end",
    ),
    pytest.param(
        b"GET / HTTP/1.1\r\nHost: test\r\nA: 1\r\nB: 2\r\n\r\n",
        {"max_headers": 2}, 431, "request head too large: 3 lines, at most 2", id="many headers",
    ),
    pytest.param(
        b"GET / HTTP/1.1\r\nHost: test\r\nA: " + b"0" * 300 + b"\r\n\r\n",
        {"max_head_size": 256}, 431, "request head too large", id="a long head",
    ),
    pytest.param(
        b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: gzip\r\n\r\n",
        {}, 501, "Transfer-Encoding 'gzip' is not served", id="a transfer coding",
    ),
    pytest.param(
        b"CONNECT test:443 HTTP/1.1\r\nHost: test\r\n\r\n", {}, 501, "CONNECT", id="CONNECT"
    ),
    pytest.param(
        b"GET / HTTP/2.0\r\nHost: test\r\n\r\n", {}, 505, "HTTP/2.0 is not served", id="HTTP/2.0"
    ),
]  # fmt: skip

PEER = r"127\.0\.0\.1:[0-9]+"


def check_refusal(reply: Reply, records: list[Any], status: int, reason: str) -> None:
    """Check the reply, and that the log has one line that says who, what and why."""
    assert (reply.status, reply.header("Connection")) == (status, "close")
    assert reply.body.startswith(b"%d " % status)
    assert [record.name for record in records] == ["asyncwsgi.server"]
    line = messages(records)[0]
    assert re.match(f"{PEER} refused with {status}: ", line)
    assert reason in line
    assert "traceback" not in line


@pytest.mark.parametrize("feed", [whole, bytewise])
@pytest.mark.parametrize(("sent", "options", "status", "reason"), TABLE)
def test_it_is_refused_and_the_application_is_never_called(
    serve: Serve,
    client_of: ClientOf,
    caplog: pytest.LogCaptureFixture,
    sent: bytes,
    options: dict[str, Any],
    status: int,
    reason: str,
    feed: Feed,
) -> None:
    app = Paths()
    client = client_of(serve(app, **options))
    listen(caplog)
    feed(client, sent)
    reply = client.reply()
    assert client.is_closed()
    check_refusal(reply, caplog.records, status, reason)
    assert app.calls == []


def test_tls_on_a_plain_port_is_told_apart(
    serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    client = client_of(serve(Paths()))
    listen(caplog)
    client.send(TLS)
    reply = client.reply()
    assert client.is_closed()
    check_refusal(reply, caplog.records, 400, "TLS handshake on a plain HTTP listener")


@pytest.mark.parametrize(
    "body",
    [SIZED % 10 + b"spam, eggs", CHUNKED + chunk(b"spam, eggs") + LAST_CHUNK],
    ids=["with a length", "in chunks"],
)
def test_a_body_of_the_largest_size_is_served(
    serve: Serve, client_of: ClientOf, body: bytes
) -> None:
    client = client_of(serve(echo, max_body_size=10))
    client.send(body)
    assert client.reply().body == b"spam, eggs"


def test_a_refused_client_that_sends_on_sees_the_whole_answer(
    serve: Serve, client_of: ClientOf
) -> None:
    # RFC 9112 9.6: a reset, because bytes came that nobody read, could overtake the answer.
    client = client_of(serve(Paths(), max_body_size=10))
    client.request("POST", "/", b"x" * 8 * MIB)
    assert client.reply().status == 413
    assert client.is_closed()


def test_the_next_connection_is_served(serve: Serve, client_of: ClientOf) -> None:
    server = serve(Paths())
    client = client_of(server)
    client.send(TLS)
    assert client.reply().status == 400
    assert client_of(server).get("/next").body == b"/next"


def read_all(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    environ["wsgi.input"].read(-1)
    raise AssertionError("the body was taken for complete")


def swallow(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    """Has an answer of its own for a body that cannot be read."""
    try:
        environ["wsgi.input"].read(-1)
    except OSError as error:
        start_response("422 Unprocessable Content", [("Content-Type", "text/plain")])
        return [str(error).encode()]
    raise AssertionError("the body was taken for complete")


def reply_to_body_in_two_parts(client: Client, gate: Gate, rest: bytes) -> Reply:
    """The reply to a request whose `rest` comes when the application waits for it."""
    client.request("POST", "/held", Transfer_Encoding="chunked")
    client.send(chunk(b"x"))
    gate.wait_until_entered()
    gate.open()
    client.send(rest)
    return client.reply()


class TestWhileTheApplicationReads:
    """A body turns out to be bad when the application has begun to read it."""

    CASES = pytest.mark.parametrize(
        ("rest", "status", "reason"),
        [
            pytest.param(
                b"b\r\nspam and eg\r\n", 413, "request body of more than 10 bytes", id="too large"
            ),
            pytest.param(b"spam\r\n", 400, "malformed request body", id="malformed"),
        ],
    )

    @CASES
    def test_the_read_fails_and_the_client_is_told(
        self,
        serve: Serve,
        client_of: ClientOf,
        caplog: pytest.LogCaptureFixture,
        rest: bytes,
        status: int,
        reason: str,
    ) -> None:
        gate = Gate(read_all)
        client = client_of(
            serve(gate, body_buffer_size=1, max_body_size=10, stream_chunked_bodies=True)
        )
        listen(caplog)
        reply = reply_to_body_in_two_parts(client, gate, rest)
        assert (reply.status, reply.header("Connection")) == (status, "close")
        assert client.is_closed()
        (line,) = messages(caplog.records)
        assert line.startswith(f"POST /held: {reason}")
        assert "traceback" not in line

    @CASES
    def test_the_application_may_answer_itself(
        self,
        serve: Serve,
        client_of: ClientOf,
        caplog: pytest.LogCaptureFixture,
        rest: bytes,
        status: int,  # what it would have been
        reason: str,
    ) -> None:
        gate = Gate(swallow)
        client = client_of(
            serve(gate, body_buffer_size=1, max_body_size=10, stream_chunked_bodies=True)
        )
        listen(caplog)
        reply = reply_to_body_in_two_parts(client, gate, rest)
        assert reply.status == 422
        assert reply.body.startswith(reason.encode())
        assert client.is_closed()
        assert messages(caplog.records) == []


class TestTooBusy:
    def test_a_connection_too_many_is_refused(
        self, serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
    ) -> None:
        server = serve(Paths(), max_connections=1)
        listen(caplog)
        first = client_of(server)
        assert first.get("/first").status == 200
        second = client_of(server)
        reply = second.reply()
        assert second.is_closed()
        check_refusal(reply, caplog.records, 503, "raise max_connections")
        assert reply.header("Retry-After") == "1"
        assert first.get("/again").body == b"/again"

    def test_a_connection_that_ended_makes_room(self, serve: Serve, client_of: ClientOf) -> None:
        server = serve(Paths(), max_connections=1)
        first = client_of(server)
        assert first.get(Connection="close").status == 200
        assert first.is_closed()
        assert client_of(server).get("/next").body == b"/next"

    def test_who_was_refused_and_does_not_leave_takes_nobodys_place(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        server_class, lost = watched()
        server = serve(Paths(), server_class=server_class, max_connections=1, drain_timeout=FOREVER)
        first = client_of(server)
        assert first.get("/first").status == 200
        for _ in range(3):  # they linger until the test is over
            assert client_of(server).reply().status == 503
        first.close()
        assert lost.wait(TIMEOUT)
        assert client_of(server).get("/next").body == b"/next"

    def test_a_request_too_many_is_refused(
        self,
        serve: Serve,
        client_of: ClientOf,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("asyncwsgi.requests.saturation.PATIENCE", TIMEOUT)
        gate = Gate()
        server_class, submitted = counting_submissions()
        server = serve(gate, server_class=server_class, threads=1, queue_size=1)
        listen(caplog)
        clients = [client_of(server) for _ in range(2)]
        for client in clients:
            client.request(target="/held")
            assert submitted.acquire(timeout=TIMEOUT)
        third = client_of(server)
        reply = third.get("/held")
        assert third.is_closed()
        gate.open()
        assert [client.reply().status for client in clients] == [200, 200]
        check_refusal(reply, caplog.records, 503, "raise threads or queue_size")
        assert reply.header("Retry-After") == "1"
