"""What waitress's functional tests ask of a server, asked of this one: responses.

The deliberate differences are listed in test_waitress_behaviours.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.apps import Endless, echo
from tests.conftest import Serve
from tests.http.staging import (
    GET,
    PLAIN,
    ClientOf,
    Environ,
    Headers,
    answer,
    read_head,
    sized,
    take,
    wait_for,
)

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication

Where = dict[str, Any]

GET_1_0 = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
LETTERS = b"abcdefghijklmnopqrstuvwxyz"


def write_all(headers: Headers, body: bytes) -> WSGIApplication:
    """An application that writes its body and returns nothing more."""

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", headers)(body)
        return []

    return application


def yield_all(headers: Headers, body: bytes) -> WSGIApplication:
    return answer(lambda: [body], headers)


BOTH_WAYS = pytest.mark.parametrize("make", [yield_all, write_all], ids=["returned", "written"])
Make = Callable[[Headers, bytes], "WSGIApplication"]


@BOTH_WAYS
@pytest.mark.parametrize("request_", [GET, GET_1_0], ids=["HTTP/1.1", "HTTP/1.0"])
def test_a_body_shorter_than_its_length_closes_the_connection(
    request_: bytes, make: Make, serve: Serve, client_of: ClientOf, where: Where
) -> None:
    client = client_of(serve(make(sized(27), LETTERS), **where))
    client.send(request_ * 2)
    assert b"Content-Length: 27" in read_head(client)
    assert client.read_all() == LETTERS


def test_a_body_longer_than_its_length_is_cut_and_the_connection_kept(
    serve: Serve, client_of: ClientOf, where: Where
) -> None:
    client = client_of(serve(yield_all(sized(25), LETTERS), **where))
    assert [client.get().body, client.get().body] == [LETTERS[:25]] * 2


def test_what_is_written_beyond_the_length_is_cut(
    serve: Serve, client_of: ClientOf, where: Where
) -> None:
    client = client_of(serve(write_all(sized(25), LETTERS), **where))
    client.request()
    read_head(client)
    client.half_close()
    assert client.read_all() == LETTERS[:25]


@BOTH_WAYS
def test_a_body_of_its_length_keeps_the_connection(
    make: Make, serve: Serve, client_of: ClientOf, where: Where
) -> None:
    client = client_of(serve(make(sized(26), LETTERS), **where))
    assert [client.get().body, client.get().body] == [LETTERS] * 2


def in_tens() -> Iterator[bytes]:
    for start in range(0, len(LETTERS), 10):
        yield LETTERS[start : start + 10]


def in_two() -> list[bytes]:
    return [LETTERS[:1], LETTERS[1:]]


@pytest.mark.parametrize(
    ("blocks", "chunks"),
    [
        pytest.param(in_tens, [LETTERS[:10], LETTERS[10:20], LETTERS[20:]], id="a generator"),
        pytest.param(in_two, in_two(), id="a list of two"),
    ],
)
def test_a_body_of_unknown_length_is_sent_in_one_chunk_a_block(
    blocks: Callable[[], Any],
    chunks: list[bytes],
    serve: Serve,
    client_of: ClientOf,
    where: Where,
) -> None:
    # Not validated: wsgiref.validate hides len().
    client = client_of(serve(answer(blocks), validate=False, **where))
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    for _ in range(2):
        client.request()
        assert b"Transfer-Encoding: chunked" in read_head(client)
        assert client.read(len(body)) == body


@pytest.mark.parametrize(
    "application",
    [
        pytest.param(answer(in_tens), id="a generator"),
        pytest.param(answer(in_two), id="a list of two"),
        pytest.param(write_all(PLAIN, LETTERS), id="write"),
    ],
)
def test_a_body_of_unknown_length_ends_with_the_connection_for_http_1_0(
    application: WSGIApplication, serve: Serve, client_of: ClientOf, where: Where
) -> None:
    # Not validated: wsgiref.validate hides len().
    client = client_of(serve(application, validate=False, **where))
    client.send(GET_1_0)
    head = b"\n".join(read_head(client)).lower()
    assert b"connection: close" in head
    assert b"content-length" not in head
    assert b"transfer-encoding" not in head
    assert client.read_all() == LETTERS


@pytest.mark.parametrize("request_", [GET, GET_1_0], ids=["HTTP/1.1", "HTTP/1.0"])
def test_a_list_of_one_block_tells_its_length(
    request_: bytes, serve: Serve, client_of: ClientOf, where: Where
) -> None:
    # Not validated: wsgiref.validate hides len().
    client = client_of(serve(answer(lambda: [LETTERS]), validate=False, **where))
    client.send(request_)
    reply = client.reply()
    assert (reply.header("Content-Length"), reply.body) == ("26", LETTERS)


def fail_before(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    raise ValueError("Invalid application: \u20ac")


def fail_after(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", sized(4))
    raise ValueError("wrong")


def write_str(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    text: Any = "spam"
    start_response("200 OK", sized(4))(text)
    return []


def yield_str(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    text: Any = "spam"
    start_response("200 OK", PLAIN)
    yield text


@pytest.mark.parametrize("application", [fail_before, fail_after, write_str, yield_str])
@pytest.mark.parametrize(
    "request_",
    [GET_1_0, GET, b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"],
    ids=["1.0", "1.1", "1.1 close"],
)
def test_an_application_that_fails_is_answered_with_500(
    request_: bytes,
    application: WSGIApplication,
    serve: Serve,
    client_of: ClientOf,
    where: Where,
) -> None:
    # Not validated: wsgiref.validate would refuse a str in place of the server.
    client = client_of(serve(application, validate=False, **where))
    client.send(request_)
    reply = client.reply()
    assert (reply.status, reply.reason) == (500, "Internal Server Error")
    names = {name.lower() for name, _ in reply.headers}
    assert names == {"connection", "content-length", "content-type", "date", "server"}
    assert reply.header("Content-Length") == str(len(reply.body))
    assert reply.body == b"500 Internal Server Error\n"
    assert client.is_closed()


@pytest.mark.parametrize("is_written", [False, True], ids=["yielded", "written"])
def test_an_error_after_output_cuts_the_response(
    is_written: bool, serve: Serve, client_of: ClientOf, where: Where
) -> None:
    def application(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        write = start_response("200 OK", sized(26))
        if is_written:
            write(LETTERS[:10])
        else:
            yield LETTERS[:10]
        raise ValueError("wrong")

    client = client_of(serve(application, **where))
    client.request()
    assert read_head(client)[0] == b"HTTP/1.1 200 OK"
    assert client.read_all() == LETTERS[:10]


# File wrappers.

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


def wrapped(open_file: Callable[[], Any], headers: Headers) -> WSGIApplication:
    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", headers)
        wrapper: Iterable[bytes] = environ["wsgi.file_wrapper"](open_file(), 8192)
        return wrapper

    return application


# None of these is validated: what is returned must be the wrapper itself.


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
    client = client_of(serve(wrapped(open_file, headers), validate=False, **where))
    assert [client.get().body == body for _ in range(2)] == [True, True]


@pytest.mark.parametrize("headers", [sized(len(CONTENT)), PLAIN], ids=["its length", "no length"])
def test_a_wrapped_file_is_sent_to_http_1_0(
    headers: Headers,
    open_file: Callable[[], Any],
    serve: Serve,
    client_of: ClientOf,
    where: Where,
) -> None:
    client = client_of(serve(wrapped(open_file, headers), validate=False, **where))
    client.send(GET_1_0)
    read_head(client)
    assert client.read_all() == CONTENT


def test_a_length_beyond_the_end_of_a_wrapped_file_closes_the_connection(
    open_file: Callable[[], Any], serve: Serve, client_of: ClientOf, where: Where
) -> None:
    application = wrapped(open_file, sized(len(CONTENT) + 10))
    client = client_of(serve(application, validate=False, **where))
    client.send(GET * 2)
    read_head(client)
    assert client.read_all() == CONTENT


# Responses without a body.


@pytest.mark.parametrize(
    ("method", "status", "headers"),
    [
        ("HEAD", "200 OK", sized(26)),
        ("HEAD", "200 OK", PLAIN),
        ("GET", "204 No Content", []),
        ("GET", "304 Not Modified", [("ETag", '"a"')]),
    ],
    ids=["HEAD", "HEAD without a length", "204", "304"],
)
@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_no_body_is_sent_where_none_may_be(
    version: str,
    method: str,
    status: str,
    headers: Headers,
    serve: Serve,
    client_of: ClientOf,
    where: Where,
) -> None:
    client = client_of(serve(answer(lambda: [LETTERS], headers, status), **where))
    client.send(f"{method} / {version}\r\nHost: test\r\n\r\n".encode())
    assert read_head(client)[0] == f"HTTP/1.1 {status}".encode()
    client.half_close()
    assert client.is_closed()


# Slow and leaving clients.


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
