"""PEP 3333 on Content-Length, chunked coding and responses without a body, over real sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.client import Client, Reply
from tests.conftest import Serve
from tests.http.staging import (
    GET,
    PLAIN,
    Blocks,
    ClientOf,
    Environ,
    Headers,
    answer,
    generate,
    read_head,
    sized,
)  # fmt: skip

if TYPE_CHECKING:
    from wsgiref.types import StartResponse


def test_the_length_of_a_single_block_is_the_content_length(
    serve: Serve, client_of: ClientOf
) -> None:
    # Not validated: wsgiref.validate hides len().
    reply = client_of(serve(answer(lambda: [b"spam"]), validate=False)).get()
    assert (reply.header("Content-Length"), reply.body) == ("4", b"spam")


def test_no_length_is_guessed_for_several_blocks(serve: Serve, client_of: ClientOf) -> None:
    # Not validated: wsgiref.validate hides len().
    reply = client_of(serve(answer(lambda: [b"spam", b"eggs"]), validate=False)).get()
    assert (reply.header("Content-Length"), reply.body) == (None, b"spameggs")


def test_no_length_is_guessed_after_a_write(serve: Serve, client_of: ClientOf) -> None:
    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", PLAIN)(b"spam")
        return [b"eggs"]

    # Not validated: wsgiref.validate hides len().
    reply = client_of(serve(application, validate=False)).get()
    assert (reply.header("Content-Length"), reply.body) == (None, b"spameggs")


def test_a_body_of_unknown_length_is_chunked_and_the_connection_kept(
    serve: Serve, client_of: ClientOf
) -> None:
    client = client_of(serve(answer(generate)))
    for _ in range(2):
        client.request()
        head = read_head(client)
        assert b"Transfer-Encoding: chunked" in head
        assert not any(line.lower().startswith(b"content-length") for line in head)
        body = b"5\r\nspam \r\n4\r\neggs\r\n0\r\n\r\n"
        assert client.read(len(body)) == body


def test_a_body_of_unknown_length_ends_with_the_connection_for_http_1_0(
    serve: Serve, client_of: ClientOf
) -> None:
    client = client_of(serve(answer(generate)))
    client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    head = read_head(client)
    assert not any(line.lower().startswith(b"transfer-encoding") for line in head)
    assert b"Connection: close" in head
    assert client.read_all() == b"spam eggs"


@pytest.mark.parametrize(
    "blocks",
    [[b"spameggs"], [b"spam", b"eggs"], [b"spa", b"meggs"]],
    ids=["one block", "at the length", "across the length"],
)
def test_what_exceeds_the_content_length_is_dropped(
    blocks: list[bytes], serve: Serve, client_of: ClientOf
) -> None:
    client = client_of(serve(answer(lambda: iter(blocks), sized(4))))
    assert [client.get().body, client.get().body] == [b"spam", b"spam"]


def test_iteration_stops_when_the_content_length_is_reached(
    serve: Serve, client_of: ClientOf
) -> None:
    taken: list[bytes] = []

    def produce() -> Iterator[bytes]:
        for block in (b"spam", b"eggs", b"ham"):
            taken.append(block)
            yield block

    client = client_of(serve(answer(produce, sized(8))))
    assert client.get().body == b"spameggs"
    client.get()
    assert taken == [b"spam", b"eggs"] * 2


@pytest.mark.parametrize("is_caught", [True, False], ids=["caught", "not caught"])
def test_writing_beyond_the_content_length_raises(
    is_caught: bool, serve: Serve, client_of: ClientOf
) -> None:
    # PEP 3333: the server should "raise an error if the application tries to write() past that
    # point".
    raised: list[BaseException] = []

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", sized(6))
        write(b"spam")
        try:
            write(b"eggs")
        except AssertionError as error:
            raised.append(error)
            if not is_caught:
                raise
        return []

    client = client_of(serve(application))
    client.request()
    read_head(client)
    client.half_close()
    assert client.read_all() == b"spameg"
    assert len(raised) == 1


@pytest.mark.parametrize("is_written", [False, True], ids=["yielded", "written"])
def test_less_than_the_content_length_closes_the_connection_and_is_logged(
    is_written: bool, serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    calls = 0

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        nonlocal calls
        calls += 1
        write = start_response("200 OK", sized(9))
        if is_written:
            write(b"spam")
            return []
        return [b"spam"]

    client = client_of(serve(application))
    client.send(GET * 2)
    read_head(client)
    # The second response must not pass for the rest of the first.
    assert client.read_all() == b"spam"
    assert calls == 1
    [record] = caplog.records
    assert (record.name, record.levelname) == ("asyncwsgi.server", "ERROR")
    assert "5 bytes less" in record.getMessage()


def head_and_get(client: Client) -> tuple[Reply, Reply]:
    client.request("HEAD")
    return client.reply("HEAD"), client.get()


def comparable(reply: Reply) -> Headers:
    dropped = ("Date", "Transfer-Encoding")  # RFC 9110 9.3.2 lets HEAD leave out the latter
    return [header for header in reply.headers if header[0] not in dropped]


@pytest.mark.parametrize(
    ("blocks", "headers"),
    [
        pytest.param(lambda: [b"spam"], sized(4), id="with a length"),
        pytest.param(lambda: [b"spam"], PLAIN, id="one block"),
        pytest.param(generate, PLAIN, id="of unknown length"),
        pytest.param(list, sized(0), id="empty"),
    ],
)
def test_head_is_answered_with_the_headers_of_get_and_no_body(
    blocks: Callable[[], Any], headers: Headers, serve: Serve, client_of: ClientOf
) -> None:
    # Not validated: wsgiref.validate hides len().
    client = client_of(serve(answer(blocks, headers), validate=False))
    head, get = head_and_get(client)
    assert comparable(head) == comparable(get)
    assert head.body == b""


def test_head_may_tell_the_length_of_a_body_that_was_not_made(
    serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    client = client_of(serve(answer(list, sized(9))))
    client.request("HEAD")
    assert client.reply("HEAD").header("Content-Length") == "9"
    client.request("HEAD")
    assert client.reply("HEAD").status == 200
    assert caplog.records == []


def test_the_iterable_is_closed_after_head(serve: Serve, client_of: ClientOf) -> None:
    blocks = Blocks([b"spam", b"eggs"])
    server = serve(answer(lambda: blocks))
    client = client_of(server)
    client.request("HEAD")
    assert client.reply("HEAD").status == 200
    server.close()
    assert blocks.closings == 1


@pytest.mark.parametrize(
    ("method", "status", "headers"),
    [
        ("GET", "204 No Content", []),
        ("GET", "304 Not Modified", []),
        ("HEAD", "200 OK", PLAIN),
    ],
    ids=["204", "304", "HEAD"],
)
@pytest.mark.parametrize("is_written", [False, True], ids=["yielded", "written"])
def test_a_body_where_none_may_be_is_dropped(
    is_written: bool,
    method: str,
    status: str,
    headers: Headers,
    serve: Serve,
    client_of: ClientOf,
) -> None:
    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response(status, headers)
        if not is_written:
            return [b"spam", b"eggs"]
        write(b"spam")
        write(b"eggs")
        return []

    client = client_of(serve(application))
    for _ in range(2):
        client.request(method)
        head = read_head(client)
        assert head[0] == f"HTTP/1.1 {status}".encode()
        assert not any(line.lower().startswith(b"transfer-encoding") for line in head)
    client.half_close()
    assert client.is_closed()


def test_304_may_tell_the_length_of_what_it_stands_for(serve: Serve, client_of: ClientOf) -> None:
    # RFC 9110 8.6: Content-Length in a 304 is that of the 200.
    headers = [("ETag", '"a"'), ("Content-Length", "4096")]
    client = client_of(serve(answer(list, headers, "304 Not Modified")))
    replies = [client.get(), client.get()]
    assert [reply.header("Content-Length") for reply in replies] == ["4096", "4096"]


def test_204_has_no_content_length(serve: Serve, client_of: ClientOf) -> None:
    # RFC 9110 8.6: "A server MUST NOT send a Content-Length header field in any response with a
    # status code of ... 204".
    client = client_of(serve(answer(list, [("Content-Length", "0")], "204 No Content")))
    assert [client.get().header("Content-Length") for _ in range(2)] == [None, None]


def test_content_length_0_and_no_block_sends_the_headers(serve: Serve, client_of: ClientOf) -> None:
    client = client_of(serve(answer(list, [*sized(0), ("X-Spam", "eggs")])))
    replies = [client.get(), client.get()]
    assert [(reply.header("X-Spam"), reply.header("Content-Length")) for reply in replies] == [
        ("eggs", "0")
    ] * 2
