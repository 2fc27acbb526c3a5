"""All open connections of a server: found, timed and closed together."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from asyncwsgi.frontends.buffer_budget import BufferBudget
from asyncwsgi.wsgi.file_wrapper import open_parts

MOST_LINGERING = 32
"""Clients of a full server that are refused and may wait for their own end of the connection."""
UNANSWERED = 0
"""In place of the status of who was refused by closing the connection, and got none."""
DESCRIPTORS_OF_FILE = 3
"""What a file that is being sent takes besides its client's: the application's, another one of the
file and another one of the socket (see `asyncwsgi.frontends.file_sender`)."""

DESCRIPTORS_OF_SOCKET = 2
"""What a socket that the application has taken needs besides its client's: the ends of a pair."""


UPGRADED = "upgraded"
"""The state of a connection whose protocol is no longer HTTP, as a WebSocket's."""


class DrainPhase(enum.Enum):
    """Who may still send a request.

    A server that stops passes through them in this order, and waits a moment in the second: what a
    client has sent before it could know of the stop is answered. One that has a successor on the
    same listeners stays in the first for that moment, since its clients go on with connections that
    were kept for them, and a request that is on its way shall not meet a closed one.
    """

    OPEN = "whoever is connected"
    ARRIVING = "whoever has not sent a whole request yet"
    CLOSED = "nobody"


@dataclass(frozen=True, slots=True)
class ConnectionSnapshot:
    """What a connection is doing at one moment."""

    peer: str
    """The address of the client, as log lines name it."""
    state: str
    """What it waits for: `UPGRADED`, or of HTTP the name of a `State`, in lower case."""
    age: float
    """Seconds for which it has waited."""
    had_request: bool
    """Whether a request has arrived by it."""


class RegisteredConnection(Protocol):
    """What the registry asks of a connection."""

    def tick(self, now: float) -> None:
        """Act on deadlines that have passed; `now` is monotonic."""

    def close_if_idle(self) -> None:
        """Close unless a request is being received or answered, or may still be sent."""

    def abort(self) -> None:
        """Close at once; what is unsent is lost."""

    def read_little(self, is_little: bool) -> None:
        """Read little at a time of what may be a large body, since room is scarce; or no longer."""

    def snapshot(self, now: float) -> ConnectionSnapshot:
        """What it is doing; `now` is monotonic. From any thread."""


class Opening(Protocol):
    """What the registry asks of a client whose transport is being made."""

    def abort(self) -> None:
        """Close at once."""


class Registry:
    """Connections from `connection_made` to `connection_lost`, and before: in a TLS handshake.

    Deadlines are looked at by one coarse clock for all instead of a timer for each request: a
    connection knows when its own is, and a tick asks each.

    Args:
        max_connections: clients beyond which further ones are refused; 0 is as many as descriptors
            allow.
        max_buffered_size: bytes that may be held for all of them; 0 is no limit.
        max_descriptors: what they may take, and the files that are being sent to them; 0 is no
            limit.
    """

    def __init__(
        self, max_connections: int = 0, max_buffered_size: int = 0, max_descriptors: int = 0
    ) -> None:
        self.phase = DrainPhase.OPEN
        self.budget = BufferBudget(max_buffered_size, self._read_little)
        """What all of them hold together."""
        self.taken_count = 0
        """Connections now whose sockets applications have taken."""
        self.accepted_count = 0
        """Connections so far."""
        self.refused_counts: dict[int, int] = {}
        """Requests and connections that were answered in the application's place so far, by the
        status they got."""
        self._max_connections = max_connections
        self._max_descriptors = max_descriptors
        self._connections: set[RegisteredConnection] = set()
        self._ending: set[RegisteredConnection] = set()
        """Those of them that are served no more, and only wait for their client to close."""
        self._openings: set[Opening] = set()
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    def __len__(self) -> int:
        return len(self._connections)

    def count_refused(self, status: int) -> None:
        """Count a request, or a connection, that is answered in the application's place."""
        self.refused_counts[status] = self.refused_counts.get(status, 0) + 1

    @property
    def connections(self) -> Collection[RegisteredConnection]:
        """All of them, now. From any thread."""
        return list(self._connections)

    @property
    def is_overfull(self) -> bool:
        """Whether more connections are served than may be.

        One that was refused is not: were it counted while it lingers, a full server would refuse
        everyone for as long as those who were refused take to close.
        """
        return not self._has_place_for(0)

    @property
    def has_place_to_linger(self) -> bool:
        """Whether one more that is served no more may wait for its client to close.

        Each takes a descriptor, and those beyond `max_connections` are the application's.
        """
        return self._has_place_for(1) or len(self._ending) < MOST_LINGERING

    @property
    def has_place_for_file(self) -> bool:
        """Whether one more file may be sent while no thread is held. From any thread.

        A thread that reads a file has a descriptor of its own for it. Without one, every client
        could have the application open a file, until it could open nothing any more.
        """
        taken = len(self._connections) + self._taken_besides + DESCRIPTORS_OF_FILE
        return not self._max_descriptors or taken <= self._max_descriptors

    def _has_place_for(self, count: int) -> bool:
        served_count = count + len(self._connections) - len(self._ending)
        if self._max_connections:
            return served_count <= self._max_connections
        taken = served_count + self._taken_besides
        return not self._max_descriptors or taken <= self._max_descriptors

    @property
    def _taken_besides(self) -> int:
        """Descriptors that connections take besides their own."""
        return DESCRIPTORS_OF_FILE * len(open_parts) + DESCRIPTORS_OF_SOCKET * self.taken_count

    def add(self, connection: RegisteredConnection) -> None:
        self._connections.add(connection)
        self.accepted_count += 1
        self._is_empty.clear()

    def _read_little(self, is_little: bool) -> None:
        for connection in self.connections:
            connection.read_little(is_little)

    def no_longer_served(self, connection: RegisteredConnection) -> None:
        """Count `connection` no more; it still waits for its client to close."""
        self._ending.add(connection)

    def discard(self, connection: RegisteredConnection) -> None:
        self._connections.discard(connection)
        self._ending.discard(connection)
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
        """Look at every deadline; `now` is monotonic."""
        for connection in self.connections:
            try:
                connection.tick(now)
            except Exception as error:  # of one connection; the others have deadlines, too
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "asyncwsgi: a connection's deadline failed", "exception": error}
                )

    def close_idle(self, phase: DrainPhase) -> None:
        """Enter `phase`: close those that neither have a request in hand nor may send one.

        Those that come later are judged by the same rule.
        """
        self.phase = phase
        for connection in self.connections:
            connection.close_if_idle()
        if phase is DrainPhase.CLOSED:
            self._abort_openings()

    def abort_all(self) -> None:
        for connection in self.connections:
            connection.abort()
        self._abort_openings()

    def _abort_openings(self) -> None:
        for opening in list(self._openings):
            opening.abort()

    async def wait_until_empty(self) -> None:
        await self._is_empty.wait()
