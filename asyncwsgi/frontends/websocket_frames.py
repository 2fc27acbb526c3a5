"""The frames of one WebSocket (RFC 6455 5), by wsproto: bytes in, messages out, and the other way.

wsproto alone decides what a frame of the client is, and what a message. What is added here is what
it has no bounds for: a message is refused as soon as it is known to be too large, its fragments are
joined without copying them again and again, and deflated ones are inflated no further than they may
be. No loop, no clock, no sockets.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import (
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    TextMessage,
)
from wsproto.extensions import Extension
from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol, Opcode, RsvBits

from asyncwsgi.http1.deflate import Agreement, InflatedTooLarge, InflateError, Inflater, deflate

Data = str | bytes

NO_STATUS = int(CloseReason.NO_STATUS_RCVD)
_NO_BITS = RsvBits(False, False, False)
_COMPRESSED = RsvBits(True, False, False)
_SHORT_HEAD = struct.Struct("!BB")
_HEAD = struct.Struct("!BBH")
_LONG_HEAD = struct.Struct("!BBQ")
# 5.2: FIN, as each message is one frame, and the opcode. RFC 7692 6.1: RSV1.
_TEXT = 0x81
_BINARY = 0x82
_DEFLATED = 0x40
_MOST_REASON_SIZE = 123
"""Bytes (5.5): a control frame has 125, and the code takes two."""


@dataclass(frozen=True, slots=True)
class Pinged:
    """The client wants a Pong."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Ponged:
    """The client has answered a Ping."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Closed:
    """The client has sent a Close frame, first or in answer to ours."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Broken:
    """The client has sent what nobody may send; `code` is what to tell it, and nothing follows."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Fragment:
    """Some of a message has come. It says nothing, but to look at it has taken time."""


FrameEvent = Data | Fragment | Pinged | Ponged | Closed | Broken
_FRAGMENT = Fragment()


class Frames:
    """The frames of one connection, at the server's side.

    Feed bytes with `receive`, then ask `next_event` until it returns None. A message comes as str
    or bytes, whole. The other methods return what is to be sent.

    Args:
        max_message_size: bytes that a message of the client may have, inflated.
        agreement: how messages are deflated, if they are.
    """

    __slots__ = (
        "_agreement", "_bounds", "_connection", "_events", "_fragments", "_has_closed",
        "_max_message_size",
    )  # fmt: skip

    def __init__(self, max_message_size: int, agreement: Agreement | None = None) -> None:
        self._max_message_size = max_message_size
        self._agreement = agreement
        self._bounds = _Bounds(max_message_size, is_deflating=agreement is not None)
        self._connection = Connection(ConnectionType.SERVER, [self._bounds])
        self._events: Iterator[Event] = iter(())
        self._fragments: Any = None  # a StringIO or BytesIO, as long as some are missing
        self._has_closed = False

    @property
    def has_sent_close(self) -> bool:
        """Whether nothing more can be sent."""
        return self._has_closed

    @property
    def held_size(self) -> int:
        """Bytes of a message that is not complete."""
        return 0 if self._fragments is None else self._bounds.size

    def receive(self, data: bytes) -> None:
        """Take bytes as they came from the client; dropped behind its Close frame."""
        connection = self._connection
        if connection.state in (ConnectionState.OPEN, ConnectionState.LOCAL_CLOSING):
            connection.receive_data(data)
            self._events = connection.events()

    def next_event(self) -> FrameEvent | None:
        """What the client says next; None: more bytes are needed."""
        for event in self._events:
            if isinstance(event, TextMessage | BytesMessage):
                return self._join(event)
            if isinstance(event, Ping):
                return Pinged(bytes(event.payload))
            if isinstance(event, Pong):
                return Ponged(bytes(event.payload))
            if isinstance(event, CloseConnection):
                return self._closed(event)
        return None

    def message(self, data: Data) -> bytes:
        """A message, in one frame; not behind a Close frame.

        What the server sends is not masked (5.1), so that this is its head and its bytes. wsproto
        would copy them five times, which for a megabyte is milliseconds of everybody's.
        """
        head, payload = (_TEXT, data.encode()) if isinstance(data, str) else (_BINARY, data)
        if self._agreement is not None and (deflated := deflate(payload, self._agreement)):
            head, payload = head | _DEFLATED, deflated
        size = len(payload)
        if size < 126:  # 5.2: longer ones are in the two or eight bytes that follow
            return _SHORT_HEAD.pack(head, size) + payload
        if size < 65536:
            return _HEAD.pack(head, 126, size) + payload
        return _LONG_HEAD.pack(head, 127, size) + payload

    def ping(self, payload: bytes) -> bytes:
        return self._connection.send(Ping(payload))

    def pong(self, payload: bytes) -> bytes:
        """The answer to a Ping; empty behind a Close frame, where none is owed."""
        return b"" if self._has_closed else self._connection.send(Pong(payload))

    def close(self, code: int, reason: str = "") -> bytes:
        """The Close frame; empty if there was one. `NO_STATUS` sends none of both."""
        if self._has_closed:
            return b""
        self._has_closed = True
        if code == NO_STATUS:
            return self._connection.send(CloseConnection(CloseReason.NO_STATUS_RCVD))
        text = reason.encode()[:_MOST_REASON_SIZE].decode(errors="ignore")
        return self._connection.send(CloseConnection(code, text))

    def _join(self, event: TextMessage | BytesMessage) -> Data | Fragment:
        if event.message_finished and self._fragments is None:
            return event.data if isinstance(event.data, str) else bytes(event.data)
        if isinstance(event, TextMessage):
            text = self._fragments = self._fragments or io.StringIO(newline="")
            text.write(event.data)
        else:
            data = self._fragments = self._fragments or io.BytesIO()
            data.write(event.data)
        if not event.message_finished:
            return _FRAGMENT
        fragments, self._fragments = self._fragments, None
        message: Data = fragments.getvalue()
        return message

    def _closed(self, event: CloseConnection) -> Closed | Broken:
        self._fragments = None
        is_of_client = self._connection.state in (
            ConnectionState.REMOTE_CLOSING,
            ConnectionState.CLOSED,
        )
        if is_of_client:
            return Closed(int(event.code), event.reason or "")
        if event.code == CloseReason.MESSAGE_TOO_BIG:
            return Broken(int(event.code), f"a message has {self._max_message_size} bytes at most")
        return Broken(int(event.code), event.reason or "")


def _or_reason(inflate: Callable[[], bytes]) -> bytes | CloseReason:
    try:
        return inflate()
    except InflatedTooLarge:
        return CloseReason.MESSAGE_TOO_BIG
    except InflateError:
        return CloseReason.INVALID_FRAME_PAYLOAD_DATA


class _Bounds(Extension):
    """Bounds messages and inflates them, where wsproto has extensions do so.

    wsproto has one for permessage-deflate, which inflates a message however large it is, and takes
    the rest of one for plain if a control frame comes in between.

    A header whose end has not arrived yet is looked at again when it has: what
    `frame_inbound_header` does may be done twice.
    """

    name = "asyncwsgi"

    def __init__(self, max_size: int, *, is_deflating: bool) -> None:
        self._max_size = max_size
        self._is_deflating = is_deflating
        self._in_control = False
        self._is_deflated = False
        self._inflater: Inflater | None = None
        self.size = 0
        """Bytes of the message that comes, inflated."""

    def enabled(self) -> bool:
        return True

    def offer(self) -> bool | str:
        return False

    def frame_inbound_header(
        self,
        proto: FrameDecoder | FrameProtocol,
        opcode: Opcode,
        rsv: RsvBits,
        payload_length: int,
    ) -> CloseReason | RsvBits:
        self._in_control = opcode.iscontrol()
        if self._in_control:
            return _NO_BITS
        if opcode is not Opcode.CONTINUATION:
            self._is_deflated = rsv.rsv1
            self.size = 0
        if not self._is_deflated and self.size + payload_length > self._max_size:
            return CloseReason.MESSAGE_TOO_BIG
        # RFC 7692 6.1: the bit is the first frame's, and stands for the message.
        is_first = opcode is not Opcode.CONTINUATION
        return _COMPRESSED if self._is_deflating and is_first else _NO_BITS

    def frame_inbound_payload_data(
        self, proto: FrameDecoder | FrameProtocol, data: bytes
    ) -> bytes | CloseReason:
        if self._in_control:
            return data
        if not self._is_deflated:
            self.size += len(data)
            return data
        if self._inflater is None:
            self._inflater = Inflater(self._max_size)
        inflated = _or_reason(partial(self._inflater.inflate, data))
        if isinstance(inflated, bytes):
            self.size += len(inflated)
        return inflated

    def frame_inbound_complete(
        self, proto: FrameDecoder | FrameProtocol, fin: bool
    ) -> bytes | CloseReason | None:
        if self._in_control or not fin:
            return None
        inflater, self._inflater = self._inflater, None
        return None if inflater is None else _or_reason(inflater.finish)
