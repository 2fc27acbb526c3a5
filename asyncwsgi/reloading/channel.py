"""Between the supervisor and a child: one JSON object a line, over a pair of sockets.

The child sends events (``imported``, ``serving``, ``found``, ``failed``), the supervisor commands
(``serve``, ``stop``, ``abort``, ``broken``). Sockets, and not pipes, because their end is the news
that the process at the other end has died, in both directions and whatever it died of.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

LARGEST_MESSAGE_SIZE = 16 * 1024 * 1024
"""A traceback is in one of them."""


def encode(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


class Channel:
    """One end of it, in a running loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, sock: socket.socket) -> Channel:
        """Make `sock` an end of a channel; it belongs to the channel from now on."""
        return cls(*await asyncio.open_unix_connection(sock=sock, limit=LARGEST_MESSAGE_SIZE))

    def send(self, **message: Any) -> None:
        """Send a message, or nothing if the other end is gone."""
        if not self._writer.is_closing():
            self._writer.write(encode(message))

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        """What the other end sends, until it is gone."""
        try:
            async for line in self._reader:
                if line.endswith(b"\n"):  # else it was killed before it had sent the rest
                    yield json.loads(line)
        except ConnectionError:
            return  # it was killed

    def close(self) -> None:
        self._writer.close()
