"""How much a server holds for its clients: bodies in transit and unsent responses, together.

What one client makes the server hold is bounded (`body_buffer_size`, `response_buffer_size`), but a
stranger may come with ten thousand connections. So what all of them hold has a bound as well. Pure:
no loop, no clock, no sockets. All of it runs on the loop.

Who waits. Before more of a body is read, it claims room for as much as may be held of it at a time.
Where there is none, its client is not read until there is, in the order of asking. A body that was
admitted may grow to that size whatever else happens. So nobody who holds room waits for more of it,
and there is nothing to deadlock about: room comes back when a body has reached the application,
when its request is over, or when its client is too slow (`body_timeout`).

Who does not wait. A body that is complete, since answering it is what gives its room back. One for
which a worker thread waits, since that may be the thread for which the complete ones wait. Both are
counted, beyond the bound if need be, as are unsent responses and messages of WebSockets (see
`asyncwsgi.frontends.websocket`, which has a rule of its own for unfinished ones): nobody who is
served is cut. And the first of those that wait, if no body is admitted at all: though slow readers
hold everything, uploads go on, one by one.
"""

from __future__ import annotations

from collections.abc import Callable

UNCLAIMED_SIZE = 16 * 1024
"""Bytes of a body that claim nothing: most forms, and most calls of an API, are served whatever
others hold, and cost no account."""


class Claim:
    """The room of one request body; asked for by `BufferBudget.ask`.

    Args:
        on_room: called when it had to wait and is admitted.
    """

    __slots__ = ("is_admitted", "is_over", "is_waiting", "on_room", "size", "wanted_size")

    def __init__(self, on_room: Callable[[], object]) -> None:
        self.on_room: Callable[[], object] | None = on_room
        self.size = 0
        """Bytes for which it is counted."""
        self.wanted_size = 0
        """Bytes for which it is when it is admitted."""
        self.is_waiting = False
        self.is_admitted = False
        self.is_over = False


class BufferBudget:
    """What one server may hold.

    Args:
        max_size: bytes beyond which no further body is admitted; 0 is no limit.
        on_scarce: called when room becomes scarce, and when it no longer is.
    """

    def __init__(
        self, max_size: int = 0, on_scarce: Callable[[bool], object] = lambda _: None
    ) -> None:
        self.held_size = 0
        """Bytes that are held, or were promised to bodies that are admitted."""
        self.is_scarce = False
        """Whether more than half is held, or was, and has not fallen to a quarter since."""
        self._max_size = max_size
        self._on_scarce = on_scarce
        self._admitted_count = 0
        self._waiting: dict[Claim, None] = {}  # in the order in which they have asked
        self._is_admitting = False

    @property
    def waiting_count(self) -> int:
        """Bodies that are not read on because there is no room for them."""
        return len(self._waiting)

    @property
    def is_exceeded(self) -> bool:
        """Whether more is held than may be."""
        return 0 < self._max_size < self.held_size

    def count(self, difference: int) -> None:
        """So many bytes more are held; fewer, if it is negative."""
        self._hold(difference)
        if difference < 0:
            self._admit_waiting()

    def ask(self, claim: Claim, size: int, wanted_size: int) -> bool:
        """Whether a body may be read on; if not, its claim is told when it may.

        Args:
            claim: the body's.
            size: bytes that are held of it; they are counted in any case.
            wanted_size: the most that will be.
        """
        self._grow(claim, size)
        if claim.is_admitted or claim.is_over:
            return True
        claim.wanted_size = wanted_size
        if not self._waiting and self._has_room(claim):
            self._admit(claim)
            return True
        self._waiting[claim] = None
        claim.is_waiting = True
        return False

    def insist(self, claim: Claim, size: int) -> None:
        """Admit `claim` at once, to hold `size` bytes at least."""
        claim.wanted_size = size
        self._admit(claim)
        self._admit_waiting()

    def release(self, claim: Claim) -> None:
        """Hold nothing any more for `claim`, which is over. May be called more than once."""
        if not claim.is_over:
            self._no_longer_waiting(claim)
            claim.is_over = True
            self._admitted_count -= claim.is_admitted
            self._hold(-claim.size)
            self._admit_waiting()

    def _admit_waiting(self) -> None:
        if self._is_admitting:
            return  # by one who was admitted just now; the loop below goes on
        self._is_admitting = True
        try:
            while self._waiting:
                claim = next(iter(self._waiting))
                if not self._has_room(claim):
                    break
                on_room = claim.on_room
                self._admit(claim)
                if on_room is not None:
                    on_room()
        finally:
            self._is_admitting = False

    def _has_room(self, claim: Claim) -> bool:
        wanted = self.held_size - claim.size + claim.wanted_size
        return wanted <= self._max_size or not self._max_size or not self._admitted_count

    def _admit(self, claim: Claim) -> None:
        self._no_longer_waiting(claim)
        self._grow(claim, claim.wanted_size)
        if not claim.is_admitted and not claim.is_over:
            claim.is_admitted = True
            self._admitted_count += 1

    def _no_longer_waiting(self, claim: Claim) -> None:
        self._waiting.pop(claim, None)
        claim.is_waiting = False
        claim.on_room = None  # it leads to the connection, which knows the claim

    def _grow(self, claim: Claim, size: int) -> None:
        if size > claim.size and not claim.is_over:
            difference = size - claim.size
            claim.size = size
            self._hold(difference)

    def _hold(self, difference: int) -> None:
        self.held_size += difference
        bound = self._max_size // 4 if self.is_scarce else self._max_size // 2
        is_scarce = self.held_size > bound and self._max_size > 0
        if is_scarce is not self.is_scarce:
            self.is_scarce = is_scarce
            self._on_scarce(is_scarce)
