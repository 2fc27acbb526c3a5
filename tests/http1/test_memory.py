"""The parser's memory of header lines: it saves work and changes no outcome."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from itertools import accumulate, pairwise
from types import SimpleNamespace

import h11
import pytest
from hypothesis import HealthCheck, Phase, example, find, given, settings
from hypothesis import strategies as st

from asyncwsgi.http1 import memory
from asyncwsgi.http1.head import RequestHead
from asyncwsgi.http1.memory import SharedLines
from asyncwsgi.http1.parser import NEED_DATA, HeadLimits, RequestParser
from tests.http1.feeding import Outcome, Reader, Refusal, Request, outcomes

Item = tuple[bytes, bytes]

HOST, ACCEPT, COOKIE = (b"Host", b"test"), (b"Accept", b"*/*"), (b"Cookie", b"a=b")
HOST_LINE = b"Host: test\r\n"
BLOCK = HOST_LINE + b"Accept: */*\r\nCookie: a=b\r\n\r\n"


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


class CountingParser(RequestParser):
    """A parser that counts the heads which h11's own parser did not read."""

    __slots__ = ("recalls",)

    def __init__(self, limits: HeadLimits | None = None, shared: SharedLines | None = None) -> None:
        super().__init__(limits, shared)
        self.recalls = 0

    def _read_plain_head(self) -> RequestHead | None:
        recalled = super()._read_plain_head()
        self.recalls += recalled is not None
        return recalled


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Item]:
    """The header lines about which the memory has asked h11."""
    lines: list[Item] = []

    def end_of_message(*, headers: list[Item]) -> h11.EndOfMessage:
        lines.extend(headers)
        return h11.EndOfMessage(headers=headers)

    recording = SimpleNamespace(
        EndOfMessage=end_of_message, LocalProtocolError=h11.LocalProtocolError
    )
    monkeypatch.setattr(memory, "h11", recording)
    return lines


class TestOneConnection:
    """h11 is asked about each line once, as long as the next head brings it again."""

    def test_h11_is_asked_about_lines_that_are_new(self, asked: list[Item]) -> None:
        receive_head(RequestParser(), head())
        assert asked == [HOST, ACCEPT, COOKIE]

    @pytest.mark.parametrize(
        ("second", "new"),
        [
            pytest.param(head(), [], id="the same head"),
            pytest.param(head(b"GET /other?a=%20 HTTP/1.1"), [], id="another target"),
            pytest.param(head(b"DELETE / HTTP/1.1"), [], id="another method"),
            pytest.param(b"\r\n" + head(), [], id="an empty line before it"),
            pytest.param(
                head(block=b"Cookie: a=b\r\nHost: test\r\nAccept: */*\r\n\r\n"),
                [],
                id="another order",
            ),
            pytest.param(head(block=b"Accept: */*\r\n" + BLOCK), [], id="a line twice"),
            pytest.param(head(block=b"Host: test\r\n\r\n"), [], id="fewer lines"),
            pytest.param(head(block=b"A: 1\r\n" + BLOCK), [(b"A", b"1")], id="one line more"),
            pytest.param(
                head(block=BLOCK.replace(b"a=b", b"a=c")), [(b"Cookie", b"a=c")], id="another value"
            ),
            pytest.param(
                head(block=BLOCK.replace(b"Cookie", b"cookie")),
                [(b"cookie", b"a=b")],
                id="other letters",
            ),
            pytest.param(
                head(block=BLOCK.replace(b"a=b", b"a=b ")), [COOKIE], id="a blank more"
            ),
            pytest.param(
                head(b"POST / HTTP/1.1", b"Content-Length: 4\r\n" + BLOCK) + b"spam",
                [(b"Content-Length", b"4")],
                id="a body",
            ),
            pytest.param(
                head(b"POST / HTTP/1.1", b"Expect: 100-continue\r\n" + BLOCK),
                [(b"Expect", b"100-continue")],
                id="an expectation",
            ),
            pytest.param(
                head(block=b"Upgrade: h2c\r\n" + BLOCK), [(b"Upgrade", b"h2c")], id="an upgrade"
            ),
        ],
    )  # fmt: skip
    def test_h11_is_asked_about_nothing_else(
        self, asked: list[Item], second: bytes, new: list[Item]
    ) -> None:
        parser = CountingParser()
        receive_head(parser, head())
        asked.clear()
        receive_head(parser, second)
        assert asked == new
        assert parser.recalls == 2

    def test_nor_about_pipelined_heads(self, asked: list[Item]) -> None:
        parser = RequestParser()
        receive_head(parser, head() + head(b"GET /2 HTTP/1.1") + head(b"GET /3 HTTP/1.1"))
        asked.clear()
        second, third = parser.next_event(), parser.next_event()
        assert isinstance(second, RequestHead)
        assert isinstance(third, RequestHead)
        assert (second.target, third.target) == ("/2", "/3")
        assert parser.next_event() is NEED_DATA
        assert asked == []

    def test_nor_behind_a_head_that_h11_has_read(self, asked: list[Item]) -> None:
        parser = CountingParser()
        receive_head(parser, head())
        chunked = b"Transfer-Encoding: chunked\r\n" + BLOCK
        receive_head(parser, head(b"POST / HTTP/1.1", chunked) + b"1\r\nx\r\n0\r\n\r\n")
        asked.clear()
        receive_head(parser, head())
        assert asked == []
        assert parser.recalls == 2

    def test_lines_that_the_last_head_did_not_bring_are_forgotten(self, asked: list[Item]) -> None:
        parser = RequestParser()
        for block in (BLOCK, b"Host: test\r\n\r\n"):
            receive_head(parser, head(block=block))
        asked.clear()
        receive_head(parser, head())
        assert asked == [COOKIE]

    def test_heads_with_the_same_lines_share_their_fields(self) -> None:
        parser = RequestParser()
        first = receive_head(parser, head())
        assert not first.fields.recurs
        assert receive_head(parser, head(b"PUT /2 HTTP/1.1")).fields is first.fields
        assert first.fields.recurs
        other = receive_head(parser, head(block=b"A: 1\r\n" + BLOCK))
        assert other.fields is not first.fields
        assert receive_head(parser, head()).fields is not first.fields


