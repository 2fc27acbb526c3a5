"""Reading little at a time, from clients whose next bytes may be of a body that has no room.

A loop reads up to 256 KiB at a time, and what is read is held. A stranger who sends a head and the
most of a body in one go has it held before the budget is asked (see
`asyncwsgi.frontends.buffer_budget`); ten thousand of them have 2.5 GB held. How much is read is
said by protocols that give their own buffer. But to be asked for one at each read costs a small
request a twentieth; so a connection has such a protocol in front of it only while room is scarce.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from asyncwsgi.frontends.buffer_budget import UNCLAIMED_SIZE

READ_SIZE = 256 * 1024
"""Most bytes that are read from a client at a time."""


class ReadBuffers:
    """Where the loop reads what clients send. What is read is taken out at once: one pair does."""

    __slots__ = ("large", "small")

    def __init__(self) -> None:
        self.large = memoryview(bytearray(READ_SIZE))
        self.small = self.large[:UNCLAIMED_SIZE]


class Reader(Protocol):
    """The connection behind it."""

    @property
    def may_read_much(self) -> bool:
        """Whether what comes next may be large."""

    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> bool | None: ...
    def connection_lost(self, exc: Exception | None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


class LittleReads(asyncio.BufferedProtocol):
    """Stands between a transport and `reader`."""

    def __init__(self, reader: Reader, buffers: ReadBuffers) -> None:
        self._reader = reader
        self._buffers = buffers
        self.eof_received = reader.eof_received  # type: ignore[method-assign]
        self.connection_lost = reader.connection_lost  # type: ignore[method-assign]
        self.pause_writing = reader.pause_writing  # type: ignore[method-assign]
        self.resume_writing = reader.resume_writing  # type: ignore[method-assign]

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        return self._buffers.large if self._reader.may_read_much else self._buffers.small

    def buffer_updated(self, nbytes: int) -> None:
        self._reader.data_received(bytes(self._buffers.large[:nbytes]))
