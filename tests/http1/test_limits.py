"""The bounds of a request head."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from asyncwsgi.http1.parser import RequestParser
from tests.http1.feeding import Refusal, Request, bytewise, check_refusal, outcomes, whole
from tests.http1.samples import LIMITS, get, head_of_size, posted, sized, with_target

Pieces = Callable[[bytes], list[bytes]]

EITHER_WAY = pytest.mark.parametrize(
    "pieces", [pytest.param(whole, id="whole"), pytest.param(bytewise, id="byte by byte")]
)


@EITHER_WAY
@pytest.mark.parametrize(
    ("make", "largest", "status"),
    [
        pytest.param(head_of_size, LIMITS.max_head_size, 431, id="bytes of a head"),
        pytest.param(
            lambda size: with_target("/" + "a" * (size - 1)),
            LIMITS.max_target_size,
            414,
            id="bytes of a target",
        ),
        pytest.param(
            lambda count: get(b"A: 1\r\n" * (count - 1)),
            LIMITS.max_headers,
            431,
            id="header lines",
        ),
    ],
)
def test_as_much_as_allowed_is_served_and_one_more_is_refused(
    make: Callable[[int], bytes], largest: int, status: int, pieces: Pieces
) -> None:
    [served] = outcomes(RequestParser(LIMITS), pieces(make(largest)))
    assert isinstance(served, Request)
    check_refusal(
        outcomes(RequestParser(LIMITS), pieces(make(largest + 1))), status, f"at most {largest}"
    )


LONG_LINE = b"GET /" + b"a" * LIMITS.max_head_size


@EITHER_WAY
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(LONG_LINE, id="no end of the line"),
        pytest.param(LONG_LINE + b" HTTP/1.1\r\nHost: test\r\n", id="no end of the head"),
        pytest.param(LONG_LINE + b" HTTP/1.1\r\nHost: test\r\n\r\n", id="all of it"),
    ],
)
def test_a_target_beyond_all_bounds_is_414_wherever_the_bytes_end(
    data: bytes, pieces: Pieces
) -> None:
    # RFC 9112 3: "A server that receives a request-target longer than any URI it wishes to parse
    # MUST respond with a 414".
    check_refusal(outcomes(RequestParser(LIMITS), pieces(data)), 414, "too long")


def test_the_head_need_not_be_complete_to_be_refused() -> None:
    data = head_of_size(LIMITS.max_head_size + 5)[:-4]
    check_refusal(outcomes(RequestParser(LIMITS), [data]), 431, "request head too large")


def test_a_body_is_not_held_to_the_limits_of_a_head() -> None:
    body = b"spam" * 1024
    size = b"%d" % len(body)
    assert outcomes(RequestParser(LIMITS), [sized(size, body)]) == [posted(body, size)]


def test_the_limits_are_those_of_one_head_and_not_of_the_connection() -> None:
    seen = outcomes(RequestParser(LIMITS), [head_of_size(LIMITS.max_head_size) * 100])
    assert len(seen) == 100
    assert not any(isinstance(outcome, Refusal) for outcome in seen)


def test_empty_lines_do_not_count() -> None:
    data = b"\r\n" * LIMITS.max_head_size + get()
    assert outcomes(RequestParser(LIMITS), [data]) == [Request("GET", "/")]


def test_without_any_set_ordinary_clients_are_served() -> None:
    # RFC 9112 3: "at minimum, request-line lengths of 8000 octets".
    target = "/" + "a" * 8000
    lines = b"A: " + b"1" * 8000 + b"\r\n" + b"B: 2\r\n" * 98
    data = get(lines, f"GET {target} HTTP/1.1".encode("ascii"))
    [request] = outcomes(RequestParser(), [data])
    assert isinstance(request, Request)
    assert request.target == target
    assert len(request.headers) == 100
