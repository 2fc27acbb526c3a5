"""Bodies in and out over real sockets, and the odd request targets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import pytest

from tests.apps import echo, show_environ
from tests.client import Client
from tests.conftest import Serve
from tests.http.helpers import MIB, Blocks, ClientOf, bytewise, messages, whole

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

Feed = Callable[[Client, bytes], None]

feedings = pytest.mark.parametrize("feed", [whole, bytewise])


class TestRequestBody:
    @feedings
    def test_a_body_with_a_length_arrives(
        self, serve: Serve, client_of: ClientOf, feed: Feed
    ) -> None:
        client = client_of(serve(echo))
        feed(client, b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nspam")
        assert client.reply().body == b"spam"
        assert client.post(body=b"eggs").body == b"eggs"

    @feedings
    @pytest.mark.parametrize(
        "chunks",
        [
            pytest.param(b"4\r\nspam\r\n0\r\n\r\n", id="one chunk"),
            pytest.param(b"1\r\ns\r\n3\r\npam\r\n000\r\n\r\n", id="two chunks"),
            pytest.param(b'4;name="a;b"\r\nspam\r\n0;x\r\n\r\n', id="extensions"),
            pytest.param(b"4\r\nspam\r\n0\r\nContent-Length: 9\r\n\r\n", id="trailers"),
        ],
    )
    def test_a_chunked_body_arrives(
        self, serve: Serve, client_of: ClientOf, feed: Feed, chunks: bytes
    ) -> None:
        client = client_of(serve(echo))
        head = b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
        feed(client, head + chunks)
        assert client.reply().body == b"spam"
        assert client.get().status == 200

    def test_a_chunked_body_can_be_empty(self, serve: Serve, client_of: ClientOf) -> None:
        client = client_of(serve(echo))
        client.request("POST", Transfer_Encoding="chunked")
        client.send(b"0\r\n\r\n")
        assert client.reply().body == b""

    @pytest.mark.parametrize("options", [{}, {"body_buffer_size": 100}], ids=["large", "small"])
    def test_a_body_in_very_many_chunks_arrives_whole(
        self, serve: Serve, client_of: ClientOf, options: dict[str, Any]
    ) -> None:
        # The loop parses them by and by: so many at once would keep others waiting.
        client = client_of(serve(echo, **options))
        body = bytes(range(256)) * 20
        chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
        for _ in range(2):
            client.request("POST", Transfer_Encoding="chunked")
            client.send(chunks)
        assert [client.reply().body for _ in range(2)] == [body, body]
        client.request("POST", Transfer_Encoding="chunked")
        client.send(chunks)
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
        def in_turns(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", [("Content-Type", "text/plain")])
            while line := environ["wsgi.input"].readline(100):
                yield b"got " + line

        client = client_of(serve(in_turns, body_buffer_size=1))
        client.request("POST", Content_Length="9", Connection="close")
        client.send(b"spam\n")
        read_head(client)
        assert client.read(14) == b"9\r\ngot spam\n\r\n"
        client.send(b"egg\n")
        assert client.read_all() == b"8\r\ngot egg\n\r\n0\r\n\r\n"

    def test_a_chunked_body_ends_where_the_environ_says_it_does(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        client = client_of(serve(show_environ))
        client.request("POST", Transfer_Encoding="chunked")
        client.send(b"0\r\n\r\n")
        environ = json.loads(client.reply().body)
        assert environ["wsgi.input_terminated"] is True
        assert "CONTENT_LENGTH" not in environ

    def test_both_framings_at_once_end_the_connection(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        # RFC 9112 6.1: Transfer-Encoding wins, and the connection closes after the response.
        client = client_of(serve(echo))
        client.request("POST", Transfer_Encoding="chunked", Content_Length="100")
        client.send(b"4\r\nspam\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n")
        reply = client.reply()
        assert (reply.body, reply.header("Connection")) == (b"spam", "close")
        assert client.is_closed()


class TestResponseBody:
    def test_a_stream_goes_out_in_chunks(self, serve: Serve, client_of: ClientOf) -> None:
        client = client_of(serve(Blocks(6, block_size=3)))
        client.request()
        reply_head = read_head(client)
        assert b"transfer-encoding: chunked\r\n" in reply_head.lower()
        assert client.read(21) == b"3\r\nxxx\r\n3\r\nxxx\r\n0\r\n\r\n"
        assert client.get().body == b""  # all six bytes are gone, and the connection stands

    def test_a_single_block_gets_its_length(self, serve: Serve, client_of: ClientOf) -> None:
        reply = client_of(serve(no_length, validate=False)).get()
        assert (reply.header("Content-Length"), reply.body) == ("4", b"spam")
        assert reply.header("Transfer-Encoding") is None

    def test_a_large_response_arrives_whole(self, serve: Serve, client_of: ClientOf) -> None:
        body = bytes(range(256)) * 16 * 1024
        client = client_of(serve(echo, response_buffer_size=10_000))
        assert client.post(body=body).body == body

    def test_head_gets_the_head_alone(self, serve: Serve, client_of: ClientOf) -> None:
        client = client_of(serve(no_length, validate=False))
        client.request("HEAD")
        reply = client.reply("HEAD")
        assert (reply.status, reply.header("Content-Length")) == (200, "4")
        assert client.get().body == b"spam"

    def test_head_of_a_stream_gets_the_head_alone(self, serve: Serve, client_of: ClientOf) -> None:
        app = Blocks(MIB)
        server = serve(app)
        client = client_of(server)
        client.request("HEAD")
        assert client.reply("HEAD").body == b""
        client.request("HEAD")
        assert client.reply("HEAD").body == b""
        server.close()
        assert app.closings == 2

    @pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
    def test_a_status_without_body_gets_the_head_alone(
        self, serve: Serve, client_of: ClientOf, status: str
    ) -> None:
        # RFC 9112 6.3: these end at the empty line, whatever the application yields.
        def talkative(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
            start_response(status, [])
            return [b"spam"]

        client = client_of(serve(talkative, validate=False))
        replies = [client.get(), client.get()]
        assert [reply.status for reply in replies] == [int(status[:3])] * 2
        assert [reply.header("Transfer-Encoding") for reply in replies] == [None, None]

    def test_a_204_has_no_length_and_a_304_keeps_it(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        # RFC 9110 8.6: MUST NOT in a 204; in a 304 it is what a GET would have had.
        def statuses(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
            start_response(f"{environ['PATH_INFO'][1:]} X", [("Content-Length", "4")])
            return []

        client = client_of(serve(statuses, validate=False))
        assert client.get("/204").header("Content-Length") is None
        assert client.get("/304").header("Content-Length") == "4"
        assert client.get("/204").status == 204

    def test_a_body_that_is_too_short_closes_the_connection(
        self, serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
    ) -> None:
        def short(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
            start_response("200 OK", [("Content-Length", "9"), ("Content-Type", "text/plain")])
            return [b"spam"]

        client = client_of(serve(short))
        client.request(target="/short")
        assert client.read_all().endswith(b"\r\n\r\nspam")
        assert messages(caplog.records) == [
            "GET /short: the application sent 5 bytes less than its Content-Length"
        ]

    def test_a_failure_in_mid_stream_cuts_the_framing(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        def breaking(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", [("Content-Type", "text/plain")])
            yield b"spam"
            raise RuntimeError("broken")

        client = client_of(serve(breaking))
        client.request()
        # Neither a last chunk, that would make it look whole, nor a reset, that might swallow it.
        assert client.read_all().endswith(b"\r\n\r\n4\r\nspam\r\n")


class TestTargets:
    def test_an_absolute_target_names_path_and_host(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        # RFC 9112 3.2.2: MUST be accepted, and its authority replaces Host.
        client = client_of(serve(show_environ))
        environ = json.loads(client.get("http://example.org:81/a%20b?c=d", Host="other").body)
        keys = ("PATH_INFO", "QUERY_STRING", "HTTP_HOST")
        assert [environ[key] for key in keys] == ["/a b", "c=d", "example.org:81"]
        assert json.loads(client.get("/", Host="other").body)["HTTP_HOST"] == "other"

    def test_options_of_the_server_as_a_whole_reach_the_application(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        client = client_of(serve(show_environ))
        client.request("OPTIONS", "*")
        environ = json.loads(client.reply().body)
        assert (environ["PATH_INFO"], environ["REQUEST_URI"]) == ("/", "*")


def no_length(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    """Leaves the length to the server, which can tell it if wsgiref.validate does not interfere."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"spam"]


def read_head(client: Client) -> bytes:
    lines = []
    while (line := client.read_line()) != b"\r\n":
        assert line
        lines.append(line)
    return b"".join(lines)
