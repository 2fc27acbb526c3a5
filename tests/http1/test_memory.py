"""The parser's memory of header blocks: it saves work and changes no outcome."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate, pairwise

import pytest
from hypothesis import HealthCheck, Phase, example, find, given, settings
from hypothesis import strategies as st

from asyncwsgi.http1.head import RequestHead
from asyncwsgi.http1.parser import NEED_DATA, HeadLimits, RequestParser
from tests.http1.feeding import Outcome, Reader, Refusal, Request, outcomes

BLOCK = b"Host: test\r\nAccept: */*\r\nCookie: a=b\r\n\r\n"


def head(line: bytes = b"GET / HTTP/1.1", block: bytes = BLOCK) -> bytes:
    return line + b"\r\n" + block


def receive_head(parser: RequestParser, data: bytes) -> RequestHead:
    """The head in `data`; its body, if it has one, is parsed to its end."""
    parser.receive(data)
    result = parser.next_event()
    assert isinstance(result, RequestHead)
    if result.fields.has_body:
        while isinstance(parser.next_event(), bytes):
            pass
    return result


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(head(), id="the same head"),
        pytest.param(head(b"GET /other?a=%20 HTTP/1.1"), id="another target"),
        pytest.param(head(b"DELETE / HTTP/1.1"), id="another method"),
        pytest.param(b"\r\n" + head(), id="an empty line before it"),
    ],
)
def test_the_headers_of_a_head_are_remembered(second: bytes) -> None:
    parser = RequestParser()
    first = receive_head(parser, head())
    assert receive_head(parser, second).fields is first.fields


def test_they_are_remembered_over_a_head_that_could_not_be() -> None:
    parser = RequestParser()
    first = receive_head(parser, head())
    receive_head(parser, head(b"POST / HTTP/1.1", b"Content-Length: 1\r\n" + BLOCK) + b"x")
    assert receive_head(parser, head()).fields is first.fields


def test_only_the_last_are_remembered() -> None:
    parser = RequestParser()
    first = receive_head(parser, head())
    other = receive_head(parser, head(block=b"A: 1\r\n" + BLOCK))
    again = receive_head(parser, head())
    assert len({id(result.fields) for result in (first, other, again)}) == 3
    assert receive_head(parser, head()).fields is again.fields


def test_they_are_remembered_for_pipelined_heads() -> None:
    parser = RequestParser()
    first = receive_head(parser, head() + head(b"GET /2 HTTP/1.1") + head(b"GET /3 HTTP/1.1"))
    second, third = parser.next_event(), parser.next_event()
    assert isinstance(second, RequestHead)
    assert isinstance(third, RequestHead)
    assert (second.target, third.target) == ("/2", "/3")
    assert first.fields is second.fields is third.fields
    assert parser.next_event() is NEED_DATA


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(head(b"GET / HTTP/1.0"), id="HTTP/1.0"),
        pytest.param(head(b"GET http://test/ HTTP/1.1"), id="absolute-form"),
        pytest.param(head(b"OPTIONS * HTTP/1.1"), id="asterisk-form"),
        pytest.param(
            head(b"POST / HTTP/1.1", b"Content-Length: 4\r\n" + BLOCK) + b"spam", id="a body"
        ),
        pytest.param(
            head(b"POST / HTTP/1.1", b"Content-Length: 0\r\n" + BLOCK), id="a body of no length"
        ),
        pytest.param(
            head(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked\r\n" + BLOCK) + b"0\r\n\r\n",
            id="a body in chunks",
        ),
        pytest.param(head(block=b"Expect: 100-continue\r\n" + BLOCK), id="an expectation"),
        pytest.param(head(block=b"Upgrade: h2c\r\n" + BLOCK), id="an upgrade"),
        # Only CRLF ends the lines of what is recalled.
        pytest.param(head().replace(b"\r\n", b"\n"), id="bare LF"),
        pytest.param(b"GET / HTTP/1.1\n" + BLOCK, id="bare LF behind the request line"),
        pytest.param(head(block=BLOCK.removesuffix(b"\r\n") + b"\n"), id="bare LF at the end"),
    ],
)
def test_no_other_head_is_remembered(data: bytes) -> None:
    parser = RequestParser()
    block = data[data.index(b"\n") + 1 :]
    first = receive_head(parser, data)
    second = receive_head(parser, b"GET / HTTP/1.1\r\n" + block)
    assert second.fields is not first.fields


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"GET / HTTP/1.0", id="HTTP/1.0"),
        pytest.param(b"GET http://other/ HTTP/1.1", id="absolute-form"),
        pytest.param(b"OPTIONS * HTTP/1.1", id="asterisk-form"),
    ],
)
def test_no_other_head_is_recalled(line: bytes) -> None:
    parser = RequestParser()
    first = receive_head(parser, head())
    assert receive_head(parser, head(line)).fields is not first.fields


def test_headers_are_recalled_by_every_byte_of_them() -> None:
    for position in range(len(BLOCK) - len(b"\r\n\r\n")):
        changed = bytearray(BLOCK)
        changed[position] ^= 1
        data = head(block=bytes(changed))
        assert outcomes(RequestParser(), [head(), data])[1:] == outcomes(RequestParser(), [data])


def test_nothing_is_recalled_of_headers_that_go_on() -> None:
    longer = BLOCK.removesuffix(b"\r\n") + b"A: 1\r\n\r\n"
    parser = RequestParser()
    receive_head(parser, head())
    assert receive_head(parser, head(block=longer)).fields.items[-1] == (b"A", b"1")


def test_a_head_without_host_is_not_excused_by_one_that_needed_none() -> None:
    # RFC 9112 3.2: HTTP/1.1 must name a Host, HTTP/1.0 need not.
    lines = (b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n")
    assert outcomes(RequestParser(), lines)[1:] == [Refusal(400)]


class TestRefusalsBehindAnEqualBlock:
    """What is refused of a connection's first head is refused of its later ones, too."""

    @pytest.mark.parametrize(
        ("line", "status"),
        [
            pytest.param(b"CONNECT test:443 HTTP/1.1", 501, id="CONNECT"),
            pytest.param(b"CONNECT / HTTP/1.1", 501, id="CONNECT to a path"),
            pytest.param(b"GET http://me@test/ HTTP/1.1", 400, id="a malformed authority"),
            pytest.param(b"GET spam HTTP/1.1", 400, id="a relative target"),
            pytest.param(b"GET * HTTP/1.1", 400, id="an asterisk without OPTIONS"),
            pytest.param(b"GET /\x00 HTTP/1.1", 400, id="a NUL in the target"),
            pytest.param(b"GET /\xff HTTP/1.1", 400, id="a target beyond ASCII"),
            pytest.param(b"GET /a b HTTP/1.1", 400, id="a space in the target"),
            pytest.param(b"GET  / HTTP/1.1", 400, id="two spaces"),
            pytest.param(b"G(T / HTTP/1.1", 400, id="a method that is no token"),
            pytest.param(b" / HTTP/1.1", 400, id="no method"),
            pytest.param(b"GET / HTTP/1.1 ", 400, id="a space at the end"),
            pytest.param(b"GET / HTTP/1.1\r", 400, id="two CR"),
            pytest.param(b"GET / http/1.1", 400, id="a version in small letters"),
            pytest.param(b"GET / HTTP/2.0", 505, id="HTTP/2.0"),
            pytest.param(b"GET /", 400, id="HTTP/0.9"),
        ],
    )
    def test_of_request_lines(self, line: bytes, status: int) -> None:
        seen = outcomes(RequestParser(), [head(), head(line)])
        assert seen[1:] == [Refusal(status)]

    def test_of_targets_that_are_too_long(self) -> None:
        limits = HeadLimits(max_target_size=10)
        targets = (b"/123456789", b"/1234567890")
        lines = [b"GET %b HTTP/1.1" % target for target in targets]
        seen = outcomes(RequestParser(limits), [head(), *map(head, lines)])
        assert [type(outcome) for outcome in seen] == [Request, Request, Refusal]
        assert seen[2] == Refusal(414)

    def test_of_heads_that_are_too_large(self) -> None:
        limits = HeadLimits(max_head_size=len(head()) + 10)
        lines = [b"GET /%b HTTP/1.1" % (b"a" * size) for size in (10, 11)]
        seen = outcomes(RequestParser(limits), [head(), *map(head, lines)])
        assert [type(outcome) for outcome in seen] == [Request, Request, Refusal]
        assert seen[2] == Refusal(431)


