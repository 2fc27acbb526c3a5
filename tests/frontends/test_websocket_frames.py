"""Frames of WebSockets in whatever pieces: what wsproto does not accept reaches nobody."""

from __future__ import annotations

import itertools
import zlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.extensions import PerMessageDeflate

from asyncwsgi.frontends.websocket_frames import Broken, Closed, Data, Fragment, Frames, Pinged
from asyncwsgi.http1.deflate import Agreement, agree
from tests.websockets.clients import (
    BINARY,
    CONTINUATION,
    PING,
    TEXT,
    close_frame,
    frame,
)

LIMIT = 1000
fuzz = settings(
    deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], max_examples=300
)


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(place % (len(data) + 1) for place in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(places)]


def all_events(frames: Frames, pieces: list[bytes]) -> list[Any]:
    events = []
    for piece in pieces:
        frames.receive(piece)
        while (event := frames.next_event()) is not None:
            if not isinstance(event, Fragment):
                events.append(event)
    return events


def reference(data: bytes) -> list[Any]:
    """What wsproto alone makes of it: messages, and at last the code of the end."""
    connection = Connection(ConnectionType.SERVER)
    connection.receive_data(data)
    found: list[Any] = []
    parts: list[Any] = []
    for event in connection.events():
        if isinstance(event, TextMessage | BytesMessage):
            parts.append(event.data)
            if event.message_finished:
                found.append((b"" if isinstance(event, BytesMessage) else "").join(parts))
                parts = []
        elif isinstance(event, CloseConnection):
            found.append(int(event.code))
            break
        else:
            assert isinstance(event, Ping | Pong)
    return found


def plain(events: list[Any]) -> list[Any]:
    return [
        event.code if isinstance(event, Closed | Broken) else event
        for event in events
        if isinstance(event, str | bytes | Closed | Broken)
    ]


FRAMES = st.builds(
    frame,
    st.sampled_from([0, 1, 1, 1, 2, 2, 8, 9, 10, 3, 11]),
    st.one_of(st.binary(max_size=130), st.text(max_size=40).map(str.encode)),
    fin=st.sampled_from([True, True, False]),
    rsv=st.sampled_from([0, 0, 0, 0, 0, 0, 1, 4]),
)


@fuzz
@given(frames=st.lists(FRAMES, max_size=8).map(b"".join), cuts=st.lists(st.integers(0), max_size=9))
def test_frames_of_all_kinds_mean_what_wsproto_says_in_whatever_pieces(
    frames: bytes, cuts: list[int]
) -> None:
    assert plain(all_events(Frames(10**6), cut(frames, cuts))) == reference(frames)


@fuzz
@given(
    frames=st.lists(FRAMES, min_size=1, max_size=5).map(b"".join),
    changes=st.lists(st.tuples(st.integers(0), st.integers(0, 255)), min_size=1, max_size=5),
    cuts=st.lists(st.integers(0), max_size=9),
)
def test_frames_that_are_damaged_mean_what_wsproto_says(
    frames: bytes, changes: list[tuple[int, int]], cuts: list[int]
) -> None:
    damaged = bytearray(frames)
    for place, byte in changes:
        damaged[place % len(damaged)] = byte
    data = bytes(damaged)
    assert plain(all_events(Frames(2**64), cut(data, cuts))) == reference(data)


@fuzz
@given(data=st.binary(max_size=300), cuts=st.lists(st.integers(0), max_size=9))
def test_garbage_ends_it_or_means_nothing(data: bytes, cuts: list[int]) -> None:
    assert plain(all_events(Frames(2**64), cut(data, cuts))) == reference(data)


@fuzz
@given(
    messages=st.lists(st.one_of(st.text(max_size=300), st.binary(max_size=900)), max_size=5),
    cuts=st.lists(st.integers(0), max_size=9),
    fragment=st.integers(1, 100),
    with_pings=st.booleans(),
)
def test_deflated_messages_come_as_they_were_sent(
    messages: list[Data], cuts: list[int], fragment: int, with_pings: bool
) -> None:
    """Also in fragments with control frames in between; wsproto's own extension forgets then."""
    deflater = zlib.compressobj(6, zlib.DEFLATED, -15)
    sent = b""
    for message in messages:
        data = message.encode() if isinstance(message, str) else message
        deflated = deflater.compress(data) + deflater.flush(zlib.Z_FULL_FLUSH)
        deflated = deflated[:-4]
        parts = [deflated[i : i + fragment] for i in range(0, len(deflated), fragment)] or [b""]
        opcode, rsv = (TEXT if isinstance(message, str) else BINARY), 4
        for number, part in enumerate(parts):
            sent += frame(opcode, part, fin=number == len(parts) - 1, rsv=rsv)
            sent += frame(PING) if with_pings else b""
            opcode, rsv = CONTINUATION, 0
    events = all_events(Frames(1000, Agreement()), cut(sent, cuts))
    assert [event for event in events if not isinstance(event, Pinged)] == messages


@fuzz
@given(
    sizes=st.lists(st.integers(0, LIMIT), min_size=1, max_size=6),
    cuts=st.lists(st.integers(0), max_size=9),
)
def test_no_message_is_larger_than_it_may_be(sizes: list[int], cuts: list[int]) -> None:
    sent = b""
    for number, size in enumerate(sizes):
        is_last = number == len(sizes) - 1
        sent += frame(CONTINUATION if number else BINARY, bytes(size), fin=is_last)
    (event,) = all_events(Frames(LIMIT), cut(sent, cuts))
    if sum(sizes) <= LIMIT:
        assert event == bytes(sum(sizes))
    else:
        assert event == Broken(1009, f"a message has {LIMIT} bytes at most")


@pytest.mark.parametrize(
    "message",
    ["", "ä" * 1000, b"", bytes(125), bytes(126), bytes(65535), bytes(65536), bytes(range(256))],
    ids=lambda message: f"{len(message)} of {type(message).__name__}",
)
@pytest.mark.parametrize(
    "offer", [None, "permessage-deflate", "permessage-deflate; server_max_window_bits=9"]
)
def test_what_is_sent_is_what_a_client_of_wsproto_receives(
    message: Data, offer: str | None
) -> None:
    agreement = None if offer is None else agree(offer)
    extension = PerMessageDeflate()
    if agreement is not None:
        extension.finalize(str(agreement))
    client = Connection(ConnectionType.CLIENT, [extension])
    server = Frames(LIMIT, agreement)
    for _ in range(2):
        client.receive_data(server.message(message))
        (event,) = client.events()
        assert isinstance(event, TextMessage | BytesMessage)
        assert event.data == message


def test_nothing_is_said_behind_a_close_frame() -> None:
    frames = Frames(LIMIT)
    assert frames.close(1000, "x" * 200) == b"\x88\x7d\x03\xe8" + b"x" * 123
    assert frames.close(1001) == b""
    assert frames.pong(b"spam") == b""
    frames.receive(frame(PING) + close_frame(1000) + frame(TEXT, b"late"))
    assert frames.next_event() == Pinged(b"")
    assert frames.next_event() == Closed(1000, "")
    assert frames.next_event() is None
    frames.receive(frame(TEXT, b"later still"))
    assert frames.next_event() is None


def test_a_reason_is_cut_where_a_character_ends() -> None:
    assert Frames(LIMIT).close(1000, "€" * 100) == b"\x88\x7d\x03\xe8" + "€".encode() * 41
