"""All open connections of a server: found, timed and closed together."""

from __future__ import annotations

import asyncio
import enum
import time
from typing import Protocol


class Spared(enum.Enum):
    """Idle connections that stay open for a moment when the server stops."""

    ALL = "whoever may send a request, such as the next one on a connection that was kept"
    ARRIVING = "whoever has not sent a whole request yet"
    NONE = "nobody"


class Entry(Protocol):
    """What the registry asks of a connection."""

    def tick(self, now: float) -> None:
        """Act on deadlines that have passed; `now` is monotonic."""

    def close_if_idle(self) -> None:
        """Close unless a request is being received or answered, or is spared."""

    def abort(self) -> None:
        """Close at once; what is unsent is lost."""


class Opening(Protocol):
    """What the registry asks of a client whose transport is being made."""

    def abort(self) -> None:
        """Close at once."""


class Registry:
    """Connections from `connection_made` to `connection_lost`, and before: in a TLS handshake.

    Deadlines are kept by one coarse clock for all instead of a timer for each request: `now` is as
    exact as the calls of `tick` are frequent.
    """

    def __init__(self, max_connections: int = 0) -> None:
        self.now = time.monotonic()
        self.spared = Spared.ALL
        self._max_connections = max_connections
        self._connections: set[Entry] = set()
        self._openings: set[Opening] = set()
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    def __len__(self) -> int:
        return len(self._connections)

    @property
    def is_overfull(self) -> bool:
        """Whether there are more connections than may be."""
        return 0 < self._max_connections < len(self._connections)

    def add(self, connection: Entry) -> None:
        self._connections.add(connection)
        self._is_empty.clear()

    def discard(self, connection: Entry) -> None:
        self._connections.discard(connection)
        self._look_if_empty()

    def add_opening(self, opening: Opening) -> None:
        """Wait for a client that was accepted and is no connection yet."""
        self._openings.add(opening)
        self._is_empty.clear()

    def discard_opening(self, opening: Opening) -> None:
        self._openings.discard(opening)
        self._look_if_empty()

    def _look_if_empty(self) -> None:
        if not self._connections and not self._openings:
            self._is_empty.set()

    def tick(self, now: float) -> None:
        """Look at every deadline."""
        self.now = now
        for connection in list(self._connections):
            connection.tick(now)

    def close_idle(self, spared: Spared) -> None:
        """Close those that neither receive nor answer a request, now and from now on."""
        self.spared = spared
        for connection in list(self._connections):
            connection.close_if_idle()
        if spared is Spared.NONE:
            self._abort_openings()

    def abort_all(self) -> None:
        for connection in list(self._connections):
            connection.abort()
        self._abort_openings()

    def _abort_openings(self) -> None:
        for opening in self._openings:
            opening.abort()

    async def wait_until_empty(self) -> None:
        await self._is_empty.wait()
