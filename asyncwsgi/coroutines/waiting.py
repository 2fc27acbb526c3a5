"""How a thread waits for a coroutine of its own: it stands still, or goes on with other work.

Most threads stand still, at a lock. A thread that can put aside what it is at, and go on with it
later, says so here (see `asyncwsgi.requests.parking`); whoever waits asks, and knows no more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol


class Wait(Protocol):
    """One wait, made in the thread that will wait; a lock that is held does as well."""

    def acquire(self, *, timeout: float = -1) -> bool:
        """Wait for `release`, up to `timeout` seconds if that is not negative; whether it came."""

    def release(self) -> None:
        """End the wait. From any thread; once."""


class ParkingWait(Wait, Protocol):
    """One wait that frees its thread meanwhile."""

    def acquire(
        self, *, timeout: float = -1, meanwhile: Callable[[], object] | None = None
    ) -> bool:
        """As `Wait.acquire`; `meanwhile` is called where it waits, first and behind each `wake`."""

    def wake(self) -> None:
        """Have `meanwhile` called, unless the wait is over before. From any thread."""


_thread = threading.local()


def wait_by(make: Callable[[], ParkingWait | None]) -> None:
    """Have code in this thread wait by what `make` returns; None for a place where it must not."""
    _thread.make = make


def parking_wait() -> ParkingWait | None:
    """A wait that frees this thread, if it is one that can be freed here."""
    make: Callable[[], ParkingWait | None] | None = getattr(_thread, "make", None)
    return None if make is None else make()
