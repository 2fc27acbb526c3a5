"""Request bodies: what the parser hands up when, and which chunks it refuses (RFC 9112 7.1)."""

from __future__ import annotations

import pytest

from asyncwsgi.errors import RequestRefused
from asyncwsgi.http1.head import RequestHead
from asyncwsgi.http1.parser import END_OF_BODY, NEED_DATA, RequestParser
from tests.http1.feeding import (
    BEFORE_JUNK,
    BYTEWISE,
    NEXT,
    NEXT_REQUEST,
    WHOLE,
    Feeding,
    Refusal,
    Request,
    Unfinished,
    outcomes,
)
from tests.http1.samples import (
    CHUNKED,
    CHUNKED_HEAD,
    LIMITS,
    chunked,
    get,
    posted,
    sized,
    with_target,
)

MALFORMED_CHUNKS = [
    # RFC 9112 7.1: chunk-size = 1*HEXDIG.
    pytest.param(b"spam\r\n", id="a size in words"),
    pytest.param(b"+5\r\nspam\n\r\n", id="a size with a sign"),
    pytest.param(b"-5\r\nspam\n\r\n", id="a negative size"),
    pytest.param(b"0x5\r\nspam\n\r\n", id="a size with a prefix"),
    pytest.param(b"5_0\r\nspam\n\r\n", id="a size with an underscore"),
    pytest.param(b" 5\r\nspam\n\r\n", id="a space before a size"),
    pytest.param(b"\r\nspam\n\r\n", id="no size"),
    pytest.param(b";a=b\r\nspam\n\r\n", id="an extension for a size"),
    pytest.param("\u0665\r\nspam\n\r\n".encode(), id="a size in other digits"),
    pytest.param(b"0" * 30 + b"5\r\nspam\n\r\n", id="a size of thirty digits"),
    pytest.param(b"f" * 30 + b"\r\nspam\n\r\n", id="a size beyond all bounds"),
    # RFC 9112 2.2 allows a bare LF in the head, nowhere in a chunked body.
    pytest.param(b"5\nspam\n\r\n", id="a bare LF behind a size"),
    pytest.param(b"5\rspam\n\r\n", id="a bare CR behind a size"),
    pytest.param(b"1\r\nxy\r\n", id="a chunk longer than its size"),
    pytest.param(b"1\r\nx\n0\r\n\r\n", id="a bare LF behind a chunk"),
    pytest.param(b"1\r\nx0\r\n\r\n", id="nothing behind a chunk"),
    pytest.param(b"1\r\nx\rx", id="half a line end behind a chunk"),
    pytest.param(b"0\r\nspam\r\n\r\n", id="a trailer without a colon"),
    pytest.param(b"0\r\nA : 1\r\n\r\n", id="a trailer with a space before the colon"),
    pytest.param(b"0\r\nA: \x00\r\n\r\n", id="a trailer with a NUL"),
    # SAFETY: waitress keeps these without bound.
    pytest.param(b"1;" + b"a" * 1024, id="an extension without end"),
    pytest.param(b"0\r\nA: " + b"1" * 1024, id="a trailer without end"),
]


@pytest.mark.parametrize(
    "feeding",
    [
        pytest.param(WHOLE, id="whole"),
        pytest.param(BYTEWISE, id="byte by byte"),
        pytest.param(BEFORE_JUNK, id="with junk behind it"),
    ],
)
@pytest.mark.parametrize("chunk", MALFORMED_CHUNKS)
def test_a_malformed_chunk_is_refused_and_not_an_end(chunk: bytes, feeding: Feeding) -> None:
    data = CHUNKED_HEAD + b"4\r\nspam\r\n" + chunk
    [refusal] = outcomes(RequestParser(LIMITS), feeding.pieces(data))
    assert isinstance(refusal, Refusal)
    assert refusal.status == 400
    assert "malformed request body" in refusal.reason
    assert refusal.request is not None
    assert refusal.request.body.startswith(b"spam")


def test_it_wants_bytes_when_it_has_none() -> None:
    parser = RequestParser()
    assert parser.next_event() is NEED_DATA
    assert not parser.is_in_head
    assert parser.unread_size == 0


