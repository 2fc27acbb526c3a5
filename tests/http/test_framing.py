"""Bodies in and out: where they begin and end, and that each block leaves when it is made.

How a body is framed is the response's affair (see tests/wsgi); here it is what a client gets of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.apps import echo
from tests.client import TIMEOUT, Client
from tests.conftest import Serve
from tests.http.helpers import Blocks, ClientOf, Environ, answer, messages
from tests.http.wire import (
    CHUNKED,
    GET,
    LAST_CHUNK,
    PLAIN,
    SIZED,
    Headers,
    bytewise,
    chunk,
    read_head,
    sized,
    whole,
)

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

pytestmark = pytest.mark.usefixtures("lent_to_few")

Feed = Callable[[Client, bytes], None]

feedings = pytest.mark.parametrize("feed", [whole, bytewise])


class TestRequestBody:
    @feedings
    def test_a_body_with_a_length_arrives(
        self, serve: Serve, client_of: ClientOf, feed: Feed
    ) -> None:
        client = client_of(serve(echo))
        feed(client, SIZED % 4 + b"spam")
        assert client.reply().body == b"spam"
        assert client.post(body=b"eggs").body == b"eggs"

    @feedings
    @pytest.mark.parametrize(
        ("chunks", "body"),
        [
            pytest.param(LAST_CHUNK, b"", id="no chunk"),
            pytest.param(chunk(b"spam") + LAST_CHUNK, b"spam", id="one chunk"),
            pytest.param(b"1\r\ns\r\n3\r\npam\r\n000\r\n\r\n", b"spam", id="two chunks"),
            pytest.param(b'4;name="a;b"\r\nspam\r\n0;x\r\n\r\n', b"spam", id="extensions"),
            pytest.param(
                b"4\r\nspam\r\n0\r\nContent-Length: 9\r\n\r\n", b"spam", id="trailers"
            ),
        ],
    )  # fmt: skip
    def test_a_chunked_body_arrives(
        self, serve: Serve, client_of: ClientOf, feed: Feed, chunks: bytes, body: bytes
    ) -> None:
        client = client_of(serve(echo))
        feed(client, CHUNKED + chunks)
        assert client.reply().body == body
        assert client.get().status == 200

    @pytest.mark.parametrize("options", [{}, {"body_buffer_size": 100}], ids=["large", "small"])
    def test_a_body_in_very_many_chunks_arrives_whole(
        self, serve: Serve, client_of: ClientOf, options: dict[str, Any]
    ) -> None:
        # The loop parses them by and by: so many at once would keep others waiting.
        client = client_of(serve(echo, **options))
        body = bytes(range(256)) * 20
        chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + LAST_CHUNK
        for _ in range(2):
            client.send(CHUNKED + chunks)
        assert [client.reply().body for _ in range(2)] == [body, body]
        client.send(CHUNKED + chunks)
        client.half_close()
        assert client.reply().body == body
        assert client.is_closed()

    def test_a_body_larger_than_the_buffer_arrives_whole(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        body = bytes(range(256)) * 16 * 1024
        client = client_of(serve(echo, body_buffer_size=10_000))
        assert client.post(body=body).body == body
        assert client.post(body=b"next").body == b"next"

    def test_an_application_can_answer_while_the_body_arrives(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        def in_turns(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", PLAIN)
            while line := environ["wsgi.input"].readline(100):
                yield b"got " + line

        client = client_of(serve(in_turns, body_buffer_size=1))
        client.request("POST", Content_Length="9", Connection="close")
        client.send(b"spam\n")
        read_head(client)
        assert client.read(14) == b"9\r\ngot spam\n\r\n"
        client.send(b"egg\n")
        assert client.read_all() == b"8\r\ngot egg\n\r\n0\r\n\r\n"

    def test_both_framings_at_once_end_the_connection(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        # RFC 9112 6.1: Transfer-Encoding wins, and the connection closes after the response.
        client = client_of(serve(echo))
        client.request("POST", Transfer_Encoding="chunked", Content_Length="100")
        client.send(chunk(b"spam") + LAST_CHUNK + GET)
        reply = client.reply()
        assert (reply.body, reply.header("Connection")) == (b"spam", "close")
        assert client.is_closed()


class Staged:
    """Goes from block to block only when the test says so."""

    def __init__(self, headers: Headers, *, is_written: bool) -> None:
        self._headers = headers
        self._is_written = is_written
        self.goes_on = threading.Semaphore(0)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        write = start_response("200 OK", self._headers)
        for number in range(3):
            event = b"data: %d\n\n" % number
            if self._is_written:
                write(event)
            else:
                yield event
            assert self.goes_on.acquire(timeout=TIMEOUT), "the client did not get the block"


class TestResponseBody:
    @pytest.mark.parametrize("is_written", [False, True], ids=["yielded", "written"])
    @pytest.mark.parametrize(
        ("request_", "headers", "framed", "end"),
        [
            pytest.param(GET, PLAIN, b"9\r\ndata: %d\n\n\r\n", LAST_CHUNK, id="chunked"),
            pytest.param(GET, sized(27), b"data: %d\n\n", b"", id="with a length"),
            pytest.param(b"GET / HTTP/1.0\r\n\r\n", PLAIN, b"data: %d\n\n", b"", id="HTTP/1.0"),
        ],
    )
    def test_a_block_is_on_the_wire_before_the_next_is_asked_for(
        self,
        serve: Serve,
        client_of: ClientOf,
        request_: bytes,
        headers: Headers,
        framed: bytes,
        end: bytes,
        is_written: bool,
    ) -> None:
        application = Staged(headers, is_written=is_written)
        client = client_of(serve(application))
        client.send(request_)
        read_head(client)
        for number in range(3):
            block = framed % number
            assert client.read(len(block)) == block
            application.goes_on.release()
        assert client.read(len(end)) == end

    def test_a_stream_goes_out_in_chunks(self, serve: Serve, client_of: ClientOf) -> None:
        client = client_of(serve(Blocks(6, block_size=3)))
        client.request()
        assert b"Transfer-Encoding: chunked" in read_head(client)
        assert client.read(21) == b"3\r\nxxx\r\n3\r\nxxx\r\n0\r\n\r\n"
        assert client.get().body == b""  # all six bytes are gone, and the connection stands

    def test_a_single_block_gets_its_length(self, serve: Serve, client_of: ClientOf) -> None:
        # Not validated: wsgiref.validate hides len().
        reply = client_of(serve(answer(lambda: [b"spam"]), validate=False)).get()
        assert (reply.header("Content-Length"), reply.body) == ("4", b"spam")
        assert reply.header("Transfer-Encoding") is None

    @pytest.mark.parametrize("size", [1, 65536, 65537, 131072, 3_000_001])
    @pytest.mark.parametrize("has_length", [False, True], ids=["chunked", "sized"])
    @pytest.mark.parametrize("options", [{}, {"response_buffer_size": 10_000}], ids=["", "small"])
    def test_a_block_of_any_size_arrives_whole(
        self,
        serve: Serve,
        client_of: ClientOf,
        options: dict[str, Any],
        has_length: bool,
        size: int,
    ) -> None:
        block = (bytes(range(251)) * (size // 251 + 1))[:size]
        headers = sized(size + 1) if has_length else PLAIN
        client = client_of(serve(answer(lambda: iter([block, b"!"]), headers), **options))
        assert client.get().body == block + b"!"

    @pytest.mark.parametrize(
        ("method", "status", "headers", "length"),
        [
            pytest.param("HEAD", "200 OK", [], b"4", id="HEAD"),
            pytest.param("GET", "204 No Content", [("Content-Length", "4")], None, id="204"),
            pytest.param("GET", "304 Not Modified", [("Content-Length", "9")], b"9", id="304"),
        ],
    )
    def test_where_no_body_may_be_there_is_the_head_alone(
        self,
        serve: Serve,
        client_of: ClientOf,
        method: str,
        status: str,
        headers: Headers,
        length: bytes | None,
    ) -> None:
        # RFC 9112 6.3: it ends at the empty line, whatever the application yields. RFC 9110 8.6: a
        # 204 MUST NOT have a length; that of a 304 is what a GET would have had.
        server = serve(answer(lambda: [b"spam"], headers, status), validate=False)
        client = client_of(server)
        for _ in range(2):
            client.request(method)
            first, *lines = read_head(client)
            fields = dict(line.split(b": ", 1) for line in lines)
            assert first == f"HTTP/1.1 {status}".encode()
            assert fields.get(b"Content-Length") == length
            assert b"Transfer-Encoding" not in fields
        client.half_close()
        assert client.is_closed()

    def test_head_ends_a_stream_at_once(self, serve: Serve, client_of: ClientOf) -> None:
        app = Blocks(6, block_size=3)
        server = serve(app)
        client = client_of(server)
        for _ in range(2):
            client.request("HEAD")
            assert client.reply("HEAD").status == 200
        server.close()
        assert (app.produced, app.closings) == (6, 2)

    def test_what_exceeds_the_content_length_is_dropped(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        client = client_of(serve(answer(lambda: iter([b"sp", b"am and", b"eggs"]), sized(4))))
        assert [client.get().body, client.get().body] == [b"spam", b"spam"]

    def test_a_body_that_is_too_short_closes_the_connection(
        self, serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
    ) -> None:
        client = client_of(serve(answer(lambda: [b"spam"], sized(9))))
        client.send(GET * 2)
        read_head(client)
        # A second response must not pass for the rest of the first.
        assert client.read_all() == b"spam"
        assert messages(caplog.records) == [
            "GET /: the application sent 5 bytes less than its Content-Length"
        ]
