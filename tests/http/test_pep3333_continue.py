"""PEP 3333, "HTTP 1.1 Expect/Continue", over real sockets."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tests.apps import Held, echo, hello
from tests.conftest import Serve
from tests.http.staging import PLAIN, ClientOf, Environ, Reads, take, wait_for

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

EXPECTING = b"POST / HTTP/%b\r\nHost: test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"


def test_100_continue_is_sent_when_the_body_is_first_read(
    serve: Serve, client_of: ClientOf
) -> None:
    client = client_of(serve(echo))
    client.send(EXPECTING % b"1.1")
    assert client.read_line() == b"HTTP/1.1 100 Continue\r\n"
    assert client.read_line() == b"\r\n"
    client.send(b"spam")
    assert client.reply().body == b"spam"
    assert client.get().status == 200


def test_100_continue_is_sent_once(serve: Serve, client_of: ClientOf) -> None:
    client = client_of(serve(Reads(lambda body: [body.read(1), body.read(1), body.read(2)])))
    client.send(EXPECTING % b"1.1")
    assert client.read(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
    for byte in (b"s", b"p", b"a", b"m"):
        client.send(byte)
    # http.client skips any number of 100s; the line read here would be the second one.
    assert client.read_line() == b"HTTP/1.1 200 OK\r\n"


def test_a_body_that_is_never_read_gets_no_100(serve: Serve, client_of: ClientOf) -> None:
    client = client_of(serve(hello))
    client.send(EXPECTING % b"1.1")
    assert client.read_line() == b"HTTP/1.1 200 OK\r\n"
    # The body may or may not come now, so nothing can follow on this connection.
    assert b"Connection: close\r\n" in client.read_all()


def test_no_100_is_sent_to_http_1_0(serve: Serve, client_of: ClientOf) -> None:
    # RFC 9110 10.1.1: a server MUST ignore the expectation in an HTTP/1.0 request.
    application = Reads(lambda body: body.read(-1))
    client = client_of(serve(application))
    client.send(EXPECTING % b"1.0")
    take(application.entered)
    client.send(b"spam")
    assert client.read_line() == b"HTTP/1.1 200 OK\r\n"
    assert application.result == b"spam"


def test_a_body_that_was_asked_for_and_read_in_part_keeps_the_connection(
    serve: Serve, client_of: ClientOf
) -> None:
    # After the 100 the rest is sure to come, so what follows it can be told from it.
    client = client_of(serve(Reads(lambda body: body.read(2))))
    client.send(EXPECTING % b"1.1")
    assert client.read(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"sp")
    assert client.reply().header("Connection") is None
    client.send(b"am")
    assert client.get().status == 200


def test_no_100_is_sent_once_the_final_response_has_begun(
    serve: Serve, client_of: ClientOf
) -> None:
    reading = threading.Event()

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", PLAIN)
        yield b"first "
        reading.set()
        yield environ["wsgi.input"].read(-1)

    client = client_of(serve(application))
    client.send(EXPECTING % b"1.1")
    wait_for(reading)
    client.send(b"spam")
    assert client.read_line() == b"HTTP/1.1 200 OK\r\n"
    assert client.read_all().endswith(b"6\r\nfirst \r\n4\r\nspam\r\n0\r\n\r\n")


def test_a_refusal_in_place_of_the_100_is_final(serve: Serve, client_of: ClientOf) -> None:
    # RFC 9110 10.1.1: a final status tells the client not to send its body.
    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("417 Expectation Failed", PLAIN)
        return []

    client = client_of(serve(application))
    client.send(EXPECTING % b"1.1")
    reply = client.reply()
    assert (reply.status, reply.header("Connection")) == (417, "close")
    assert client.is_closed()


def test_the_application_runs_before_an_expected_body_comes(
    serve: Serve, client_of: ClientOf
) -> None:
    application = Held(echo)
    client = client_of(serve(application))
    client.send(EXPECTING % b"1.1")
    application.wait_until_entered()
    application.release()
    assert client.read_line() == b"HTTP/1.1 100 Continue\r\n"
