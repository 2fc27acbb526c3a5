"""What waitress's functional tests ask of a server, asked of this one: requests and connections.

waitress (3.0.2, tests/test_functional.py) is the model of a server that reads requests without a
thread.  What it does holds here, over TCP and Unix sockets, with these deliberate differences:

- HTTP/1.0 keep-alive is not offered: an HTTP/1.0 connection always closes.
- The status line says HTTP/1.1 to HTTP/1.0 clients too (RFC 9110 2.5).
- A chunked response keeps the connection; waitress closes it.
- A request without Host is refused (RFC 9112 3.2).
- Malformed chunk extensions are ignored as unknown ones are (RFC 9112 7.1.1).
- 100 Continue is sent when the application first reads, not at once; it may be left out when the
  body is there already.
- A large body is streamed to the application, which may so be entered before an error in it shows.
- Bytes without a line end are an overlong request line (414), not an overlong header (431).
- write() raises when it is given more than the Content-Length; waitress warns.
- A block that is not bytes is answered with 500; waitress sends the headers first.
- A body is never sent in response to HEAD; waitress 3.0.2 sends it.
- The length of a file in a file wrapper is not looked up: without Content-Length it is chunked, and
  a Content-Length beyond the end of the file closes the connection; waitress corrects both.
- Replies never show tracebacks, and X-Forwarded-* headers are left to middleware.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pytest

from tests.apps import Held, echo, show_environ
from tests.client import Client
from tests.conftest import Serve
from tests.http.staging import PLAIN, ClientOf, Environ, Recorder, read_head

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

Where = dict[str, Any]

CHUNKED = b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
LINE = b"32 bytes, of which two end it.\r\n"

# Requests in the two versions; HTTP/1.0 needs no Host.
VERSIONS = pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"POST / HTTP/1.0\r\n", id="HTTP/1.0"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: test\r\n", id="HTTP/1.1"),
    ],
)


@pytest.fixture
def client(serve: Serve, client_of: ClientOf, where: Where) -> Client:
    """A connection to a server that echoes request bodies."""
    return client_of(serve(echo, **where))


def test_a_request_in_the_application_holds_up_no_other(
    serve: Serve, client_of: ClientOf, where: Where
) -> None:
    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        return (held if environ["PATH_INFO"] == "/held" else echo)(environ, start_response)

    held = Held(echo)
    server = serve(application, **where)
    slow, quick = client_of(server), client_of(server)
    slow.request(target="/held")
    held.wait_until_entered()
    assert quick.get().status == 200
    held.release()
    assert slow.reply().status == 200


@VERSIONS
def test_date_and_server_are_sent(client: Client, head: bytes) -> None:
    client.send(head + b"Content-Length: 0\r\n\r\n")
    reply = client.reply()
    assert (reply.status, reply.reason) == (200, "OK")
    assert reply.header("Server") == "asyncwsgi"
    assert reply.header("Date")


def test_the_environ_describes_the_request(serve: Serve, client_of: ClientOf, where: Where) -> None:
    client = client_of(serve(show_environ, **where))
    client.send(b"PUT /a%20b?c=d HTTP/1.1\r\nHost: spam:8080\r\nX-Spam: eggs\r\n\r\n")
    environ = json.loads(client.reply().body)
    expected = {
        "REQUEST_METHOD": "PUT",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/a b",
        "QUERY_STRING": "c=d",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "spam:8080",
        "HTTP_X_SPAM": "eggs",
        "wsgi.url_scheme": "http",
    }
    assert {key: environ[key] for key in expected} == expected
    assert isinstance(environ["REMOTE_ADDR"], str)


def test_a_first_header_line_that_is_folded_is_refused(client: Client) -> None:
    # There is nothing that it could continue.
    client.send(b"GET / HTTP/1.0\r\n Host: 0\r\n\r\n")
    assert client.reply().status == 400
    assert client.is_closed()


@VERSIONS
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"spam", id="small"),
        pytest.param(b"Echo\r\nthis\r\nplease", id="no line end at its end"),
        pytest.param(LINE * 32, id="one KiB"),
        pytest.param(LINE * 32 * 1024 * 2, id="two MiB"),
    ],
)
def test_a_body_is_echoed(client: Client, head: bytes, body: bytes) -> None:
    client.send(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    reply = client.reply()
    assert (reply.status, reply.header("Content-Length")) == (200, str(len(body)))
    assert reply.body == body


def test_connections_one_after_the_other_are_served(
    serve: Serve, client_of: ClientOf, where: Where
) -> None:
    server = serve(echo, **where)
    assert [client_of(server).post(body=b"spam").body for _ in range(3)] == [b"spam"] * 3


def test_many_connections_at_a_time_are_served(
    serve: Serve, client_of: ClientOf, where: Where
) -> None:
    server = serve(echo, **where)
    clients = [client_of(server) for _ in range(50)]
    bodies = [b"%d" % number for number in range(50)]
    for client, body in zip(clients, bodies, strict=True):
        client.request("POST", body=body)
    assert [client.reply().body for client in clients] == bodies


def test_a_body_can_be_read_by_lines(serve: Serve, client_of: ClientOf, where: Where) -> None:
    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", PLAIN)
        body = environ["wsgi.input"]
        return [body.readline().upper(), body.readline().title(), body.readline()]

    client = client_of(serve(application, **where))
    assert client.post(body=b"spam and\neggs and\nham").body == b"SPAM AND\nEggs And\nham"


# Chunked requests.


@pytest.mark.parametrize("count", [0, 1, 12])
def test_a_chunked_body_is_echoed_unchunked(client: Client, count: int) -> None:
    client.send(CHUNKED)
    for _ in range(count):
        client.send(b"20\r\n" + LINE + b"\r\n")
    client.send(b"0\r\n\r\n")
    reply = client.reply()
    assert (reply.status, reply.body) == (200, LINE * count)
    assert reply.header("Content-Length") == str(len(LINE) * count)
    assert reply.header("Transfer-Encoding") is None


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param(b"20\r\n" + LINE + b"\r\ngarbage\r\n", id="garbage for a size"),
        pytest.param(b"0x20\r\n" + LINE + b"\r\n", id="a size with a prefix"),
        pytest.param(b"+20\r\n" + LINE + b"\r\n", id="a size with a sign"),
        pytest.param(b"20\r\n" + LINE + b"garbage", id="garbage behind a chunk"),
        pytest.param(b"\r\n" + LINE, id="no size"),
    ],
)
def test_a_malformed_chunk_is_refused(client: Client, chunks: bytes) -> None:
    client.send(CHUNKED + chunks)
    reply = client.reply()
    assert (reply.status, reply.reason) == (400, "Bad Request")
    names = {name.lower() for name, _ in reply.headers}
    assert names == {"connection", "content-length", "content-type", "date", "server"}
    assert reply.header("Content-Type") == "text/plain; charset=utf-8"
    assert reply.header("Connection") == "close"
    assert client.is_closed()


@pytest.mark.parametrize("extension", [b";", b";a=b", b";invalid="])
def test_chunk_extensions_are_ignored(client: Client, extension: bytes) -> None:
    client.send(CHUNKED + b"20" + extension + b"\r\n" + LINE + b"\r\n0\r\n\r\n")
    assert client.reply().body == LINE
    assert client.get().status == 200


# Keep-alive.


@pytest.mark.parametrize("connection", [b"", b"Connection: Keep-Alive\r\n"], ids=["", "asked for"])
def test_http_1_0_is_never_kept_alive(client: Client, connection: bytes) -> None:
    client.send(b"POST / HTTP/1.0\r\n" + connection + b"Content-Length: 4\r\n\r\nspam")
    reply = client.reply()
    assert (reply.header("Connection"), reply.body) == ("close", b"spam")
    assert client.is_closed()


@pytest.mark.parametrize("connection", ["", "keep-alive", "Keep-Alive"])
def test_http_1_1_is_kept_alive(client: Client, connection: str) -> None:
    for body in (b"spam", b"eggs"):
        reply = client.post(body=body, Connection=connection)
        assert (reply.header("Connection"), reply.body) == (None, body)


@pytest.mark.parametrize("connection", ["close", "Close", "keep-alive, close"])
def test_connection_close_is_obeyed(client: Client, connection: str) -> None:
    reply = client.post(body=b"spam", Connection=connection)
    assert (reply.header("Connection"), reply.body) == ("close", b"spam")
    assert client.is_closed()


def test_pipelined_requests_are_answered_in_order(client: Client) -> None:
    bodies = [b"Response #%d\r\n" % number for number in range(25)]
    for number, body in enumerate(bodies):
        connection = "close" if number == 24 else "keep-alive"
        client.request("POST", body=body, Connection=connection)
    assert [client.reply().body for _ in bodies] == bodies
    assert client.is_closed()


def test_what_is_pipelined_behind_http_1_0_is_dropped(client: Client) -> None:
    request = b"POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 4\r\n\r\nspam"
    client.send(request * 3)
    assert client.reply().body == b"spam"
    assert client.is_closed()


# Expect: 100-continue.


def test_an_expected_100_comes_before_the_body_and_the_response(client: Client) -> None:
    client.request("POST", Connection="close", Content_Length="19", Expect="100-continue")
    assert read_head(client) == [b"HTTP/1.1 100 Continue"]
    client.send(b"I have expectations")
    reply = client.reply()
    assert (reply.status, reply.body) == (200, b"I have expectations")
    assert client.is_closed()


def test_a_client_that_does_not_wait_for_the_100_is_answered(client: Client) -> None:
    for body in (b"spam", b"eggs"):
        # Client.reply() skips a 100, which may or may not come (RFC 9110 10.1.1).
        assert client.post(body=body, Expect="100-continue").body == body


# What is too large.


@pytest.fixture
def limits(where: Where) -> dict[str, Any]:
    return {"max_head_size": 1000, "max_body_size": 1000, **where}


def test_a_head_that_is_too_large_is_refused(
    serve: Serve, client_of: ClientOf, limits: dict[str, Any]
) -> None:
    client = client_of(serve(Recorder(), **limits))
    client.send(b"GET / HTTP/1.1\r\nHost: test\r\n" + b"X-Spam: 100\r\n" * 80 + b"\r\n")
    reply = client.reply()
    assert (reply.status, reply.header("Connection")) == (431, "close")
    assert client.is_closed()


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1001\r\n\r\n", id="as announced"
        ),
        pytest.param(
            b"POST / HTTP/1.0\r\nContent-Length: 1001\r\n\r\n" + b"a" * 1001, id="HTTP/1.0"
        ),
        pytest.param(CHUNKED + (b"20\r\n" + LINE + b"\r\n") * 32, id="in chunks"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: " + b"9" * 20 + b"\r\n\r\n",
            id="beyond 64 bits",
        ),
    ],
)
def test_a_body_that_is_too_large_is_refused(
    request_: bytes, serve: Serve, client_of: ClientOf, limits: dict[str, Any]
) -> None:
    application = Recorder()
    client = client_of(serve(application, **limits))
    client.send(request_)
    reply = client.reply()
    assert reply.status == 413
    assert reply.header("Content-Type") == "text/plain; charset=utf-8"
    assert client.is_closed()
    assert application.environs == []


def test_a_body_of_the_largest_size_is_served(
    serve: Serve, client_of: ClientOf, limits: dict[str, Any]
) -> None:
    assert client_of(serve(echo, **limits)).post(body=b"a" * 1000).body == b"a" * 1000


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\n", id="1.0"),
        pytest.param(
            b"POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n",
            id="1.0 keep-alive",
        ),
        pytest.param(b"POST / HTTP/1.0\r\n\r\n", id="1.0 without a length"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 5\r\n\r\n",
            id="1.1 close",
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n",
            id="1.1 close without a length",
        ),
    ],
)
def test_bytes_behind_the_last_request_are_thrown_away(
    head: bytes, serve: Serve, client_of: ClientOf, limits: dict[str, Any]
) -> None:
    client = client_of(serve(echo, **limits))
    client.send(head + b"a" * 1050)
    reply = client.reply()
    assert (reply.status, reply.body) == (200, b"aaaaa" if b"Length" in head else b"")
    assert client.is_closed()


@pytest.mark.parametrize("length", [b"Content-Length: 5\r\n", b""], ids=["too short", "none"])
def test_bytes_behind_a_body_that_are_no_request_are_refused(
    length: bytes, serve: Serve, client_of: ClientOf, limits: dict[str, Any]
) -> None:
    client = client_of(serve(echo, **limits))
    client.send(b"POST / HTTP/1.1\r\nHost: test\r\n" + length + b"\r\n" + b"a" * 1050)
    assert client.reply().status == 200
    assert client.reply().status == 414
    assert client.is_closed()
