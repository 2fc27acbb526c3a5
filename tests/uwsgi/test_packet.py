"""Requests out of bytes, however they are cut into pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from asyncwsgi.errors import RequestRefused
from asyncwsgi.http1.parser import END_OF_BODY, NEED_DATA, HeadLimits
from asyncwsgi.uwsgi.head import PacketHead
from asyncwsgi.uwsgi.packet import PacketParser
from tests.uwsgi.packets import packet, request, sized

Cut = Callable[[bytes], Iterable[bytes]]


def whole(data: bytes) -> Iterable[bytes]:
    return [data]


def bytewise(data: bytes) -> Iterable[bytes]:
    return [data[index : index + 1] for index in range(len(data))]


cuts = pytest.mark.parametrize("cut", [whole, bytewise])


def parse(pieces: Iterable[bytes], limits: HeadLimits | None = None) -> tuple[list[object], bytes]:
    """What becomes of bytes: heads, one body, ends; and the bytes that nobody has asked for."""
    parser = PacketParser(limits or HeadLimits())
    events: list[object] = []
    for piece in pieces:
        parser.receive(piece)
        while (event := parser.next_event()) is not NEED_DATA:
            if isinstance(event, bytes) and events and isinstance(events[-1], bytes):
                events[-1] += event
            else:
                events.append(event)
    return events, parser.take_unread()


def refused(pieces: Iterable[bytes], limits: HeadLimits | None = None) -> tuple[int, str]:
    with pytest.raises(RequestRefused) as caught:
        parse(pieces, limits)
    return caught.value.status, caught.value.reason


@cuts
def test_a_request_without_a_body_is_its_head(cut: Cut) -> None:
    [head], unread = parse(cut(request("GET", "/path?query")))
    assert isinstance(head, PacketHead)
    assert (head.method, head.target, head.fields.has_body) == ("GET", "/path?query", False)
    assert unread == b""


@cuts
def test_a_body_has_the_bytes_of_its_content_length_and_no_more(cut: Cut) -> None:
    events, unread = parse(cut(request("POST", size=3) + b"abc" + b"more"))
    assert events[1:] == [b"abc", END_OF_BODY]
    assert unread == b"more"


@cuts
def test_behind_a_request_there_is_none(cut: Cut) -> None:
    events, unread = parse(cut(request() + request()))
    assert (len(events), unread) == (1, request())


@pytest.mark.parametrize("size", range(len(request())))
def test_a_packet_that_is_not_complete_is_waited_for(size: int) -> None:
    parser = PacketParser(HeadLimits())
    parser.receive(request()[:size])
    assert parser.next_event() is NEED_DATA
    assert parser.is_in_head is (size > 0)


def test_who_is_in_the_body_is_not_in_the_head() -> None:
    parser = PacketParser(HeadLimits())
    parser.receive(request("POST", size=3) + b"a")
    assert isinstance(parser.next_event(), PacketHead)
    assert not parser.is_in_head


@pytest.mark.parametrize(
    ("begin", "reason"),
    [
        (b"\x05", "modifier1 5 of the uwsgi protocol is not served; expected 0"),
        (b"\0\0\0\x1e", "modifier2 30 of the uwsgi protocol is not served; expected 0"),
        (
            b"G",
            "modifier1 71 of the uwsgi protocol is not served; expected 0 (an HTTP client would "
            "begin so: this listener speaks uwsgi)",
        ),
        (
            b"\x16",
            "modifier1 22 of the uwsgi protocol is not served; expected 0 (a TLS handshake begins "
            "so: this listener speaks uwsgi)",
        ),
    ],
)
def test_modifiers_that_are_not_served_are_refused_as_soon_as_they_are_seen(
    begin: bytes, reason: str
) -> None:
    assert refused([begin]) == (501, reason)


@pytest.mark.parametrize(
    ("block", "position"),
    [
        pytest.param(b"\1", 0, id="half a size"),
        pytest.param(b"\2\0A", 0, id="a key that is cut"),
        pytest.param(sized(b"A"), 0, id="a key without a value"),
        pytest.param(sized(b"A") + b"\2\0b", 0, id="a value that is cut"),
        pytest.param(sized(b"A") + b"\xff\xffb", 0, id="a value larger than any packet"),
        pytest.param(sized(b"A") + sized(b"b") + b"\0", 6, id="more than its variables"),
    ],
)
@cuts
def test_variables_that_lead_beyond_the_packet_are_malformed(
    cut: Cut, block: bytes, position: int
) -> None:
    head = b"\0" + len(block).to_bytes(2, "little") + b"\0"
    assert refused(cut(head + block)) == (
        400,
        f"malformed uwsgi packet: the variable at byte {position} ends beyond its end",
    )


def test_a_packet_that_is_too_large_is_refused_by_its_size_alone() -> None:
    assert refused([b"\0\x01\x04\0"], HeadLimits(max_head_size=1024)) == (
        431,
        "uwsgi packet of 1025 bytes, at most 1024",
    )


def test_a_packet_may_be_as_large_as_its_size_can_say() -> None:
    filler = 0xFFFF - len(request()) + 4 - len(sized(b"F") + sized(b""))
    whole_packet = request(F="x" * filler)
    assert whole_packet[1:3] == b"\xff\xff"
    [head], _ = parse([whole_packet], HeadLimits(max_head_size=1 << 20))
    assert isinstance(head, PacketHead)


def test_what_was_refused_is_refused_again() -> None:
    parser = PacketParser(HeadLimits())
    parser.receive(packet([]))
    for _ in range(2):
        with pytest.raises(RequestRefused, match="without REQUEST_METHOD"):
            parser.next_event()
