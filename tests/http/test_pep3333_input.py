"""PEP 3333, "Input and Error Streams" (input), over real sockets."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from asyncwsgi import Server
from asyncwsgi.requests.request_body import RequestBody
from asyncwsgi.testing import LiveServer
from tests.apps import echo
from tests.conftest import Serve
from tests.http.staging import (
    CHUNKED,
    SIZED,
    ClientOf,
    Read,
    Reads,
    Recorder,
    chunk,
    take,
)

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BODY = b"one\ntwo\n\nthree"
READS = [
    pytest.param(lambda body: body.read(-1), BODY, id="read(-1)"),
    pytest.param(lambda body: body.read(5), b"one\nt", id="read(n)"),
    pytest.param(lambda body: body.read(999), BODY, id="read(more than there is)"),
    pytest.param(lambda body: body.read(0), b"", id="read(0)"),
    pytest.param(
        lambda body: [body.read(8), body.read(8)], [b"one\ntwo\n", b"\nthree"], id="twice"
    ),
    pytest.param(lambda body: body.readline(), b"one\n", id="readline()"),
    pytest.param(lambda body: body.readline(2), b"on", id="readline(n)"),
    pytest.param(lambda body: body.readline(99), b"one\n", id="readline(more than there is)"),
    pytest.param(
        lambda body: [body.readline() for _ in range(5)],
        [b"one\n", b"two\n", b"\n", b"three", b""],
        id="readline() to the end",
    ),
    pytest.param(
        lambda body: body.readlines(), [b"one\n", b"two\n", b"\n", b"three"], id="readlines()"
    ),
    # The hint bounds the sum of the lines: that which passes it is the last.
    pytest.param(lambda body: body.readlines(5), [b"one\n", b"two\n"], id="readlines(hint)"),
    pytest.param(list, [b"one\n", b"two\n", b"\n", b"three"], id="iteration"),
    pytest.param(
        lambda body: [body.readline(), body.read(3), *body, body.read(1)],
        [b"one\n", b"two", b"\n", b"\n", b"three", b""],
        id="all mixed",
    ),
]


def pieces(*, is_chunked: bool) -> list[bytes]:
    """A request with `BODY` that nobody can read whole before its last piece has come."""
    if is_chunked:
        return [CHUNKED + chunk(BODY[:2]), chunk(BODY[2:9]), chunk(BODY[9:]), b"0\r\n\r\n"]
    return [SIZED % len(BODY) + BODY[:2], BODY[2:9], BODY[9:]]


@pytest.mark.parametrize("is_chunked", [False, True], ids=["sized", "chunked"])
@pytest.mark.parametrize("is_whole", [False, True], ids=["in pieces", "whole"])
@pytest.mark.parametrize(("read", "expected"), READS)
def test_the_input_reads_like_a_file(
    read: Read,
    expected: object,
    is_whole: bool,
    is_chunked: bool,
    serve: Serve,
    client_of: ClientOf,
) -> None:
    application = Reads(read)
    first, *rest = pieces(is_chunked=is_chunked)
    if is_whole:
        client = client_of(serve(application))
        client.send(first + b"".join(rest))
    else:
        client = client_of(serve(application, body_buffer_size=1))
        client.send(first)
        take(application.entered)
        for piece in rest:
            client.send(piece)
    assert client.reply().status == 200
    assert application.result == expected


def nothing_left(body: Any) -> list[object]:
    return [body.read(1), body.read(-1), body.readline(), body.readlines(), list(body)]


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n", id="no body"),
        pytest.param(SIZED % 0, id="a body of no bytes"),
        pytest.param(CHUNKED + b"0\r\n\r\n", id="a body of no chunks"),
    ],
)
def test_an_empty_input_ends_at_once(request_: bytes, serve: Serve, client_of: ClientOf) -> None:
    application = Reads(nothing_left)
    client = client_of(serve(application))
    client.send(request_)
    assert client.reply().status == 200
    assert application.result == [b"", b"", b"", [], []]


@pytest.mark.parametrize("is_chunked", [False, True], ids=["sized", "chunked"])
@pytest.mark.parametrize("buffer_size", [1, 1024], ids=["streamed", "in memory"])
def test_reading_past_the_end_never_waits(
    buffer_size: int, is_chunked: bool, serve: Serve, client_of: ClientOf
) -> None:
    # The client neither sends more nor closes: whoever waited for either would not answer.
    application = Reads(lambda body: [body.read(999), *nothing_left(body)])
    client = client_of(serve(application, body_buffer_size=buffer_size))
    client.send(b"".join(pieces(is_chunked=is_chunked)))
    assert client.reply().status == 200
    assert application.result == [BODY, b"", b"", b"", [], []]


def test_reading_stops_before_a_pipelined_request(serve: Serve, client_of: ClientOf) -> None:
    client = client_of(serve(echo))
    client.send(SIZED % 4 + b"spam" + SIZED % 4 + b"eggs")
    assert [client.reply().body, client.reply().body] == [b"spam", b"eggs"]


@pytest.mark.parametrize("buffer_size", [1, 1024], ids=["streamed", "in memory"])
def test_read_without_a_size_returns_the_rest(
    buffer_size: int, serve: Serve, client_of: ClientOf
) -> None:
    application = Reads(lambda body: [body.read(3), body.read(), body.read()])
    # Not validated: wsgiref.validate insists on a size, although PEP 3333 makes it optional.
    server = serve(application, validate=False, body_buffer_size=buffer_size)
    client_of(server).post(body=BODY)
    assert application.result == [BODY[:3], BODY[3:], b""]


class WatchedBody(RequestBody):
    """Tells of every read of the pipe, and how many bytes it held at most."""

    reads = threading.Semaphore(0)
    fed_size = 0
    read_size = 0
    most_held = 0

    def feed(self, data: bytes) -> None:
        self.fed_size += len(data)
        type(self).most_held = max(self.most_held, self.fed_size - self.read_size)
        super().feed(data)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        self.reads.release()
        size = super().readinto(buffer)
        self.read_size += size
        return size


@pytest.fixture
def watched() -> type[Server]:
    """A server class with a `WatchedBody` class of its own."""

    class Body(WatchedBody):
        reads = threading.Semaphore(0)

    class WatchedServer(Server):
        request_body_class = Body

    return WatchedServer


def watched_body(server: LiveServer) -> type[WatchedBody]:
    body_class = server.server.request_body_class
    assert issubclass(body_class, WatchedBody)
    return body_class


def test_read_waits_until_it_has_all_that_was_asked_for(
    serve: Serve, client_of: ClientOf, watched: type[Server]
) -> None:
    application = Reads(lambda body: [body.read(6), body.readline(), body.read(1)])
    server = serve(application, server_class=watched, body_buffer_size=1)
    reads = watched_body(server).reads
    client = client_of(server)
    client.send(SIZED % 9 + b"ab")
    take(reads, 2)  # it has read the two bytes that came, and asks for more
    client.send(b"cd")
    take(reads)
    client.send(b"efgh")
    take(reads)
    client.send(b"\n")
    assert client.reply().status == 200
    assert application.result == [b"abcdef", b"gh\n", b""]


def test_a_large_body_is_not_held_in_memory(
    serve: Serve, client_of: ClientOf, watched: type[Server]
) -> None:
    buffer_size, block, count = 64 * 1024, b"x" * 64 * 1024, 512

    def count_bytes(body: Any) -> int:
        return sum(len(piece) for piece in iter(lambda: body.read(1000), b""))

    application = Reads(count_bytes)
    server = serve(application, server_class=watched, body_buffer_size=buffer_size)
    client = client_of(server)
    client.send(SIZED % (len(block) * count))
    for _ in range(count):
        client.send(block)
    assert client.reply().status == 200
    assert application.result == len(block) * count
    # 32 MiB went by.  Held at most: the buffer, one read of the socket (256 KiB, asyncio and uvloop
    # alike), and what a read has taken but not reported yet.
    assert watched_body(server).most_held <= 512 * 1024


def test_a_body_that_is_waited_for_holds_up_nobody_else(serve: Serve, client_of: ClientOf) -> None:
    application = Reads(lambda body: body.read(-1))
    server = serve(application, body_buffer_size=1)
    slow = client_of(server)
    slow.send(SIZED % 4 + b"sp")
    take(application.entered)
    assert client_of(server).get().status == 200
    slow.send(b"am")
    assert slow.reply().status == 200


def test_trailers_do_not_reach_the_application(serve: Serve, client_of: ClientOf) -> None:
    application = Recorder()
    client = client_of(serve(application))
    client.send(CHUNKED + chunk(BODY) + b"0\r\nX-User: evil\r\nContent-Length: 3\r\n\r\n")
    assert client.reply().status == 200
    assert not {"HTTP_X_USER", "CONTENT_LENGTH"} & set(application.environs[0])
    assert client.get().status == 200


def test_a_chunk_extension_is_no_part_of_the_body(serve: Serve, client_of: ClientOf) -> None:
    # RFC 9112 7.1.1: "A recipient MUST ignore unrecognized chunk extensions."
    client = client_of(serve(echo))
    client.send(CHUNKED + b'4;name=value;other="x"\r\nspam\r\n0\r\n\r\n')
    assert client.reply().body == b"spam"


@pytest.mark.parametrize("size", [4, 300 * 1024], ids=["small", "larger than the buffer"])
@pytest.mark.parametrize("is_chunked", [False, True], ids=["sized", "chunked"])
@pytest.mark.parametrize("read", [0, 2], ids=["not read", "read in part"])
def test_a_body_left_unread_does_not_spoil_the_next_request(
    read: int, is_chunked: bool, size: int, serve: Serve, client_of: ClientOf
) -> None:
    # The body looks like a request: whoever took it for one would answer it.
    body = (b"GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n" * size)[:size]
    application = Reads(lambda body: body.read(read))
    client = client_of(serve(application, body_buffer_size=1024))
    whole = CHUNKED + chunk(body) + b"0\r\n\r\n" if is_chunked else SIZED % size + body
    client.send(whole + SIZED % 4 + b"eggs")
    assert [client.reply().status, client.reply().status] == [200, 200]
    assert application.result == b"eggs"[:read]
    client.half_close()
    assert client.is_closed()
