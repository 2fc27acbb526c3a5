"""What follows from header lines: framing, persistence, expectations, and a Host that is one."""

from __future__ import annotations

import pytest

from asyncwsgi.errors import RequestRefused
from asyncwsgi.http1.head import HeaderFields, HeaderLine, RequestHead, check_host

Lines = list[tuple[bytes, bytes]]

HOST = (b"Host", b"test")


def fields_of(*lines: tuple[bytes, bytes]) -> HeaderFields:
    return HeaderFields([HeaderLine(name, value) for name, value in lines])


@pytest.mark.parametrize(
    ("lines", "content_length", "is_chunked", "has_body"),
    [
        pytest.param([HOST], None, False, False, id="neither"),
        pytest.param([(b"Content-Length", b"0")], 0, False, False, id="a length of nothing"),
        pytest.param([(b"CONTENT-length", b"5")], 5, False, True, id="a length"),
        pytest.param([(b"Transfer-Encoding", b"chunked")], None, True, True, id="chunks"),
        # RFC 9112 6.3: Transfer-Encoding overrides Content-Length.
        pytest.param(
            [(b"Transfer-Encoding", b"chunked"), (b"Content-Length", b"0")],
            0,
            True,
            True,
            id="both",
        ),
    ],
)
def test_the_framing_of_the_body_is_told(
    lines: Lines, content_length: int | None, is_chunked: bool, has_body: bool
) -> None:
    fields = fields_of(*lines)
    assert (fields.content_length, fields.is_chunked, fields.has_body) == (
        content_length,
        is_chunked,
        has_body,
    )


@pytest.mark.parametrize(
    ("values", "wants_close"),
    [
        pytest.param([], False, id="no Connection"),
        pytest.param([b"keep-alive"], False, id="keep-alive"),
        pytest.param([b""], False, id="empty"),
        pytest.param([b"close"], True, id="close"),
        pytest.param([b"cLoSe"], True, id="close in mixed case"),
        pytest.param([b"keep-alive,close,te"], True, id="close in a list"),
        pytest.param([b"keep-alive", b"close"], True, id="close in the second line"),
        pytest.param([b"close", b"keep-alive"], True, id="close in the first line"),
        pytest.param([b"closed, not-close"], False, id="other words"),
    ],
)
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_the_connection_is_kept_in_http_1_1_unless_the_client_says_close(
    values: list[bytes], wants_close: bool, version: str
) -> None:
    fields = fields_of(*[(b"Connection", value) for value in values])
    assert fields.wants_close is wants_close
    head = RequestHead("GET", "/", version, fields)
    assert head.keep_alive is (version == "1.1" and not wants_close)


def test_the_connection_is_not_kept_behind_two_framings() -> None:
    # RFC 9112 6.1: "the server MUST close the connection after responding to such a request".
    lines = [(b"Content-Length", b"5"), (b"Transfer-Encoding", b"chunked")]
    assert not RequestHead("POST", "/", "1.1", fields_of(*lines)).keep_alive


@pytest.mark.parametrize(
    ("value", "expects_continue"),
    [(b"100-continue", True), (b"100-Continue", True), (b"200-ok", False), (b"", False)],
)
def test_only_100_continue_is_expected(value: bytes, expects_continue: bool) -> None:
    assert fields_of((b"Expect", value)).expects_continue is expects_continue


def test_lines_are_kept_as_they_came() -> None:
    lines = [(b"B", b"1"), (b"a", b"\xff"), (b"B", b"")]
    assert fields_of(*lines).items == lines


# RFC 9110 7.2: Host = uri-host [ ":" port ]; RFC 3986 3.2.2 and 3.2.3.
@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"example.org", id="name"),
        pytest.param(b"example.org:8000", id="name and port"),
        pytest.param(b"example.org:", id="name and empty port"),
        pytest.param(b"", id="empty"),  # "If the authority component is missing ... empty"
        pytest.param(b"127.0.0.1:80", id="IPv4 address"),
        pytest.param(b"[2001:db8::1]", id="IPv6 address"),
        pytest.param(b"[::ffff:192.0.2.1]:80", id="IPv6 address that ends like IPv4"),
        pytest.param(b"my_app-1.local", id="underscore"),
        pytest.param(b"m%C3%BCnchen.example", id="percent-encoding"),
        pytest.param(b"a!$&'()*+,;=~", id="sub-delims"),
    ],
)
def test_a_host_is_accepted(value: bytes) -> None:
    check_host(value)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"a b", id="space"),
        pytest.param(b"a\tb", id="tab"),
        pytest.param(b"a/b", id="slash"),
        pytest.param(b"a\\b", id="backslash"),
        pytest.param(b"a?b", id="question mark"),
        pytest.param(b"a#b", id="hash"),
        pytest.param(b"me@example.org", id="userinfo"),
        pytest.param(b"http://example.org", id="URL"),
        pytest.param(b'"example.org"', id="quotes"),
        pytest.param(b"<script>", id="angle brackets"),
        pytest.param(b"b\xc3\xbccher.example", id="beyond ASCII"),
        pytest.param(b"example.org:http", id="port in words"),
        pytest.param(b"example.org:-1", id="negative port"),
        pytest.param(b"example.org:80:80", id="two ports"),
        pytest.param(b"2001:db8::1", id="IPv6 address without brackets"),
        pytest.param(b"[2001:db8::1", id="bracket that stays open"),
        pytest.param(b"2001:db8::1]", id="bracket that was not opened"),
        pytest.param(b"[::1]80", id="port without colon"),
        pytest.param(b"[]", id="empty brackets"),
        pytest.param(b"[example.org]", id="name in brackets"),
        pytest.param(b"[1.2.3.4]", id="IPv4 address in brackets"),
        pytest.param(b"[::::]", id="colons in brackets"),
        pytest.param(b"example.org\n", id="line end"),
    ],
)
def test_what_is_no_host_is_refused(value: bytes) -> None:
    # RFC 9112 3.2: "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1
    # request message ... that contains ... a Host header field with an invalid field value."
    with pytest.raises(RequestRefused, match="malformed Host") as refused:
        check_host(value)
    assert refused.value.status == 400


def test_a_refusal_does_not_repeat_a_host_of_any_length() -> None:
    with pytest.raises(RequestRefused) as refused:
        check_host(b"/" * 10_000)
    assert len(refused.value.reason) < 300