class TestAllConnections:
    """Connections share lines whose values are no secret: a hit is faster, and would tell."""

    @pytest.mark.parametrize(
        "line",
        [
            b"Accept: */*", b"ACCEPT: */*", b"User-Agent: spam/1.0", b"Accept-Encoding: br",
            b"Accept-Language: en", b"Connection: keep-alive", b"Cache-Control: no-cache",
            b"Content-Type: text/plain", b"Sec-Fetch-Mode: cors", b"X-Forwarded-Proto: https",
        ],
    )  # fmt: skip
    def test_a_line_that_holds_no_secret_is_known_to_all(
        self, asked: list[Item], line: bytes
    ) -> None:
        shared = SharedLines()
        for _ in range(2):
            receive_head(
                RequestParser(shared=shared), head(block=b"Host: test\r\n%b\r\n\r\n" % line)
            )
        assert len(asked) == 2

    @pytest.mark.parametrize(
        "line",
        [
            b"Cookie: a=b", b"Authorization: Basic YTpi", b"Proxy-Authorization: Basic YTpi",
            b"Sec-WebSocket-Protocol: token", b"Referer: http://test/?token=a", b"X-Api-Key: a",
            b"If-None-Match: a", b"X-Forwarded-For: 192.0.2.1", b"Content-Length: 0",
            b"User-Agent_: spam/1.0",
            pytest.param(b"User-Agent: " + b"a" * 600, id="a long User-Agent"),
        ],
    )  # fmt: skip
    def test_any_other_is_known_to_its_connection_alone(
        self, asked: list[Item], line: bytes
    ) -> None:
        shared = SharedLines()
        for _ in range(2):
            receive_head(
                RequestParser(shared=shared), head(block=b"Host: test\r\n%b\r\n\r\n" % line)
            )
        assert asked[0] == HOST
        assert asked[1:2] == asked[2:]

    def test_other_servers_do_not_know_it(self, asked: list[Item]) -> None:
        receive_head(RequestParser(), head())
        asked.clear()
        receive_head(RequestParser(), head())
        assert asked == [HOST, ACCEPT, COOKIE]

    def test_lines_in_use_are_known_however_many_others_come(self, asked: list[Item]) -> None:
        shared = SharedLines()
        block = b"User-Agent: %d\r\nHost: test\r\nAccept: */*\r\n\r\n"
        for number in range(2000):
            receive_head(RequestParser(shared=shared), head(block=block % number))
        assert len(asked) == 2000 + len([HOST, ACCEPT])


