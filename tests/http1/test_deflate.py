"""permessage-deflate (RFC 7692): what is agreed on, and how messages are bounded."""

from __future__ import annotations

import itertools
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncwsgi.http1.deflate import (
    MIN_DEFLATED_SIZE,
    Agreement,
    InflatedTooLarge,
    InflateError,
    Inflater,
    agree,
    deflate,
)

NOTHING_KEPT = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


@pytest.mark.parametrize(
    ("offers", "answer"),
    [
        pytest.param("", None, id="nothing is offered"),
        pytest.param("x-webkit-deflate-frame", None, id="something else is"),
        pytest.param("permessage-deflate", NOTHING_KEPT, id="without parameters"),
        pytest.param(
            "permessage-deflate; client_max_window_bits", NOTHING_KEPT, id="as browsers do"
        ),
        pytest.param(
            " permessage-deflate ; client_max_window_bits = 10 ;server_no_context_takeover",
            NOTHING_KEPT,
            id="with spaces",
        ),
        pytest.param(
            "permessage-deflate; server_max_window_bits=10",
            f"{NOTHING_KEPT}; server_max_window_bits=10",
            id="a window that is wanted",
        ),
        pytest.param(
            'permessage-deflate; server_max_window_bits="10"',
            f"{NOTHING_KEPT}; server_max_window_bits=10",
            id="in quotes",
        ),
        pytest.param(
            "permessage-deflate; spam, foo, permessage-deflate", NOTHING_KEPT, id="the second fits"
        ),
        *[
            pytest.param(f"permessage-deflate; {parameter}", None, id=parameter)
            for parameter in (
                "server_max_window_bits=8",  # zlib has none for raw streams
                "server_max_window_bits=16",
                "server_max_window_bits=09",
                "server_max_window_bits",
                "server_max_window_bits=x",
                "client_max_window_bits=7",
                "client_max_window_bits=16",
                "server_no_context_takeover=1",
                "server_no_context_takeover; server_no_context_takeover",
                "spam",
                "",
                '"',
            )
        ],
    ],
)
def test_the_first_offer_that_is_understood_is_accepted(offers: str, answer: str | None) -> None:
    agreement = agree(offers)
    assert answer == (None if agreement is None else str(agreement))


@settings(deadline=None, derandomize=True)
@given(st.text("permsag-dflt;,=\"' _10abc", max_size=60))
def test_no_offer_does_harm(offers: str) -> None:
    agree(offers)


@settings(deadline=None, derandomize=True)
@given(
    data=st.binary(min_size=1, max_size=2000).map(lambda data: data * 20),
    cuts=st.lists(st.integers(0, 40_000), max_size=5),
    bits=st.integers(9, 15),
)
def test_what_is_deflated_is_inflated_in_whatever_pieces(
    data: bytes, cuts: list[int], bits: int
) -> None:
    deflated = deflate(data, Agreement(bits)) or plain(data)
    inflater = Inflater(len(data))
    places = [0, *sorted(cuts), len(deflated)]
    pieces = [inflater.inflate(deflated[a:b]) for a, b in itertools.pairwise(places)]
    assert b"".join(pieces) + inflater.finish() == data


def plain(data: bytes) -> bytes:
    stream = zlib.compressobj(0, zlib.DEFLATED, -15)
    return (stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]


def test_what_would_be_no_shorter_is_sent_as_it_is() -> None:
    assert deflate(b"x" * (MIN_DEFLATED_SIZE - 1), Agreement()) is None
    assert deflate(bytes(range(256)), Agreement()) is None
    assert deflate(b"x" * MIN_DEFLATED_SIZE, Agreement()) is not None


def test_what_is_too_large_is_not_inflated_further() -> None:
    deflated = deflate(bytes(10_000_000), Agreement())
    assert deflated is not None
    with pytest.raises(InflatedTooLarge):
        Inflater(1000).inflate(deflated)


def test_a_message_may_be_as_large_as_is_allowed_and_no_byte_more() -> None:
    deflated = deflate(bytes(1000), Agreement())
    assert deflated is not None
    inflater = Inflater(1000)
    assert inflater.inflate(deflated) + inflater.finish() == bytes(1000)
    with pytest.raises(InflatedTooLarge):
        Inflater(999).inflate(deflated)


def test_what_is_not_deflated_is_found_out() -> None:
    with pytest.raises(InflateError):
        Inflater(1000).inflate(b"\xff" * 10)


def test_a_block_that_says_it_is_the_last_ends_a_message() -> None:
    stream = zlib.compressobj(wbits=-15)
    final = stream.compress(b"spam") + stream.flush(zlib.Z_FINISH)
    inflater = Inflater(1000)  # RFC 7692 7.2.3.4: one byte fills up
    assert inflater.inflate(final + b"\0") + inflater.finish() == b"spam"
    for rest in (b"\0\0", b"spam" * 1000):
        with pytest.raises(InflateError, match="behind the last block"):
            Inflater(1000).inflate(final + rest)
        inflater = Inflater(1000)
        inflater.inflate(final)
        with pytest.raises(InflateError, match="behind the last block"):
            inflater.inflate(rest)