def test_it_tells_that_a_head_has_begun() -> None:
    parser = RequestParser()
    parser.receive(b"G")
    assert parser.next_event() is NEED_DATA
    assert parser.is_in_head


def test_empty_lines_begin_no_head() -> None:
    parser = RequestParser()
    parser.receive(b"\r\n\r\n")
    assert parser.next_event() is NEED_DATA
    assert not parser.is_in_head


def test_no_head_has_begun_behind_a_request() -> None:
    parser = RequestParser()
    parser.receive(sized(b"5"))
    assert isinstance(parser.next_event(), RequestHead)
    assert parser.next_event() == b"spam\n"
    assert parser.next_event() is END_OF_BODY
    assert not parser.is_in_head
    assert parser.next_event() is NEED_DATA


def test_a_body_is_no_head() -> None:
    parser = RequestParser()
    parser.receive(sized(b"5", b"s"))
    assert isinstance(parser.next_event(), RequestHead)
    assert not parser.is_in_head


def test_the_head_comes_before_the_body_has_arrived() -> None:
    parser = RequestParser()
    parser.receive(sized(b"5", b""))
    assert isinstance(parser.next_event(), RequestHead)
    assert parser.next_event() is NEED_DATA


def test_a_body_comes_as_it_arrives() -> None:
    parser = RequestParser()
    parser.receive(sized(b"5", b"sp"))
    assert isinstance(parser.next_event(), RequestHead)
    assert parser.next_event() == b"sp"
    assert parser.next_event() is NEED_DATA
    parser.receive(b"am\n" + NEXT)
    assert parser.next_event() == b"am\n"
    assert parser.next_event() is END_OF_BODY


def test_a_body_that_comes_slowly_is_not_kept() -> None:
    parser = RequestParser()
    parser.receive(sized(b"1000", b""))
    assert isinstance(parser.next_event(), RequestHead)
    for _ in range(10):
        parser.receive(b"x" * 99)
        assert parser.next_event() == b"x" * 99
        assert parser.unread_size == 0


def test_an_unfinished_chunk_comes_as_it_arrives() -> None:
    parser = RequestParser()
    parser.receive(CHUNKED_HEAD + b"5\r\nsp")
    assert isinstance(parser.next_event(), RequestHead)
    assert parser.next_event() == b"sp"
    assert parser.next_event() is NEED_DATA


def test_a_cut_body_never_ends() -> None:
    parser = RequestParser()
    seen = outcomes(parser, [CHUNKED_HEAD + b"5\r\nsp"])
    assert seen == [Unfinished(Request("POST", "/", CHUNKED, body=b"sp"), 0)]


def test_no_request_is_looked_at_before_it_is_asked_for() -> None:
    parser = RequestParser()
    parser.receive(get() + b"junk\r\n\r\n")
    assert isinstance(parser.next_event(), RequestHead)
    assert parser.unread_size == len(b"junk\r\n\r\n")
    with pytest.raises(RequestRefused):
        parser.next_event()


def test_what_comes_while_a_request_is_answered_is_kept_in_order() -> None:
    parser = RequestParser()
    parser.receive(get())
    assert isinstance(parser.next_event(), RequestHead)
    parser.receive(NEXT[:10])
    parser.receive(NEXT[10:])
    assert parser.unread_size == len(NEXT)
    assert outcomes(parser, [b""]) == [NEXT_REQUEST]
    assert parser.unread_size == 0


def test_hundreds_of_requests_in_one_piece_come_in_order() -> None:
    targets = [f"/{number}" for number in range(500)]
    seen = outcomes(RequestParser(), [b"".join(with_target(target) for target in targets)])
    assert seen == [Request("GET", target) for target in targets]


def test_bodies_and_heads_take_turns_in_one_piece() -> None:
    chunks = CHUNKED_HEAD + b"4\r\nspam\r\n0\r\n\r\n"
    seen = outcomes(RequestParser(), [sized(b"5") + chunks + get() + sized(b"0", b"") + NEXT])
    assert seen == [
        posted(b"spam\n", b"5"),
        chunked(b"spam"),
        Request("GET", "/"),
        posted(b"", b"0"),
        NEXT_REQUEST,
    ]