class TestBounds:
    @pytest.mark.parametrize(
        "lines",
        [
            pytest.param(b"Cookie: " + b"a" * 60_000 + b"\r\n", id="one long line"),
            pytest.param(
                b"".join(b"X-%d: %0600d\r\n" % (i, i) for i in range(100)), id="many lines"
            ),
            pytest.param(b"".join(b"X-%d: 1\r\n" % i for i in range(60)), id="many short lines"),
        ],
    )
    def test_a_connection_keeps_nothing_of_a_large_head(self, lines: bytes) -> None:
        data = head(block=lines + BLOCK)
        receive_head(RequestParser(), data)  # names are known to all, up to a number
        parser = RequestParser()
        assert traced_size(lambda: receive_head(parser, data)) < 4096
        assert not receive_head(parser, data).fields.recurs

    def test_a_connection_keeps_one_head_however_many_come(self) -> None:
        parser = RequestParser()

        def receive_many() -> None:
            for number in range(500):
                receive_head(parser, head(block=b"X-Trace: %0500d\r\n" % number + BLOCK))

        assert traced_size(receive_many) < 8192

    @pytest.mark.parametrize("size", [1, 500])
    def test_a_server_keeps_a_bounded_number_and_size_of_lines(self, size: int) -> None:
        shared = SharedLines()

        def receive_many() -> None:
            for number in range(2000):
                line = b"User-Agent: %0*d\r\n" % (size, number)
                receive_head(RequestParser(shared=shared), head(block=line + BLOCK))

        assert traced_size(receive_many) < 256 * 1024


