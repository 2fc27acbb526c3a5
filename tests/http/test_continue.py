"""Expect: 100-continue (RFC 9110 10.1.1): asked for lazily, at the application's first read."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pytest

from tests.apps import echo, hello
from tests.client import TIMEOUT, Client
from tests.conftest import Serve
from tests.http.helpers import (
    TURNS,
    ClientOf,
    Gate,
    Paths,
    Reads,
    messages,
    nothing_came,
)

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

pytestmark = pytest.mark.usefixtures("lent_to_few")

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def expect(client: Client, target: str = "/", size: int = 4) -> None:
    """Send the head of a request whose body waits for a 100."""
    client.request("POST", target, Content_Length=str(size), Expect="100-continue")


def test_the_client_is_told_to_go_on_when_the_application_reads(
    serve: Serve, client_of: ClientOf
) -> None:
    gate = Gate(echo)
    server = serve(gate)
    client, other = client_of(server), client_of(server)
    expect(client, "/held")
    gate.wait_until_entered()
    assert nothing_came(client, other.get)
    gate.open()
    assert client.read(len(CONTINUE)) == CONTINUE
    client.send(b"spam")
    assert client.reply().body == b"spam"
    assert client.post(body=b"next").body == b"next"


def test_the_client_is_told_once(serve: Serve, client_of: ClientOf) -> None:
    def by_bytes(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
        body = [environ["wsgi.input"].read(1) for _ in range(4)]
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"-".join(body)]

    client = client_of(serve(by_bytes))
    expect(client)
    assert client.read(len(CONTINUE)) == CONTINUE
    client.send(b"sp")
    client.send(b"am")
    # http.client would pass over a second 100.
    assert client.read_line() == b"HTTP/1.1 200 OK\r\n"


def test_a_chunked_body_can_be_waited_for_too(serve: Serve, client_of: ClientOf) -> None:
    client = client_of(serve(echo))
    client.request("POST", Transfer_Encoding="chunked", Expect="100-Continue")
    assert client.read(len(CONTINUE)) == CONTINUE
    client.send(b"4\r\nspam\r\n0\r\n\r\n")
    assert client.reply().body == b"spam"


def test_a_client_that_does_not_wait_is_served(serve: Serve, client_of: ClientOf) -> None:
    client = client_of(serve(echo))
    client.request("POST", body=b"spam", Expect="100-continue")
    assert client.reply().body == b"spam"


def test_a_body_that_was_asked_for_and_read_in_part_keeps_the_connection(
    serve: Serve, client_of: ClientOf
) -> None:
    # After the 100 the rest is sure to come, so what follows it can be told from it.
    client = client_of(serve(Reads(lambda body: body.read(2))))
    expect(client)
    assert client.read(len(CONTINUE)) == CONTINUE
    client.send(b"sp")
    assert client.reply().header("Connection") is None
    client.send(b"am")
    assert client.get().status == 200


def test_a_body_that_is_not_read_gets_the_final_status_alone_and_the_connection_closes(
    serve: Serve, client_of: ClientOf
) -> None:
    # The client may or may not send the body now: nothing can follow.
    client = client_of(serve(hello))
    expect(client)
    assert client.read_line() == b"HTTP/1.1 200 OK\r\n"
    assert b"Connection: close\r\n" in client.read_all()


def test_a_body_that_was_never_asked_for_is_no_request(serve: Serve, client_of: ClientOf) -> None:
    app = Paths()
    body = b"GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n"
    client = client_of(serve(app))
    expect(client, "/upload", len(body))
    assert client.reply().body == b"/upload"
    client.send(body)
    assert client.is_closed()
    assert app.calls == ["POST /upload"]


def test_no_100_follows_the_beginning_of_a_response(serve: Serve, client_of: ClientOf) -> None:
    reads = threading.Event()

    def early(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"early "
        reads.set()
        yield environ["wsgi.input"].read(4)

    server = serve(early)
    client, other = client_of(server), client_of(server)
    expect(client)
    received = client.read_line()
    assert reads.wait(TIMEOUT)
    for _ in range(TURNS):
        other.get()
    client.send(b"spam")
    received += client.read_all()
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert received.endswith(b"\r\n\r\n6\r\nearly \r\n4\r\nspam\r\n0\r\n\r\n")
    assert b"100 Continue" not in received


def test_http_1_0_is_never_sent_a_100(serve: Serve, client_of: ClientOf) -> None:
    gate = Gate(echo)
    server = serve(gate)
    client, other = client_of(server), client_of(server)
    client.send(b"POST /held HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
    gate.open()
    assert nothing_came(client, other.get)
    client.send(b"spam")
    received = client.read_all()
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert received.endswith(b"\r\n\r\nspam")


def test_a_request_without_body_has_nothing_to_expect(serve: Serve, client_of: ClientOf) -> None:
    client = client_of(serve(echo))
    client.request("GET", Expect="100-continue")
    assert client.read_line() == b"HTTP/1.1 200 OK\r\n"


def test_the_100_waits_for_the_answers_before_it(serve: Serve, client_of: ClientOf) -> None:
    gate = Gate(echo)
    server = serve(gate)
    client, other = client_of(server), client_of(server)
    client.request(target="/held")
    expect(client)
    gate.wait_until_entered()
    assert nothing_came(client, other.get)
    gate.open()
    assert client.reply().body == b""
    assert client.read(len(CONTINUE)) == CONTINUE
    client.send(b"spam")
    assert client.reply().body == b"spam"


def test_a_body_announced_too_large_is_refused_without_a_100(
    serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    app = Paths()
    client = client_of(serve(app, max_body_size=3))
    expect(client)
    assert client.read_line().startswith(b"HTTP/1.1 413 ")
    assert client.read_all().endswith(b"\n")
    assert (app.calls, len(messages(caplog.records))) == ([], 1)


def test_an_expectation_nobody_knows_is_ignored(serve: Serve, client_of: ClientOf) -> None:
    # RFC 9110 10.1.1: MAY be answered with 417; clients are better served by an answer.
    client = client_of(serve(echo))
    client.request("POST", body=b"spam", Expect="the-unexpected")
    assert client.reply().body == b"spam"
