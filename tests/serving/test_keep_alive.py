"""Connections are kept, and what a view does not read never becomes a request."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.client import Client
from tests.serving.apps import echo, hello, show
from tests.serving.conftest import Running, Start

ClientOf = Callable[[Running], Client]
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: evil\r\n\r\n"


def test_a_connection_serves_many_requests(start: Start, client_of: ClientOf) -> None:
    client = client_of(start(echo))
    assert [client.post(body=b"%d" % n).body for n in range(5)] == [b"0", b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize("length", [1, 100_000], ids=["small", "large"])
def test_an_unread_body_does_not_become_the_next_request(
    start: Start, client_of: ClientOf, length: int
) -> None:
    # Why Werkzeug's own server closes every connection.
    seen: list[str] = []

    def application(environ, start_response):  # type: ignore[no-untyped-def]
        seen.append(environ["PATH_INFO"])
        return hello(environ, start_response)

    client = client_of(start(application))
    assert client.post("/upload", SMUGGLED * length).body == b"hello"
    if length == 1:  # small enough to be read away, so that the connection can go on
        assert client.get("/next").body == b"hello"
    running = start(application)
    assert client_of(running).get("/last").body == b"hello"
    assert "/smuggled" not in seen
    assert "/last" in seen


def test_an_unread_chunked_body_does_not_become_the_next_request(
    start: Start, client_of: ClientOf
) -> None:
    client = client_of(start(show))
    client.send(b"POST /upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    client.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED))
    client.request("GET", "/next")
    assert b'"PATH_INFO": "/upload"' in client.reply().body
    assert b'"PATH_INFO": "/next"' in client.reply().body


def test_a_client_hears_413_while_it_still_sends(start: Start, client_of: ClientOf) -> None:
    def application(environ, start_response):  # type: ignore[no-untyped-def]
        start_response("413 Content Too Large", [("Content-Type", "text/plain")])
        return [b"too large"]

    client = client_of(start(application))
    assert client.post(body=b"x" * 3_000_000).status == 413


def test_a_body_that_comes_late_is_waited_for(start: Start, client_of: ClientOf) -> None:
    client = client_of(start(echo))
    client.request("POST", "/", None, Content_Length="4", Expect="100-continue")
    assert client.read_line() == b"HTTP/1.1 100 Continue\r\n"
    assert client.read_line() == b"\r\n"
    client.send(b"late")
    assert client.reply().body == b"late"
