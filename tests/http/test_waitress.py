"""What waitress's functional tests ask of a server, asked of this one over TCP and Unix sockets.

waitress (3.0.2, tests/test_functional.py) is the model of a server that reads requests without a
thread.  What it does holds here, with deliberate differences, for which there are tests beside this
file and in tests/wsgi and tests/http1:

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

import io
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.apps import Endless, echo
from tests.client import Client
from tests.conftest import Serve
from tests.http.helpers import ClientOf, Environ, Gate, answer, messages, take, wait_for
from tests.http.wire import CHUNKED, LAST_CHUNK, PLAIN, Headers, chunk, read_head, sized

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

Where = dict[str, Any]

LINE = b"32 bytes, of which two end it.\r\n"


@pytest.fixture
def client(serve: Serve, client_of: ClientOf, where: Where) -> Client:
    """A connection to a server that echoes request bodies."""
    return client_of(serve(echo, **where))


@pytest.mark.parametrize(
    "head",
    [
        # HTTP/1.0 needs no Host.
        pytest.param(b"POST / HTTP/1.0\r\n", id="HTTP/1.0"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: test\r\n", id="HTTP/1.1"),
    ],
)
@pytest.mark.parametrize("size", [0, 1, 64 * 1024], ids="{} lines".format)
def test_a_body_is_echoed(client: Client, head: bytes, size: int) -> None:
    body = LINE * size
    client.send(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    reply = client.reply()
    assert (reply.status, reply.header("Content-Length")) == (200, str(len(body)))
    assert reply.body == body


def test_a_chunked_body_is_echoed_unchunked(client: Client) -> None:
    client.send(CHUNKED + chunk(LINE) * 12 + LAST_CHUNK)
    reply = client.reply()
    assert (reply.status, reply.body) == (200, LINE * 12)
    assert reply.header("Content-Length") == str(len(LINE) * 12)
    assert reply.header("Transfer-Encoding") is None


def test_pipelined_requests_are_answered_in_order_up_to_the_last(client: Client) -> None:
    bodies = [b"Response #%d\r\n" % number for number in range(25)]
    for number, body in enumerate(bodies):
        connection = "close" if number == 24 else "keep-alive"
        client.request("POST", body=body, Connection=connection)
    assert [client.reply().body for _ in bodies] == bodies
    assert client.is_closed()


def test_many_connections_at_a_time_are_served(
    serve: Serve, client_of: ClientOf, where: Where
) -> None:
    server = serve(echo, **where)
    clients = [client_of(server) for _ in range(50)]
    bodies = [b"%d" % number for number in range(50)]
    for client, body in zip(clients, bodies, strict=True):
        client.request("POST", body=body)
    assert [client.reply().body for client in clients] == bodies


def test_a_request_in_the_application_holds_up_no_other(
    serve: Serve, client_of: ClientOf, where: Where
) -> None:
    gate = Gate()
    server = serve(gate, **where)
    slow, quick = client_of(server), client_of(server)
    slow.request(target="/held")
    gate.wait_until_entered()
    assert quick.get().status == 200
    gate.open()
    assert slow.reply().status == 200


def test_a_refusal_is_logged_with_the_client(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    client.send(CHUNKED + chunk(LINE) + b"garbage\r\n")
    reply = client.reply()
    assert (reply.status, reply.reason) == (400, "Bad Request")
    assert client.is_closed()
    [line] = messages(caplog.records)
    assert re.match(r"(127\.0\.0\.1:[0-9]+|unix client) refused with 400: ", line)


CONTENT = bytes(range(256)) * 500


class KindOfFile:
    """Something with read() that is no `io` stream."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    def read(self, size: int) -> bytes:
        return self._file.read(size)


class Unseekable(io.RawIOBase):
    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        return self._file.read(size)


@pytest.fixture(params=["a file", "a BytesIO", "read alone", "an unseekable stream"])
def open_file(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Any]:
    """Opens `CONTENT` anew."""
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    kinds: dict[str, Callable[[], Any]] = {
        "a file": lambda: path.open("rb"),
        "a BytesIO": lambda: io.BytesIO(CONTENT),
        "read alone": lambda: KindOfFile(CONTENT),
        "an unseekable stream": lambda: Unseekable(CONTENT),
    }
    return kinds[request.param]


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        pytest.param(sized(len(CONTENT)), CONTENT, id="its length"),
        pytest.param(PLAIN, CONTENT, id="no length"),
        pytest.param(sized(1), CONTENT[:1], id="a length before its end"),
    ],
)
def test_a_wrapped_file_is_sent_and_the_connection_kept(
    headers: Headers,
    body: bytes,
    open_file: Callable[[], Any],
    serve: Serve,
    client_of: ClientOf,
    where: Where,
) -> None:
    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", headers)
        wrapper: Iterable[bytes] = environ["wsgi.file_wrapper"](open_file(), 8192)
        return wrapper

    # Not validated: what is returned must be the wrapper itself.
    client = client_of(serve(application, validate=False, **where))
    assert [client.get().body == body for _ in range(2)] == [True, True]


def test_a_large_response_reaches_a_slow_reader_whole(
    serve: Serve, client_of: ClientOf, where: Where
) -> None:
    # More than all buffers on the way hold: the rest waits with the application.
    block, count = bytes(range(256)) * 4096, 32
    closings = threading.Semaphore(0)

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            for _ in range(count):
                yield block

        def close(self) -> None:
            closings.release()

    server = serve(answer(Body, sized(len(block) * count)), **where)
    slow, quick = client_of(server), client_of(server)
    slow.request()
    read_head(slow)
    # Another client has got all of its own before this one reads any.
    assert quick.get().body == block * count
    take(closings)
    assert not closings.acquire(blocking=False)
    for _ in range(count):
        assert slow.read(len(block)) == block
    take(closings)


def test_a_client_that_leaves_ends_its_request_alone(
    serve: Serve, client_of: ClientOf, where: Where, caplog: pytest.LogCaptureFixture
) -> None:
    endless = Endless()

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        return (endless if environ["PATH_INFO"] == "/endless" else echo)(environ, start_response)

    server = serve(application, **where)
    staying, leaving = client_of(server), client_of(server)
    leaving.request(target="/endless")
    read_head(leaving)
    leaving.close()
    wait_for(endless.was_closed)
    assert endless.closings == 1
    assert staying.post(body=b"spam").body == b"spam"
    assert caplog.records == []
