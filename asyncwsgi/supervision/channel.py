"""Between the supervisor and a child: one JSON object a line, over a pair of sockets.

The child sends events (``imported``, ``serving``, ``failed``, ``alive``, ``recycle``, ``state``,
``stats``, ``found``, ``inspected``, ``inspected-dropped``, ``inspected-now``), the supervisor
commands (``serve``, ``announce-end``, ``stop``, ``abort``, ``state``, ``broken``, ``refresh``,
``inspect-now``).
Sockets, and not pipes, because their end is the news that the process at the other end has died, in
both directions and whatever it died of.

A message is text and numbers, never anything that would be executed when it is read. None is larger
than `LARGEST_MESSAGE_SIZE`: a child, whose application may have anything in its traceback, cannot
have its supervisor hold more than that.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

LARGEST_MESSAGE_SIZE = 1024 * 1024
"""A traceback is in one of them, or what a thousand requests are doing."""
_CONGESTED_SIZE = 4 * LARGEST_MESSAGE_SIZE
_LARGEST_TEXT = LARGEST_MESSAGE_SIZE // 16
"""Characters of a text in a message that is too large. JSON writes one of them as up to 12 bytes,
and no message has more than one text without a bound of its own."""
AT_ONCE = 64
"""Messages that are taken before the loop comes round to others."""
_CUT = "\n... (cut: it is too long)\n"


def encode(message: dict[str, Any]) -> bytes:
    """What is sent for `message`; one that is too large loses the ends of its texts."""
    data = json.dumps(message).encode() + b"\n"
    if len(data) <= LARGEST_MESSAGE_SIZE:
        return data
    cut = {name: _shortened(value) for name, value in message.items()}
    return json.dumps(cut).encode() + b"\n"


def _shortened(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _LARGEST_TEXT:
        # Of a traceback the beginning says where, and the end what.
        half = _LARGEST_TEXT // 2
        return f"{value[:half]}{_CUT}{value[-half:]}"
    if isinstance(value, dict):
        return {name: _shortened(each) for name, each in value.items()}
    if isinstance(value, list):
        return value[: _LARGEST_TEXT // 4096]  # paths, of which none is longer; failures are fewer
    return value


class Channel:
    """One end of it, in a running loop."""

    largest_size = LARGEST_MESSAGE_SIZE
    """Bytes of a message."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._read_count = 0

    @classmethod
    async def open(cls, sock: socket.socket) -> Channel:
        """Make `sock` an end of a channel; it belongs to the channel from now on."""
        return cls(*await asyncio.open_unix_connection(sock=sock, limit=2 * LARGEST_MESSAGE_SIZE))

    def send(self, **message: Any) -> None:
        """Send a message, or nothing if the other end is gone."""
        if not self._writer.is_closing():
            self._writer.write(encode(message))

    def send_encoded(self, messages: list[str]) -> None:
        """Send these in one go, or nothing if the other end is gone.

        Each is a message as JSON of ASCII alone, and not larger than `largest_size`.
        """
        if not self._writer.is_closing():
            self._writer.write("\n".join((*messages, "")).encode("ascii"))

    @property
    def is_congested(self) -> bool:
        """Whether the other end has fallen behind by so much that what can wait should."""
        return self._writer.transport.get_write_buffer_size() > _CONGESTED_SIZE

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        """What the other end sends, until it is gone."""
        try:
            async for line in self._reader:
                self._read_count += 1
                if self._read_count % AT_ONCE == 0:
                    await asyncio.sleep(0)  # what has been read ahead is read without waiting
                if line.endswith(b"\n"):  # else it was killed before it had sent the rest
                    yield json.loads(line)
        except ConnectionError:
            # It was killed. The writer knows that, too, and asyncio complains if nobody asks it.
            with contextlib.suppress(ConnectionError):
                await self._writer.wait_closed()

    def close(self) -> None:
        self._writer.close()