# Heads as clients send them, and heads with one thing odd about them: with more, nearly all would
# be refused for the same few reasons, and a refusal ends a connection.

GOOD_PARTS = (b"GET", b" ", b"/", b" ", b"HTTP/1.1", b"\r\n", BLOCK)
ODD_PARTS = (
    (b"HEAD", b"OPTIONS", b"CONNECT", b"get", b"PRI", b"G\x00T", b"G\xc9T", b"G@T", b""),
    (b"  ", b"\t", b"\r", b""),
    (
        b"/a?b=c", b"//", b"/%00", b"/" + b"a" * 40, b"*", b"http://test/a", b"http://a@b/",
        b"test:80", b"a", b"/\x80", b"/\x00", b"/\x7f", b"/ a", b"",
    ),
    (b"  ", b"\t", b"\r", b""),
    (
        b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.2", b"http/1.1", b"HTTP/1.1 ", b"HTTP/1.1\t",
        b"HTTP/11", b"HTTP/1.1\r", b"",
    ),
    (b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\n\r\n", b"\r\n ", b""),
    (
        b"\r\n",
        b"\n",
        BLOCK.replace(b"\r\n", b"\n"),
        BLOCK.replace(b"\r\n", b"\n", 1),
        BLOCK[:-2] + b"\n",
        BLOCK.swapcase(),
        b"Connection: close\r\n" + BLOCK,
        b"Host: test\r\n" + BLOCK,
        b"Host: a b\r\n\r\n",
        b"A: 1\r\n 2\r\n" + BLOCK,
        b"A : 1\r\n" + BLOCK,
        b"A: \xff\x01\r\n" + BLOCK,
        b"A: 1\r\n" * 6 + BLOCK,
        b"Upgrade: h2c\r\n" + BLOCK,
        b"Expect: 100-continue\r\n" + BLOCK,
        b"Content-Length: 0\r\n" + BLOCK,
        b"Content-Length: 4\r\n" + BLOCK + b"spam",
        b"Content-Length: +4\r\n" + BLOCK + b"spam",
        b"Content-Length: %d\r\n" % len(head()) + BLOCK + head(),
        b"Transfer-Encoding: chunked\r\n" + BLOCK + b"4\r\nspam\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n" + BLOCK + b"0\r\n\r\n",
        b"Transfer-Encoding: gzip\r\n" + BLOCK,
    ),
)  # fmt: skip
ODD_BYTES = [bytes([byte]) for byte in b"\r\n\t \x00\x0b\x7f\x80\xff:,;a1/"]


@st.composite
def heads_of_odd_parts(draw: st.DrawFn) -> bytes:
    parts = list(GOOD_PARTS)
    index = draw(st.integers(0, len(parts) - 1))
    parts[index] = draw(st.sampled_from(ODD_PARTS[index]))
    return b"".join(parts)


@st.composite
def damaged_heads(draw: st.DrawFn) -> bytes:
    """Heads that something happened to at one place."""
    data = head()
    start = draw(st.integers(0, len(data) - 1))
    end = start + draw(st.integers(1, 12))
    before, middle, behind = data[:start], data[start:end], data[end:]
    ways = ["insert", "replace", "cut", "double", "change case", "truncate"]
    match draw(st.sampled_from(ways)):
        case "insert":
            return before + draw(st.sampled_from(ODD_BYTES)) + middle + behind
        case "replace":
            return before + draw(st.sampled_from(ODD_BYTES)) * len(middle) + behind
        case "cut":
            return before + behind
        case "double":
            return before + middle * 2 + behind
        case "change case":
            return before + middle.swapcase() + behind
        case _:
            return before


GOOD_HEADS = st.builds(
    head,
    st.sampled_from([b"GET / HTTP/1.1", b"GET /a?b HTTP/1.1", b"HEAD / HTTP/1.1"]),
    st.sampled_from([BLOCK, BLOCK, b"Host: test\r\n\r\n"]),
)
GROUPS = st.tuples(
    st.lists(GOOD_HEADS, min_size=1, max_size=3), st.one_of(heads_of_odd_parts(), damaged_heads())
)


@st.composite
def sequences(draw: st.DrawFn) -> list[bytes]:
    """Heads of one connection: a few good ones before each that is odd."""
    groups = draw(st.lists(GROUPS, min_size=2, max_size=5))
    return [data for good, odd in groups for data in (*good, odd)]


@st.composite
def pieces_of_sequences(draw: st.DrawFn) -> list[bytes]:
    """The bytes of a connection as they arrive: cut between heads, and anywhere."""
    heads = draw(sequences())
    data = b"".join(heads)
    ends = [*accumulate(map(len, heads[:-1]))]
    between = draw(st.sets(st.sampled_from(ends)))
    anywhere = draw(st.sets(st.integers(0, len(data)), max_size=3))
    cuts = [0, *sorted(between | anywhere), len(data)]
    return [data[start:end] for start, end in pairwise(cuts) if start < end]


ALL_LIMITS = st.sampled_from(
    [
        HeadLimits(),
        HeadLimits(max_head_size=100),
        HeadLimits(max_target_size=20),
        HeadLimits(max_headers=4),
    ]
)

# No deadline and no health check that looks at a clock; the same heads in every run.
SETTINGS = settings(
    max_examples=600,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)


class ForgetfulParser(RequestParser):
    """A parser that asks h11 every time."""

    __slots__ = ()

    def _recall(self) -> RequestHead | None:
        return None


class CountingParser(RequestParser):
    """A parser that counts what it remembered."""

    __slots__ = ("recalls",)

    def __init__(self, limits: HeadLimits) -> None:
        super().__init__(limits)
        self.recalls = 0

    def _recall(self) -> RequestHead | None:
        recalled = super()._recall()
        self.recalls += recalled is not None
        return recalled


def recalls(pieces: list[bytes]) -> int:
    parser = CountingParser(HeadLimits())
    outcomes(parser, pieces)
    return parser.recalls


@pytest.mark.parametrize("count", [1, 5])
def test_the_generated_heads_do_reach_the_memory(count: int) -> None:
    unshrunk = settings(SETTINGS, phases=[Phase.generate])
    find(pieces_of_sequences(), lambda pieces: recalls(pieces) >= count, settings=unshrunk)


@SETTINGS
@given(pieces_of_sequences(), ALL_LIMITS)
@example([b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"], HeadLimits())
@example([head(), head(b"CONNECT / HTTP/1.1")], HeadLimits())
def test_a_parser_that_asks_h11_every_time_comes_to_the_same(
    pieces: list[bytes], limits: HeadLimits
) -> None:
    expected = outcomes(ForgetfulParser(limits), pieces)
    assert outcomes(RequestParser(limits), pieces) == expected


@SETTINGS
@given(sequences().map(b"".join), ALL_LIMITS)
def test_a_parser_for_each_request_comes_to_the_same(data: bytes, limits: HeadLimits) -> None:
    expected = list(each_by_a_parser_of_its_own(data, limits))
    assert outcomes(RequestParser(limits), [data]) == expected


def each_by_a_parser_of_its_own(data: bytes, limits: HeadLimits) -> Iterator[Outcome]:
    while data:
        parser = RequestParser(limits)
        reader = Reader(parser)
        reader.receive(data)
        outcome = reader.read()
        if not isinstance(outcome, Request):
            yield from reader.unfinished() if outcome is None else [outcome]
            return
        yield outcome
        data = data[len(data) - parser.unread_size :]