def traced_size(action: Callable[[], object]) -> int:
    """The bytes that have been allocated during `action` and are in use behind it."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        action()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return after - before


def with_line(line: bytes, request_line: bytes = b"GET / HTTP/1.1") -> bytes:
    return head(request_line, line + b"\r\n" + BLOCK)


class TestHeadsThatH11Reads:
    """Whatever is not of the plainest kind is read by h11's own parser, as without a memory."""

    @pytest.mark.parametrize(
        "data",
        [
            pytest.param(head(b"GET / HTTP/1.0"), id="HTTP/1.0"),
            pytest.param(head(b"GET / HTTP/2.0"), id="HTTP/2.0"),
            pytest.param(head(b"GET http://test/ HTTP/1.1"), id="absolute-form"),
            pytest.param(head(b"OPTIONS * HTTP/1.1"), id="asterisk-form"),
            pytest.param(head(b"CONNECT test:80 HTTP/1.1"), id="authority-form"),
            pytest.param(head(b"CONNECT / HTTP/1.1"), id="CONNECT"),
            pytest.param(with_line(b"Transfer-Encoding: chunked"), id="a body in chunks"),
            pytest.param(with_line(b"transfer-encoding: gzip"), id="another coding"),
            pytest.param(with_line(b"Host: test"), id="two Hosts"),
            pytest.param(head(block=b"Accept: */*\r\n\r\n"), id="no Host"),
            pytest.param(head(block=b"\r\n"), id="no line"),
            pytest.param(head(block=b"Host: a b\r\n\r\n"), id="a Host that is none"),
            pytest.param(with_line(b"Content-Length: 0\r\nContent-Length: 0"), id="two lengths"),
            pytest.param(with_line(b"Content-Length: 4\r\nContent-Length: 5"), id="another length"),
            pytest.param(with_line(b"Content-Length: +4"), id="a length that is none"),
            pytest.param(head().replace(b"\r\n", b"\n"), id="bare LF"),
            pytest.param(b"GET / HTTP/1.1\n" + BLOCK, id="bare LF behind the request line"),
            pytest.param(head(block=BLOCK.removesuffix(b"\r\n") + b"\n"), id="bare LF at the end"),
            pytest.param(with_line(b"A: 1\n"), id="bare LF before a line"),
            pytest.param(with_line(b"A: 1\nB: 2"), id="bare LF in a line"),
            pytest.param(with_line(b"A: 1\rB: 2"), id="bare CR"),
            pytest.param(with_line(b"A: 1\r"), id="two CR"),
            pytest.param(with_line(b"A: 1\r\n 2"), id="a folded line"),
            pytest.param(with_line(b"A: 1\r\n Host: test"), id="a folded line like a known one"),
            pytest.param(with_line(b" A: 1"), id="a blank first"),
            pytest.param(with_line(b"A : 1"), id="a blank before the colon"),
            pytest.param(with_line(b"Host : test"), id="a blank before a known line's colon"),
            pytest.param(with_line(b"A"), id="no colon"),
            pytest.param(with_line(b": 1"), id="no name"),
            pytest.param(with_line(b"A B: 1"), id="a blank in a name"),
            pytest.param(with_line(b"\xc4: 1"), id="a name beyond ASCII"),
            pytest.param(with_line(b"A: 1\x002"), id="NUL"),
            pytest.param(with_line(b"A: \x0b"), id="a vertical tab"),
            pytest.param(with_line(b"A: \x01"), id="a control byte that h11 lets pass"),
            pytest.param(with_line(b"A: \x7f"), id="DEL"),
            pytest.param(with_line(b"A: 1\r\n" * 200), id="too many lines"),
            pytest.param(with_line(b"A: " + b"1" * 2**16), id="too long a head"),
            pytest.param(head(b"GET /%b HTTP/1.1" % (b"a" * 2**14)), id="too long a target"),
            pytest.param(head()[:-2], id="no end"),
        ],
    )  # fmt: skip
    def test_the_memory_lets_it_pass(self, data: bytes) -> None:
        parser = CountingParser()
        receive_head(parser, head())
        outcomes(parser, [data])
        assert parser.recalls == 1
        assert exactly(outcomes(RequestParser(), [head(), data])) == exactly(
            outcomes(ForgetfulParser(), [head(), data])
        )

    @pytest.mark.parametrize(
        "lines",
        [
            pytest.param([b"Content-Length: 4", b"Content-Length: 4"], id="the length twice"),
            pytest.param([b"Content-Length: 4", b"content-length: 4"], id="in other letters"),
            pytest.param([b"Content-Length: 4", b"Content-Length: 5"], id="another behind it"),
            pytest.param([b"Content-Length: 5", b"Content-Length: 4"], id="another before it"),
            pytest.param([b"Content-Length: 4", b"Content-Length: 0"], id="no length behind it"),
            pytest.param([b"Content-Length: 4", b"Transfer-Encoding: chunked"], id="chunks"),
            pytest.param([b"Content-Length: 4", HOST_LINE[:-2]], id="the Host twice"),
            pytest.param([b"Content-Length: 4", b"hOST: other"], id="another Host"),
        ],
    )
    def test_a_line_that_is_known_frames_nothing_by_itself(self, lines: list[bytes]) -> None:
        first = head(block=b"Content-Length: 4\r\n" + BLOCK) + b"spam"
        second = head(block=b"\r\n".join([*lines, BLOCK])) + b"0\r\n\r\n" + head()
        parser = CountingParser()
        receive_head(parser, first)
        parser.receive(second)
        Reader(parser).read()
        assert parser.recalls == 1
        assert exactly(outcomes(RequestParser(), [first, second])) == exactly(
            outcomes(ForgetfulParser(), [first, second])
        )

    def test_a_name_that_only_the_server_itself_has_is_not_remembered(self) -> None:
        # Whoever shares the lines may have another name.
        block = b"Host: /run/a.sock\r\n\r\n"
        parser = CountingParser(HeadLimits(own_name=b"/run/a.sock"))
        for _ in range(2):
            receive_head(parser, head(block=block))
        assert parser.recalls == 0


class ForgetfulParser(RequestParser):
    """A parser that asks h11 every time."""

    __slots__ = ()

    def _read_plain_head(self) -> RequestHead | None:
        return None


