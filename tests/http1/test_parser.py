"""What the parser takes for a request, and what it refuses (RFC 9112)."""

from __future__ import annotations

import pytest

from asyncwsgi.errors import RequestRefused
from asyncwsgi.http1.parser import HeadLimits, RequestParser
from tests.http1.feeding import (
    BEFORE_JUNK,
    BYTEWISE,
    NEXT,
    PIPELINED,
    WHOLE,
    Feeding,
    Request,
    check_refusal,
    outcomes,
)
from tests.http1.samples import (
    CHUNKED,
    CHUNKED_HEAD,
    HOST,
    LIMITS,
    OBS_TEXT,
    VISIBLE,
    chunked,
    coded,
    connections,
    get,
    head_of_size,
    one_header,
    posted,
    sized,
    with_connection,
    with_target,
)

SERVED = [
    # The request line, RFC 9112 3.
    pytest.param(get(), Request("GET", "/"), id="GET"),
    pytest.param(
        get(line=b"M-SEARCH / HTTP/1.1"), Request("M-SEARCH", "/"), id="a method of punctuation"
    ),
    pytest.param(get(line=b"get / HTTP/1.1"), Request("get", "/"), id="methods keep their case"),
    pytest.param(
        with_target("/" + VISIBLE), Request("GET", "/" + VISIBLE), id="a target of all characters"
    ),
    pytest.param(with_target("//a//b?c?d"), Request("GET", "//a//b?c?d"), id="doubled slashes"),
    pytest.param(with_target("/%zz%"), Request("GET", "/%zz%"), id="percent signs at random"),
    pytest.param(with_target("*", "OPTIONS"), Request("OPTIONS", "*"), id="OPTIONS of the server"),
    pytest.param(
        with_target("http://other:80/a?b"),
        Request("GET", "http://other:80/a?b"),
        id="absolute-form",
    ),
    pytest.param(
        with_target("http://other"), Request("GET", "http://other"), id="absolute-form, no path"
    ),
    pytest.param(
        with_target("http://other?a=/"),
        Request("GET", "http://other?a=/"),
        id="absolute-form, a query and no path",
    ),
    pytest.param(
        with_target("HTTPS://[2001:db8::1]:443/"),
        Request("GET", "HTTPS://[2001:db8::1]:443/"),
        id="absolute-form, an IPv6 address",
    ),
    pytest.param(
        with_target("http://other", "OPTIONS"),
        Request("OPTIONS", "http://other"),
        id="absolute-form with OPTIONS",
    ),
    # RFC 9112 2.2: "a server that is expecting to receive and parse a request-line SHOULD ignore
    # at least one empty line (CRLF) received prior to the request-line".
    pytest.param(b"\r\n" + get(), Request("GET", "/"), id="an empty line first"),
    pytest.param(b"\r\n" * 9 + get(), Request("GET", "/"), id="empty lines first"),
    # Header lines, RFC 9112 5.
    pytest.param(get(b"A:1\r\n"), one_header(b"A", b"1"), id="no space behind the colon"),
    pytest.param(get(b"A: \t 1 \t\r\n"), one_header(b"A", b"1"), id="spaces around a value"),
    pytest.param(get(b"A: 1 \t 2\r\n"), one_header(b"A", b"1 \t 2"), id="spaces within a value"),
    pytest.param(get(b"A:\r\n"), one_header(b"A", b""), id="an empty value"),
    pytest.param(get(b"A: \r\n"), one_header(b"A", b""), id="a value of one space"),
    pytest.param(get(b"A: b:c\r\n"), one_header(b"A", b"b:c"), id="a colon in a value"),
    pytest.param(
        get(b"A: " + OBS_TEXT + b"\r\n"), one_header(b"A", OBS_TEXT), id="a value beyond ASCII"
    ),
    pytest.param(get(b"x-A_b: 1\r\n"), one_header(b"x-A_b", b"1"), id="names keep their case"),
    pytest.param(
        get(b"A: 1\r\nB: 2\r\nA: 3\r\n"),
        Request("GET", "/", (HOST, (b"A", b"1"), (b"B", b"2"), (b"A", b"3"))),
        id="repeated headers keep their order",
    ),
    # RFC 9112 5.2: replaced by spaces, if it is not refused.
    pytest.param(get(b"A: 1\r\n \t2\r\n"), one_header(b"A", b"1 2"), id="a folded value"),
    pytest.param(
        get(b"A: 1\r\n Content-Length: 5\r\n"),
        one_header(b"A", b"1 Content-Length: 5"),
        id="a folded value that looks like a header",
    ),
    # RFC 9112 2.2: "a recipient MAY recognize a single LF as a line terminator".
    pytest.param(
        b"GET / HTTP/1.1\nHost: test\nA: 1\n\n", one_header(b"A", b"1"), id="bare LF everywhere"
    ),
    pytest.param(
        b"GET / HTTP/1.1\r\nHost: test\nA: 1\r\n\r\n", one_header(b"A", b"1"), id="one bare LF"
    ),
    pytest.param(
        b"GET / HTTP/1.1\r\nHost: test\r\nA: 1\r\n\n",
        one_header(b"A", b"1"),
        id="a bare LF at the end",
    ),
    pytest.param(
        get(b"Upgrade: h2c\r\nConnection: Upgrade\r\n"),
        Request("GET", "/", (HOST, (b"Upgrade", b"h2c"), (b"Connection", b"Upgrade"))),
        id="an upgrade that nobody takes up",
    ),
    # Versions, RFC 9112 2.3.
    pytest.param(
        b"GET / HTTP/1.0\r\n\r\n",
        Request("GET", "/", (), "1.0", keep_alive=False),
        id="HTTP/1.0 without Host",
    ),
    pytest.param(
        get(b"Connection: keep-alive\r\n", b"GET / HTTP/1.0"),
        Request("GET", "/", (HOST, (b"Connection", b"keep-alive")), "1.0", keep_alive=False),
        id="HTTP/1.0 is never kept",
    ),
    pytest.param(
        get(b"Content-Length: 4\r\n", b"POST / HTTP/1.0") + b"spam",
        Request(
            "POST", "/", (HOST, (b"Content-Length", b"4")), "1.0", keep_alive=False, body=b"spam"
        ),
        id="HTTP/1.0 with a body",
    ),
    # RFC 9112 6.1: a faulty framing; the connection has to close behind it.
    pytest.param(
        get(b"Transfer-Encoding: chunked\r\n", b"POST / HTTP/1.0") + b"1\r\nx\r\n0\r\n\r\n",
        Request("POST", "/", CHUNKED, "1.0", keep_alive=False, body=b"x"),
        id="HTTP/1.0 in chunks",
    ),
    # Connection, RFC 9110 7.6.1: a list of tokens that have no case.
    pytest.param(with_connection(b"close"), connections(False, b"close"), id="close"),
    pytest.param(with_connection(b"CLOSE"), connections(False, b"CLOSE"), id="close in capitals"),
    pytest.param(
        with_connection(b"te, close"), connections(False, b"te, close"), id="close in a list"
    ),
    pytest.param(
        with_connection(b",close\t,"), connections(False, b",close\t,"), id="close in a sloppy list"
    ),
    pytest.param(
        with_connection(b"keep-alive", b"close"),
        connections(False, b"keep-alive", b"close"),
        id="close in a second line",
    ),
    pytest.param(
        with_connection(b"close", b"keep-alive"),
        connections(False, b"close", b"keep-alive"),
        id="close in a first line",
    ),
    pytest.param(
        with_connection(b"closed, x-close"),
        connections(True, b"closed, x-close"),
        id="words that contain close",
    ),
    pytest.param(
        with_connection(b"keep-alive"), connections(True, b"keep-alive"), id="keep-alive is nothing"
    ),
    # Content-Length, RFC 9112 6.2.
    pytest.param(sized(b"5"), posted(b"spam\n", b"5"), id="a body of a known length"),
    pytest.param(sized(b"0", b""), posted(b"", b"0"), id="a body of no length"),
    pytest.param(sized(b"005"), posted(b"spam\n", b"005"), id="leading zeros of a length"),
    pytest.param(sized(b"5, 5"), posted(b"spam\n", b"5"), id="the same length as a list"),
    pytest.param(
        sized(b"5\r\nContent-Length: 5"), posted(b"spam\n", b"5"), id="the same length twice"
    ),
    pytest.param(
        sized(b"%d" % len(NEXT), NEXT), posted(NEXT, b"%d" % len(NEXT)), id="a body like a request"
    ),
    pytest.param(
        get(b"content-LENGTH: 1\r\n", b"GET / HTTP/1.1") + b"\n",
        Request("GET", "/", (HOST, (b"content-LENGTH", b"1")), body=b"\n"),
        id="GET with a body",
    ),
    # RFC 9110 10.1.1.
    pytest.param(
        get(b"Content-Length: 1\r\nExpect: 100-Continue\r\n", b"PUT / HTTP/1.1") + b"x",
        Request(
            "PUT",
            "/",
            (HOST, (b"Content-Length", b"1"), (b"Expect", b"100-Continue")),
            expects_continue=True,
            body=b"x",
        ),
        id="a client that waits for 100",
    ),
    # Transfer-Encoding and chunks, RFC 9112 6.1 and 7.1.
    pytest.param(CHUNKED_HEAD + b"0\r\n\r\n", chunked(b""), id="no chunk"),
    pytest.param(
        CHUNKED_HEAD + b"4\r\nspam\r\n1\r\n \r\n0\r\n\r\n", chunked(b"spam "), id="two chunks"
    ),
    pytest.param(
        CHUNKED_HEAD + b"A\r\n0123456789\r\n0a\r\n0123456789\r\n000\r\n\r\n",
        chunked(b"0123456789" * 2),
        id="chunk sizes in every form",
    ),
    pytest.param(
        CHUNKED_HEAD + b"8\r\n0\r\n\r\nGET\r\n0\r\n\r\n",
        chunked(b"0\r\n\r\nGET"),
        id="a chunk like an end",
    ),
    # RFC 9112 7.1.1: "A recipient MUST ignore unrecognized chunk extensions."
    pytest.param(
        CHUNKED_HEAD + b'4;a;b=c;d="5\\" e"\r\nspam\r\n0;f\r\n\r\n',
        chunked(b"spam"),
        id="chunk extensions",
    ),
    pytest.param(
        CHUNKED_HEAD + b"4;\r\nspam\r\n0;a=\r\n\r\n",
        chunked(b"spam"),
        id="malformed chunk extensions",
    ),
    # RFC 9110 6.5.1: trailers may be dropped, and those that frame or route must not be merged.
    pytest.param(
        CHUNKED_HEAD + b"1\r\nx\r\n0\r\nA: 1\r\nHost: evil\r\nContent-Length: 99\r\n\r\n",
        chunked(b"x"),
        id="trailers are dropped",
    ),
    pytest.param(
        get(b"Transfer-Encoding: ChunKed\r\n", b"POST / HTTP/1.1") + b"1\r\nx\r\n0\r\n\r\n",
        chunked(b"x"),
        id="chunked has no case",
    ),
    # RFC 9112 6.3: chunked counts, and the connection closes behind it.
    pytest.param(
        get(b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", b"POST / HTTP/1.1")
        + b"1\r\nx\r\n0\r\n\r\n",
        Request(
            "POST",
            "/",
            (HOST, (b"Content-Length", b"3"), (b"Transfer-Encoding", b"chunked")),
            keep_alive=False,
            body=b"x",
        ),
        id="chunked and a length",
    ),
]


@pytest.mark.parametrize(
    "feeding",
    [
        pytest.param(WHOLE, id="whole"),
        pytest.param(BYTEWISE, id="byte by byte"),
        pytest.param(PIPELINED, id="with the next behind it"),
    ],
)
@pytest.mark.parametrize(("data", "request_"), SERVED)
def test_a_request_is_served(data: bytes, request_: Request, feeding: Feeding) -> None:
    parser = RequestParser(LIMITS)
    assert outcomes(parser, feeding.pieces(data)) == [request_, *feeding.behind]


# A ClientHello as OpenSSL begins one, with a length of 0x20 so that no byte of it ends a line.
TLS = b"\x16\x03\x01\x00\x20\x01\x00\x00\x1c\x03\x03" + bytes(range(0x80, 0x99))

REFUSED = [
    # The request line: RFC 9112 3.
    pytest.param(b"spam\r\n\r\n", 400, "request line", id="a word"),
    pytest.param(b"GET /\r\n\r\n", 400, "request line", id="HTTP/0.9"),
    pytest.param(b"GET / \r\nHost: test\r\n\r\n", 400, "request line", id="no version"),
    pytest.param(get(line=b"GET  / HTTP/1.1"), 400, "request line", id="two spaces"),
    pytest.param(get(line=b"GET /  HTTP/1.1"), 400, "request line", id="two spaces later"),
    pytest.param(get(line=b"GET\t/ HTTP/1.1"), 400, "request line", id="a tab for a space"),
    pytest.param(get(line=b"GET / HTTP/1.1 "), 400, "request line", id="a space at the end"),
    pytest.param(get(line=b" GET / HTTP/1.1"), 400, "request line", id="a space first"),
    pytest.param(get(line=b"G@T / HTTP/1.1"), 400, "request line", id="a method with an at"),
    pytest.param(get(line=b"G\xc9T / HTTP/1.1"), 400, "request line", id="a method beyond ASCII"),
    pytest.param(get(line=b" / HTTP/1.1"), 400, "request line", id="no method"),
    pytest.param(get(line=b"GET / http/1.1"), 400, "request line", id="a version in small letters"),
    pytest.param(get(line=b"GET / HTTP/1"), 400, "request line", id="half a version"),
    pytest.param(get(line=b"GET / HTTP/1.10"), 400, "request line", id="a version of two digits"),
    pytest.param(get(line=b"GET / HTTP/1,1"), 400, "request line", id="a version with a comma"),
    pytest.param(get(line=b"GET / HTTPS/1.1"), 400, "request line", id="another protocol"),
    pytest.param(get(line=b"GET /\r HTTP/1.1"), 400, "request line", id="a bare CR"),
    pytest.param(get(line=b"GET / HTTP/1.1\r"), 400, "request line", id="two CR"),
    pytest.param(b"\n" + get(), 400, "request line", id="a bare LF first"),
    pytest.param(b"\r" + get(), 400, "request line", id="a bare CR first"),
    pytest.param(get(line=b"GET /a b HTTP/1.1"), 400, "request line", id="a space in a target"),
    pytest.param(get(line=b"GET /\x00 HTTP/1.1"), 400, "request line", id="a NUL in a target"),
    pytest.param(get(line=b"GET /\x7f HTTP/1.1"), 400, "request line", id="a DEL in a target"),
    pytest.param(get(line=b"GET /\xc3\xa9 HTTP/1.1"), 400, "request line", id="UTF-8 in a target"),
    # RFC 9112 3.2: the four forms, of which the server as a whole is for OPTIONS alone.
    pytest.param(with_target("spam"), 400, "request target", id="a relative target"),
    pytest.param(with_target("?spam"), 400, "request target", id="a query for a target"),
    pytest.param(with_target("test:80"), 400, "request target", id="authority-form"),
    pytest.param(with_target("*"), 400, "request target", id="an asterisk without OPTIONS"),
    pytest.param(with_target("*a", "OPTIONS"), 400, "request target", id="more than an asterisk"),
    pytest.param(with_target("http:/a"), 400, "request target", id="absolute-form with one slash"),
    pytest.param(with_target("http:///a"), 400, "request target", id="absolute-form without host"),
    pytest.param(with_target("file://test/a"), 400, "request target", id="another scheme"),
    # RFC 9110 4.2.1: "a recipient that processes such a URI reference MUST reject it as invalid".
    pytest.param(with_target("http://:80/"), 400, "target", id="absolute-form with a port alone"),
    # RFC 9110 4.2.4: userinfo "SHOULD be treated as an error".
    pytest.param(with_target("http://me@test/"), 400, "Host", id="absolute-form with userinfo"),
    pytest.param(with_target("http://a:b/"), 400, "Host", id="absolute-form with a bad port"),
    pytest.param(with_target("http://[::1/"), 400, "Host", id="absolute-form, half a bracket"),
    # RFC 3986 3.2.2: only IPv6 and later stand in brackets.
    pytest.param(with_target("http://[1.2.3.4]/"), 400, "Host", id="absolute-form, IPv4 bracketed"),
    pytest.param(with_target("http://[::::]/"), 400, "Host", id="absolute-form, no IPv6 address"),
    # RFC 9110 9.3.6: a tunnel, which this server never opens.
    pytest.param(with_target("test:443", "CONNECT"), 501, "CONNECT", id="CONNECT"),
    pytest.param(with_target("/", "CONNECT"), 501, "CONNECT", id="CONNECT to a path"),
    pytest.param(with_target("/" + "a" * 128), 414, "129 bytes, at most 128", id="a long target"),
    # RFC 9110 15.6.6.
    pytest.param(get(line=b"GET / HTTP/2.0"), 505, r"HTTP/2\.0 is not served", id="HTTP/2.0"),
    pytest.param(get(line=b"GET / HTTP/3.0"), 505, r"HTTP/3\.0 is not served", id="HTTP/3.0"),
    pytest.param(get(line=b"GET / HTTP/0.5"), 505, r"HTTP/0\.5 is not served", id="HTTP/0.5"),
    # RFC 9113 3.4.
    pytest.param(
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, r"HTTP/2\.0", id="the preface of HTTP/2"
    ),
    pytest.param(TLS, 400, "TLS", id="TLS"),
    # Header lines: RFC 9112 5.
    pytest.param(get(b"A 1\r\n"), 400, "header line", id="a header without a colon"),
    pytest.param(get(b": 1\r\n"), 400, "header line", id="a header without a name"),
    pytest.param(get(b"A : 1\r\n"), 400, "header line", id="a space before the colon"),
    pytest.param(get(b"A\t: 1\r\n"), 400, "header line", id="a tab before the colon"),
    pytest.param(get(b"A B: 1\r\n"), 400, "header line", id="a space in a name"),
    pytest.param(get(b"A\x00: 1\r\n"), 400, "header line", id="a NUL in a name"),
    pytest.param(get(b"\xc3\x84: 1\r\n"), 400, "header line", id="a name beyond ASCII"),
    pytest.param(get(b"A: \x00\r\n"), 400, "header line", id="a NUL for a value"),
    pytest.param(get(b"A: 1\x002\r\n"), 400, "header line", id="a NUL in a value"),
    pytest.param(get(b"A: 1\rB: 2\r\n"), 400, "header line", id="a bare CR in a value"),
    pytest.param(get(b"A: 1\r\r\n"), 400, "header line", id="a bare CR behind a value"),
    pytest.param(get(b"A: 1\r\n \x00\r\n"), 400, "header line", id="a NUL in a folded value"),
    # RFC 9112 2.2: whitespace between the start-line and the first header.
    pytest.param(
        b"GET / HTTP/1.1\r\n Host: test\r\n\r\n", 400, "continuation", id="a fold of nothing"
    ),
    pytest.param(
        get(b"A: " + b"1" * 512 + b"\r\n"), 431, "request head too large", id="a long header"
    ),
    pytest.param(
        get(b"A: 1\r\n" * 100), 431, "request head too large", id="a head of many short lines"
    ),
    pytest.param(get(b"A: 1\r\n" * 10), 431, "11 lines, at most 10", id="too many headers"),
    # Host: RFC 9112 3.2.
    pytest.param(b"GET / HTTP/1.1\r\n\r\n", 400, "Host", id="no Host"),
    pytest.param(b"GET / HTTP/1.1\r\nA: 1\r\n\r\n", 400, "Host", id="no Host among headers"),
    pytest.param(
        b"GET http://test/ HTTP/1.1\r\n\r\n", 400, "Host", id="absolute-form without Host"
    ),
    pytest.param(get(b"Host: test\r\n"), 400, "Host", id="the same Host twice"),
    pytest.param(get(b"hOST: other\r\n"), 400, "Host", id="two Hosts"),
    pytest.param(
        get(b"Host: other\r\n", b"GET / HTTP/1.0"), 400, "Host", id="two Hosts in HTTP/1.0"
    ),
    pytest.param(
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "malformed Host", id="a Host with a space"
    ),
    pytest.param(
        b"GET / HTTP/1.1\r\nHost: a,\r\n b\r\n\r\n", 400, "malformed Host", id="a folded Host"
    ),
    pytest.param(
        b"GET / HTTP/1.0\r\nHost: a/b\r\n\r\n", 400, "malformed Host", id="a Host with a path"
    ),
    # Content-Length: RFC 9112 6.3. RFC 9110 8.6: digits alone.
    pytest.param(sized(b"+5"), 400, "Content-Length", id="a length with a sign"),
    pytest.param(sized(b"-5"), 400, "Content-Length", id="a negative length"),
    pytest.param(sized(b"5_0"), 400, "Content-Length", id="a length with an underscore"),
    pytest.param(sized(b"0x5"), 400, "Content-Length", id="a length in hexadecimal"),
    pytest.param(sized(b"5.0"), 400, "Content-Length", id="a length with a point"),
    pytest.param(sized(b"5 0"), 400, "Content-Length", id="a length with a space"),
    pytest.param(sized(b"5\r\n 0"), 400, "Content-Length", id="a folded length"),
    pytest.param(sized(b""), 400, "Content-Length", id="an empty length"),
    pytest.param(sized(b"spam"), 400, "Content-Length", id="a length in words"),
    pytest.param(sized("٥".encode()), 400, "Content-Length", id="a length in other digits"),
    pytest.param(sized(b"9" * 30), 400, "Content-Length", id="a length of thirty digits"),
    pytest.param(sized(b"5,"), 400, "Content-Length", id="a length and an empty one"),
    pytest.param(sized(b"5, 6"), 400, "Content-Length", id="two lengths in a list"),
    pytest.param(
        sized(b"5\r\nContent-Length: 6"), 400, "Content-Length", id="two lengths in two lines"
    ),
    pytest.param(
        sized(b"5\r\nContent-Length: 0"), 400, "Content-Length", id="a length and none at all"
    ),
    # Transfer-Encoding. RFC 9112 6.1: a coding that is not understood is 501; 6.3: chunked that is
    # not the final coding leaves no framing, 400; 7.1: nor may it be applied twice.
    pytest.param(coded(b"gzip"), 501, "'gzip' is not served", id="gzip"),
    pytest.param(coded(b"gzip, chunked"), 501, "'gzip, chunked'", id="gzip in chunks"),
    pytest.param(coded(b"identity"), 501, "identity", id="identity"),
    pytest.param(coded(b"xchunked"), 501, "xchunked", id="a coding like chunked"),
    pytest.param(coded(b'"chunked"'), 501, "chunked", id="chunked in quotes"),
    pytest.param(coded(b"\xc3\xa9"), 501, "Transfer-Encoding", id="a coding beyond ASCII"),
    pytest.param(
        coded(b"gzip\r\nTransfer-Encoding: chunked"), 501, "gzip", id="gzip, chunked in two lines"
    ),
    pytest.param(coded(b"chunked, gzip"), 400, "chunked, gzip", id="chunked is not last"),
    pytest.param(coded(b"chunked, identity"), 400, "identity", id="chunked before identity"),
    pytest.param(coded(b"chunked, chunked"), 400, "chunked", id="chunked twice"),
    pytest.param(coded(b"CHUNKED,Chunked"), 400, "CHUNKED", id="chunked twice in other letters"),
    pytest.param(
        coded(b"chunked\r\ntransfer-encoding: chunked"), 400, "chunked", id="chunked in two lines"
    ),
    pytest.param(
        coded(b"chunked\r\nTransfer-Encoding: gzip"), 400, "gzip", id="chunked is in the first line"
    ),
    pytest.param(
        coded(b"chunked\r\n , gzip"), 400, "gzip", id="chunked is not last in a folded value"
    ),
    pytest.param(coded(b"\x0bchunked"), 400, "header line", id="chunked behind a vertical tab"),
    pytest.param(
        get(b"Transfer-Encoding : chunked\r\n"), 400, "header line", id="Transfer-Encoding, a space"
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    "feeding",
    [
        pytest.param(WHOLE, id="whole"),
        pytest.param(BYTEWISE, id="byte by byte"),
        pytest.param(BEFORE_JUNK, id="with junk behind it"),
    ],
)
@pytest.mark.parametrize(("data", "status", "says"), REFUSED)
def test_a_head_is_refused(data: bytes, status: int, says: str, feeding: Feeding) -> None:
    check_refusal(outcomes(RequestParser(LIMITS), feeding.pieces(data)), status, says)


@pytest.mark.parametrize("name", [b"Host", b"hOST"])
def test_the_own_name_of_a_server_is_a_host_whatever_it_is(name: bytes) -> None:
    limits = HeadLimits(own_name=b"/run/a.sock")
    heads = [b"GET / HTTP/1.1\r\n%b: /run/%b.sock\r\n\r\n" % (name, b) for b in (b"a", b"a", b"b")]
    first, second, third = outcomes(RequestParser(limits), heads)
    assert first == second == Request("GET", "/", ((name, b"/run/a.sock"),))
    check_refusal([third], 400, "malformed Host")


def test_a_coding_is_not_judged_by_the_bytes_behind_its_head() -> None:
    behind = CHUNKED_HEAD + b"0\r\n\r\n"
    data = coded(b"gzip, chunked")
    check_refusal(outcomes(RequestParser(), [data + behind]), 501, "'gzip, chunked' is not served")


@pytest.mark.parametrize("size", [1, 2, 3], ids="after {} of its bytes".format)
def test_tls_is_told_by_its_first_bytes(size: int) -> None:
    # h11 refuses a control character at once; a client that gets no answer would wait.
    check_refusal(outcomes(RequestParser(), [TLS[:size]]), 400, "TLS")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(b"spam" * 1000 + b"\r\n\r\n", 400, id="request line"),
        pytest.param(with_target("spam" * 1000), 400, id="target"),
        pytest.param(with_target("http://" + "@" * 1000), 400, id="authority"),
        pytest.param(get(b"spam" * 1000 + b"\r\n"), 400, id="header line"),
        pytest.param(sized(b"spam" * 1000), 400, id="Content-Length"),
        pytest.param(coded(b"spam" * 1000), 501, id="Transfer-Encoding"),
    ],
)
def test_a_refusal_does_not_repeat_all_that_came(data: bytes, status: int) -> None:
    # It goes to the log, one line for each.
    check_refusal(outcomes(RequestParser(), [data]), status, "")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        pytest.param(b"GARBAGE\r\n\r\n", r": 'GARBAGE'$", id="request line"),
        pytest.param(get(b"no colon\r\n"), r": 'no colon'$", id="header line"),
    ],
)
def test_a_refusal_quotes_what_came_and_not_how_it_is_held(data: bytes, says: str) -> None:
    check_refusal(outcomes(RequestParser(), [data]), 400, says)


def test_a_refusal_repeats_nothing_that_a_terminal_obeys() -> None:
    data = with_target("spam").replace(b"GET", b"\x1b[2J")
    check_refusal(outcomes(RequestParser(), [data]), 400, "request line")
    check_refusal(outcomes(RequestParser(), [coded(b"\x1b[2J\x9b")]), 501, "Transfer-Encoding")
    check_refusal(outcomes(RequestParser(), [get(b"\x1b[2J\r\n")]), 400, "header line")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(get(line=b"GET  / HTTP/1.1"), id="request line"),
        pytest.param(get(line=b"GET / HTTP/2.0"), id="version"),
        pytest.param(with_target("spam"), id="target"),
        pytest.param(head_of_size(LIMITS.max_head_size + 1), id="size"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", id="Host"),
        pytest.param(coded(b"gzip"), id="Transfer-Encoding"),
    ],
)
def test_nothing_behind_a_refusal_is_a_request(data: bytes) -> None:
    # Where the next request would begin is anyone's guess.
    parser = RequestParser(LIMITS)
    parser.receive(data + NEXT)
    for _ in range(3):
        with pytest.raises(RequestRefused):
            parser.next_event()
