"""What a packet's variables may be, and which of them pass."""

from __future__ import annotations

import pytest

from asyncwsgi.errors import RequestRefused
from asyncwsgi.http1.parser import HeadLimits
from asyncwsgi.uwsgi import head
from asyncwsgi.uwsgi.head import PacketHead, read_head

LEAST = [(b"REQUEST_METHOD", b"GET"), (b"REQUEST_URI", b"/"), (b"PATH_INFO", b"/")]
KEYS = [key.decode("ascii") for key, _ in LEAST]


def read(*more: tuple[bytes, bytes], limits: HeadLimits | None = None) -> PacketHead:
    return read_head([*LEAST, *more], limits or HeadLimits())


def passed(*more: tuple[bytes, bytes]) -> dict[str, str]:
    """What passes of these, besides what no request can be without."""
    variables = read(*more).variables
    return {key: value for key, value in variables.items() if key not in KEYS}


def refused(*more: tuple[bytes, bytes], limits: HeadLimits | None = None) -> tuple[int, str]:
    with pytest.raises(RequestRefused) as caught:
        read(*more, limits=limits)
    return caught.value.status, caught.value.reason


@pytest.mark.parametrize(
    "key",
    [
        b"wsgi.input", b"wsgi.url_scheme", b"asyncwsgi.disconnected", b"remote_addr", b"_A", b"1",
        b"", b"HTTP_X-Y", b"HTTP_x", b"A\n", b"\xc4", b"UWSGI_SCHEME", b"UWSGI_", b"REMOTE_USER ",
    ],
)  # fmt: skip
def test_a_key_that_no_variable_of_cgi_has_does_not_pass(key: bytes) -> None:
    assert passed((key, b"on")) == {}


def test_all_other_variables_pass_as_they_are() -> None:
    assert passed((b"REMOTE_USER", b"m\xe9"), (b"X2_", b" any\nthing ")) == {
        "REMOTE_USER": "m\xe9",
        "X2_": " any\nthing ",
    }


@pytest.mark.parametrize("key", [b"HTTP_CONTENT_LENGTH", b"HTTP_CONTENT_TYPE"])
def test_headers_that_have_keys_of_their_own_do_not_pass_twice(key: bytes) -> None:
    assert passed((key, b"7")) == {}


@pytest.mark.parametrize("key", [b"CONTENT_LENGTH", b"CONTENT_TYPE"])
def test_what_a_request_has_not_is_absent_and_not_empty(key: bytes) -> None:
    assert passed((key, b"")) == {}


def test_a_header_that_repeats_is_one_list() -> None:
    assert passed((b"HTTP_ACCEPT", b"a"), (b"HTTP_ACCEPT", b"b")) == {"HTTP_ACCEPT": "a, b"}
    assert passed((b"HTTP_COOKIE", b"a=1"), (b"HTTP_COOKIE", b"b=2")) == {"HTTP_COOKIE": "a=1; b=2"}


def test_of_another_variable_the_last_one_counts() -> None:
    # uwsgi_param behind an `include uwsgi_params`.
    assert passed((b"REMOTE_ADDR", b"::1"), (b"REMOTE_ADDR", b"192.0.2.1")) == {
        "REMOTE_ADDR": "192.0.2.1"
    }