def exactly(seen: list[Outcome]) -> list[tuple[Outcome, str]]:
    """With the reasons of refusals, which outcomes do not compare."""
    return [(outcome, getattr(outcome, "reason", "")) for outcome in seen]


def test_lines_are_recalled_by_every_byte_of_them() -> None:
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


class TestRefusalsBehindKnownLines:
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


# Lines of which one at most is odd; in heads that follow each other the same ones come again.
GOOD_LINES = (
    b"Accept: */*\r\n", b"Cookie: a=b\r\n", b"Content-Length: 0\r\n", b"A: 1\r\n", b"a:1\r\n",
    b"A: \xe9\r\n", b"X_A: 1\r\n", b"Connection: keep-alive\r\n", b"Connection: TE, close\r\n",
    b"Expect: 100-continue\r\n",
)  # fmt: skip
NAMES = (
    b"Host", b"hOST", b"Cookie", b"COOKIE", b"Content-Length", b"content-length", b"Content_Length",
    b"Transfer-Encoding", b"TRANSFER-ENCODING", b"Expect", b"Connection", b"A", b"\xe9", b"",
)  # fmt: skip
COLONS = (b": ", b":", b":\t", b":  ", b" :", b"\t: ", b"::", b"", b"\x00:", b":\x0b", b":\x85")
VALUES = (
    b"test", b"0", b"00", b"0, 0", b"0,1", b"+0", b"-0", b"0 ", b"0\t", b"1", b"chunked", b"close",
    b"keep-alive, close", b"100-continue", b"", b" ", b"a b", b"\xe9", b"\xa0", b"\x00", b"\x01",
    b"\x0b", b"\x1f", b"\x7f", b"\xb2",
)  # fmt: skip
ENDS = (
    b"\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\r\n",
    b"\n\r\n",
    b"\r\n ",
    b"\r\n\t",
    b" \r\n",
    b"\r\n\r\n",
)


@st.composite
def heads_of_lines(draw: st.DrawFn) -> bytes:
    lines = draw(st.lists(st.sampled_from(GOOD_LINES), max_size=4))
    odd = [draw(st.sampled_from(parts)) for parts in (NAMES, COLONS, VALUES, ENDS)]
    if draw(st.booleans()):
        # One oddity; with more, lines would all be refused.
        kept = draw(st.integers(0, 3))
        plain = (b"A", b": ", b"1", b"\r\n")
        odd = [odd[i] if i == kept else part for i, part in enumerate(plain)]
    lines.insert(draw(st.integers(0, len(lines))), b"".join(odd))
    lines.insert(draw(st.integers(0, len(lines))), b"Host: test\r\n")
    method = draw(st.sampled_from([b"GET", b"POST"]))
    return head(method + b" / HTTP/1.1", b"".join(lines) + b"\r\n")


GOOD_HEADS = st.builds(
    head,
    st.sampled_from([b"GET / HTTP/1.1", b"GET /a?b HTTP/1.1", b"HEAD / HTTP/1.1"]),
    st.sampled_from([BLOCK, BLOCK, b"Host: test\r\n\r\n", b"Content-Length: 0\r\n" + BLOCK]),
)
GROUPS = st.tuples(
    st.lists(GOOD_HEADS, min_size=1, max_size=3),
    st.one_of(heads_of_odd_parts(), damaged_heads(), heads_of_lines(), heads_of_lines()),
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


def recalls(pieces: list[bytes]) -> int:
    parser = CountingParser()
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
    expected = exactly(outcomes(ForgetfulParser(limits), pieces))
    assert exactly(outcomes(RequestParser(limits), pieces)) == expected


@settings(SETTINGS, max_examples=200)
@given(pieces_of_sequences(), pieces_of_sequences(), ALL_LIMITS)
def test_a_parser_that_shares_lines_with_others_comes_to_the_same(
    others: list[bytes], pieces: list[bytes], limits: HeadLimits
) -> None:
    shared = SharedLines()
    outcomes(RequestParser(limits, shared), others)
    expected = exactly(outcomes(ForgetfulParser(limits), pieces))
    assert exactly(outcomes(RequestParser(limits, shared), pieces)) == expected


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
