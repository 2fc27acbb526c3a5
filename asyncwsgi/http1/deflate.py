"""permessage-deflate (RFC 7692): what is agreed on, and messages in and out. Pure; by zlib.

Neither side remembers earlier messages ("no context takeover"): what would be remembered is about
300 KiB for each connection, however little it says. So nothing is kept between two messages. What
comes is inflated no further than a message may be large, since a kilobyte may hold a megabyte.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

NAME = "permessage-deflate"
MIN_DEFLATED_SIZE = 128
"""Bytes below which a message is sent as it is: deflating it would cost more than it saves."""
_MAX_WINDOW_BITS = 15
# zlib knows no smaller window for a raw stream, though RFC 7692 7.1.2.1 begins at 8.
_MIN_WINDOW_BITS = 9
_LEVEL = 1
"""It is done on the loop, where everybody waits."""
# 7.2.1: what the end of a flushed message looks like; it is not sent.
_TAIL = b"\x00\x00\xff\xff"
_PARAMETER = re.compile(r"\s*([A-Za-z_]+)\s*(?:=\s*(?:([0-9]+)|\"([0-9]+)\")\s*)?")
_FLAGS = ("server_no_context_takeover", "client_no_context_takeover")


class InflateError(Exception):
    """A message that is no deflated one."""


class InflatedTooLarge(Exception):
    """A message that is larger than it may be."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """What client and server have agreed on."""

    window_bits: int = _MAX_WINDOW_BITS
    """Of what the server sends; what the client does is all the same to whoever inflates it."""

    def __str__(self) -> str:
        """The value of Sec-WebSocket-Extensions in the response."""
        flags = "; ".join((NAME, *_FLAGS))
        if self.window_bits == _MAX_WINDOW_BITS:
            return flags
        return f"{flags}; server_max_window_bits={self.window_bits}"


def agree(offers: str) -> Agreement | None:
    """What is agreed on with a client that sends `offers` as Sec-WebSocket-Extensions.

    7.1: the first offer of which everything is understood; None if there is none.
    """
    for offer in offers.split(","):
        name, *parameters = offer.split(";")
        if name.strip() == NAME and (agreement := _accept(parameters)) is not None:
            return agreement
    return None


def _accept(parameters: list[str]) -> Agreement | None:
    seen: dict[str, str | None] = {}
    for parameter in parameters:
        match = _PARAMETER.fullmatch(parameter)
        if match is None or match[1] in seen:
            return None
        seen[match[1]] = match[2] or match[3]
    for flag in _FLAGS:
        if seen.pop(flag, None) is not None:
            return None
    # 7.1.2.2: a hint, with or without a number. 7.1.2.1: a demand.
    hint = seen.pop("client_max_window_bits", None)
    if hint is not None and not _is_window(hint, 8):
        return None
    if "server_max_window_bits" not in seen:
        return None if seen else Agreement()
    bits = seen.pop("server_max_window_bits")
    if seen or bits is None or not _is_window(bits, _MIN_WINDOW_BITS):
        return None
    return Agreement(int(bits))


def _is_window(text: str, least: int) -> bool:
    return not text.startswith("0") and len(text) <= 2 and least <= int(text) <= _MAX_WINDOW_BITS


class Inflater:
    """One message, as it comes.

    Args:
        max_size: bytes that it may have.
    """

    __slots__ = ("_max_size", "_size", "_stream")

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._size = 0
        self._stream = zlib.decompressobj(-_MAX_WINDOW_BITS)

    def inflate(self, data: bytes) -> bytes:
        """What `data` says.

        Raises:
            InflateError: it is not what deflate makes.
            InflatedTooLarge: it says too much.
        """
        stream = self._stream
        if stream.eof:
            if data:
                raise InflateError("bytes behind the last block")
            return b""
        try:
            inflated = stream.decompress(data, self._max_size - self._size + 1)
        except zlib.error as error:
            raise InflateError(str(error)) from None
        self._size += len(inflated)
        if self._size > self._max_size:
            raise InflatedTooLarge
        # 7.2.3.4: behind a block that says it is the last, one byte fills up. More than that nobody
        # would read, and zlib would keep.
        if len(stream.unused_data) > 1:
            raise InflateError("bytes behind the last block")
        return inflated

    def finish(self) -> bytes:
        """What is left at its end."""
        return b"" if self._stream.eof else self.inflate(_TAIL)


def deflate(data: bytes, agreement: Agreement) -> bytes | None:
    """A message as it is sent deflated; None if it is shorter as it is."""
    if len(data) < MIN_DEFLATED_SIZE:
        return None
    stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, -agreement.window_bits)
    deflated = stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH)
    return deflated[: -len(_TAIL)] if len(deflated) < len(data) else None