@pytest.mark.parametrize("key", KEYS)
def test_a_packet_without_what_every_request_has_is_refused(key: str) -> None:
    variables = [pair for pair in LEAST if pair[0] != key.encode("ascii")]
    with pytest.raises(RequestRefused) as caught:
        read_head(variables, HeadLimits())
    assert (caught.value.status, caught.value.reason) == (
        400,
        f"uwsgi packet without {key}; nginx passes it by `include uwsgi_params;`",
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"CONTENT_LENGTH", b"-1"),
        (b"CONTENT_LENGTH", b"+1"),
        (b"CONTENT_LENGTH", b"1 "),
        (b"CONTENT_LENGTH", b"1_0"),
        (b"CONTENT_LENGTH", b"0x1"),
        (b"CONTENT_LENGTH", b"\xb2"),
        (b"CONTENT_LENGTH", b"1\n"),
        (b"CONTENT_LENGTH", b"9" * 5000),
        (b"CONTENT_TYPE", b"a\r\nb"),
        (b"HTTP_X", b"a\r\nb"),
        (b"HTTP_X", b"a\0"),
        (b"HTTP_X", b"\x7f"),
        (b"REQUEST_METHOD", b""),
        (b"REQUEST_METHOD", b"GET /"),
        (b"REQUEST_METHOD", b"G\n"),
        (b"REQUEST_URI", b""),
        (b"REQUEST_URI", b"http://example.org/"),
        (b"REQUEST_URI", b"/ "),
        (b"REQUEST_URI", b"/\n"),
        (b"REQUEST_URI", b"/\xe9"),
        (b"SERVER_PROTOCOL", b"HTTP/1.1\nx"),
        (b"SERVER_PROTOCOL", b"uwsgi"),
        (b"REMOTE_ADDR", b"1\n2"),
        (b"SCRIPT_NAME", b"app"),
    ],
)  # fmt: skip
def test_what_the_server_uses_and_logs_is_refused_where_http_would_refuse_it(
    key: bytes, value: bytes
) -> None:
    name = key.decode("ascii")
    assert refused((key, value)) == (400, f"malformed {name} {value[:80]!r} in a uwsgi packet")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("CONTENT_LENGTH", "0"),
        ("HTTP_X", "\t\xe9"),
        ("HTTP_X", ""),
        ("REQUEST_METHOD", "M-SEARCH"),
        ("REQUEST_URI", "/a%00?b#c"),
        ("SERVER_PROTOCOL", "HTTP/2.0"),
        ("SERVER_PROTOCOL", "HTTP/3"),
        ("REMOTE_ADDR", "unix:"),
        ("REMOTE_ADDR", "::1"),
        ("PATH_INFO", "/a\n"),
        ("HTTP_HOST", "[::1]:80"),
    ],
)
def test_what_a_proxy_may_say_passes(key: str, value: str) -> None:
    assert read((key.encode(), value.encode("latin-1"))).variables[key] == value


def test_the_target_may_be_the_server_as_a_whole() -> None:
    assert read((b"REQUEST_METHOD", b"OPTIONS"), (b"REQUEST_URI", b"*")).target == "*"


def test_a_host_that_is_none_is_refused() -> None:
    # Two of them are no host, either.
    assert refused((b"HTTP_HOST", b"a"), (b"HTTP_HOST", b"b")) == (
        400,
        "malformed HTTP_HOST 'a, b'; expected name[:port]",
    )


def test_two_sizes_of_one_body_are_refused() -> None:
    assert passed((b"CONTENT_LENGTH", b"3"), (b"CONTENT_LENGTH", b"3")) == {"CONTENT_LENGTH": "3"}
    assert refused((b"CONTENT_LENGTH", b"3"), (b"CONTENT_LENGTH", b"4")) == (
        400,
        "CONTENT_LENGTH is 3 and 4",
    )


def test_a_body_that_the_proxy_has_taken_out_of_its_chunks_has_a_length_and_no_coding() -> None:
    pairs = [(b"HTTP_TRANSFER_ENCODING", b"chunked"), (b"CONTENT_LENGTH", b"3")]
    assert passed(*pairs) == {"CONTENT_LENGTH": "3"}


def test_a_body_that_nothing_delimits_is_refused() -> None:
    assert refused((b"HTTP_TRANSFER_ENCODING", b"chunked"), (b"CONTENT_LENGTH", b"")) == (
        411,
        "a body in 'chunked' and without CONTENT_LENGTH; uwsgi delimits none",
    )


def test_limits_are_those_of_http() -> None:
    limits = HeadLimits(max_headers=2, max_target_size=4)
    pairs = [(b"HTTP_A", b""), (b"HTTP_B-", b""), (b"X", b""), (b"Y", b"")]
    assert read(*pairs, limits=limits)
    assert refused(*pairs, (b"HTTP_C", b""), limits=limits) == (
        431,
        "uwsgi packet too large: 3 headers, at most 2",
    )
    assert refused((b"REQUEST_URI", b"/1234"), limits=limits) == (
        414,
        "REQUEST_URI too long: 5 bytes, at most 4",
    )


def test_names_that_clients_make_up_are_not_kept_for_ever() -> None:
    for number in range(2000):
        name = f"HTTP_MADE_UP_{number}"
        assert passed((name.encode("ascii"), b"x")) == {name: "x"}
    assert len(head._keys) <= 1024
