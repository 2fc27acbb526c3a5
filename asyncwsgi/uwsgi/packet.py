"""Requests out of bytes, by the uwsgi protocol. Sans-io: no reads, no clock, no loop.

https://uwsgi-docs.readthedocs.io/en/latest/Protocol.html: a request is a packet, and behind it the
body as it is. The packet is a head of four bytes, which are modifier1, the size of what follows (16
bits, little-endian) and modifier2, and then variables: each is a key and a value, and each of these
stands behind its size (16 bits, little-endian). Both modifiers are 0 in a request for WSGI.

A connection carries one request, and its end is the end of the response. So there is nothing here
of keep-alive and of what is pipelined.
"""

from __future__ import annotations

from collections.abc import Iterator

from asyncwsgi.errors import RequestRefused
from asyncwsgi.http1.parser import END_OF_BODY, NEED_DATA, HeadLimits, ParserEvent
from asyncwsgi.uwsgi.head import read_head

_HEAD_SIZE = 4
_SIZE_SIZE = 2
_TLS_HANDSHAKE = 0x16

Pair = tuple[bytes, bytes]


class PacketParser:
    """The request of one connection.

    Feed bytes with `receive`, then ask `next_event` until it returns `NEED_DATA`: a `PacketHead`;
    if that head announces a body, its pieces as bytes; then `END_OF_BODY`.

    Args:
        limits: what a head may be. A packet has 64 KiB at most, whatever they say.
    """

    __slots__ = ("_body_left", "_buffer", "_has_head", "_in_body", "_limits", "_refused")

    def __init__(self, limits: HeadLimits) -> None:
        self._limits = limits
        self._buffer = b""
        self._has_head = False
        self._in_body = False
        self._body_left = 0
        self._refused: tuple[int, str] | None = None

    @property
    def is_in_head(self) -> bool:
        """Whether some, but not all, bytes of the packet have arrived."""
        return not self._has_head and bool(self._buffer)

    @property
    def unread_size(self) -> int:
        """Bytes received behind what was asked for."""
        return len(self._buffer)

    @property
    def missing_size(self) -> int:
        """Bytes of a body with a Content-Length that have not been received."""
        return max(0, self._body_left - len(self._buffer))

    def skip(self, size: int) -> None:
        """Know that so many bytes of what is missing of a body were read by somebody else."""
        self._body_left -= size

    def receive(self, data: bytes) -> None:
        """Take bytes as they came from the client."""
        self._buffer = self._buffer + data if self._buffer else data

    def take_unread(self) -> bytes:
        """What was received behind the request; it is parsed no more."""
        unread, self._buffer = self._buffer, b""
        return unread

    def next_event(self) -> ParserEvent:
        """The next event out of what was received.

        Raises:
            RequestRefused: these bytes are no request that can be served; every further call raises
                it again.
        """
        if self._refused is not None:
            raise RequestRefused(*self._refused)
        if self._in_body:
            return self._next_of_body()
        if self._has_head:
            return NEED_DATA  # there is but one request
        try:
            return self._next_head()
        except RequestRefused as refused:
            self._refused = (refused.status, refused.reason)
            raise

    def _next_head(self) -> ParserEvent:
        buffer = self._buffer
        if buffer:
            _check_modifier(1, buffer[0])
        if len(buffer) < _HEAD_SIZE:
            return NEED_DATA
        _check_modifier(2, buffer[3])
        size = int.from_bytes(buffer[1:3], "little")
        if size > self._limits.max_head_size:
            raise RequestRefused(
                431, f"uwsgi packet of {size} bytes, at most {self._limits.max_head_size}"
            )
        end = _HEAD_SIZE + size
        if len(buffer) < end:
            return NEED_DATA
        head = read_head(pairs_of(buffer[_HEAD_SIZE:end]), self._limits)
        self._buffer = buffer[end:]
        self._has_head = True
        self._in_body = head.fields.has_body
        self._body_left = head.fields.content_length or 0
        return head

    def _next_of_body(self) -> ParserEvent:
        size = self._body_left
        if not size:
            self._in_body = False
            return END_OF_BODY
        buffer = self._buffer
        if not buffer:
            return NEED_DATA
        piece, self._buffer = buffer[:size], buffer[size:]
        self._body_left = size - len(piece)
        return piece


def pairs_of(block: bytes) -> Iterator[Pair]:
    """The variables of a packet, in order.

    Raises:
        RequestRefused: a size leads beyond the end of the packet.
    """
    position, size = 0, len(block)
    while position < size:
        begin = position + _SIZE_SIZE
        end = begin + int.from_bytes(block[position:begin], "little")
        next_begin = end + _SIZE_SIZE
        next_end = next_begin + int.from_bytes(block[end:next_begin], "little")
        if next_begin > size or next_end > size:
            raise RequestRefused(
                400, f"malformed uwsgi packet: the variable at byte {position} ends beyond its end"
            )
        yield block[begin:end], block[next_begin:next_end]
        position = next_end


def _check_modifier(number: int, value: int) -> None:
    if not value:
        return
    reason = f"modifier{number} {value} of the uwsgi protocol is not served; expected 0"
    if number == 1 and ord("A") <= value <= ord("Z"):
        reason += " (an HTTP client would begin so: this listener speaks uwsgi)"
    elif number == 1 and value == _TLS_HANDSHAKE:
        reason += " (a TLS handshake begins so: this listener speaks uwsgi)"
    raise RequestRefused(501, reason)
