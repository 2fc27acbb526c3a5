"""PEP 3333, "Input and Error Streams": what an application reads of a body, over real sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from asyncwsgi import Server
from asyncwsgi.requests.request_body import RequestBody
from tests.conftest import Serve
from tests.http.helpers import ClientOf, Reads, take
from tests.http.wire import CHUNKED, GET, LAST_CHUNK, SIZED, chunk

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BODY = b"one\ntwo\n\nthree"


def pieces(*, is_chunked: bool) -> list[bytes]:
    """A request with `BODY` that nobody can read whole before its last piece has come."""
    if is_chunked:
        return [CHUNKED + chunk(BODY[:2]), chunk(BODY[2:9]), chunk(BODY[9:]), LAST_CHUNK]
    return [SIZED % len(BODY) + BODY[:2], BODY[2:9], BODY[9:]]


@pytest.mark.parametrize("is_chunked", [False, True], ids=["sized", "chunked"])
@pytest.mark.parametrize("is_whole", [False, True], ids=["in pieces", "whole"])
def test_the_input_reads_like_a_file(
    is_whole: bool, is_chunked: bool, serve: Serve, client_of: ClientOf
) -> None:
    application = Reads(lambda body: [body.readline(), body.read(3), *body, body.read(1)])
    first, *rest = pieces(is_chunked=is_chunked)
    if is_whole:
        client = client_of(serve(application))
        client.send(first + b"".join(rest))
    else:
        client = client_of(serve(application, body_buffer_size=1, stream_chunked_bodies=True))
        client.send(first)
        take(application.entered)
        for piece in rest:
            client.send(piece)
    assert client.reply().status == 200
    assert application.result == [b"one\n", b"two", b"\n", b"\n", b"three", b""]


def nothing_left(body: Any) -> list[object]:
    return [body.read(1), body.read(-1), body.readline(), body.readlines(), list(body)]


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(GET, id="no body"),
        pytest.param(SIZED % 0, id="a body of no bytes"),
        pytest.param(CHUNKED + LAST_CHUNK, id="a body of no chunks"),
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


class MeasuredBody(RequestBody):
    """Knows how many bytes it held at most."""

    fed_size = 0
    read_size = 0
    most_held = 0

    def feed(self, data: bytes) -> None:
        self.fed_size += len(data)
        type(self).most_held = max(self.most_held, self.fed_size - self.read_size)
        super().feed(data)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        size = super().readinto(buffer)
        self.read_size += size
        return size


def test_a_large_body_is_not_held_in_memory(serve: Serve, client_of: ClientOf) -> None:
    buffer_size, block, count = 64 * 1024, b"x" * 64 * 1024, 512

    class Body(MeasuredBody):
        """Of this test alone."""

    class MeasuringServer(Server):
        request_body_class = Body

    def count_bytes(body: Any) -> int:
        return sum(len(piece) for piece in iter(lambda: body.read(1000), b""))

    application = Reads(count_bytes)
    server = serve(application, server_class=MeasuringServer, body_buffer_size=buffer_size)
    client = client_of(server)
    client.send(SIZED % (len(block) * count))
    for _ in range(count):
        client.send(block)
    assert client.reply().status == 200
    assert application.result == len(block) * count
    # 32 MiB went by.  Held at most: the buffer, one read of the socket (256 KiB, asyncio and uvloop
    # alike), and what a read has taken but not reported yet.
    assert Body.most_held <= 512 * 1024
