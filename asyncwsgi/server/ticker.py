"""The coarse clock of a server, by which all deadlines are looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from asyncwsgi.clock import clock


class Ticker:
    """Calls `tick` with the time (monotonic, in seconds) every `interval` seconds.

    A loop that stood still has not read what its clients have sent meanwhile, and uvloop runs
    timers before it reads. So behind a standstill nobody is judged until the next tick; but not
    twice in a row, lest a server that is always late lets everyone stay.

    Args:
        loop: runs it.
        interval: seconds.
        tick: what it raises is told to the loop's exception handler; the clock goes on.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, interval: float, tick: Callable[[float], object]
    ) -> None:
        self._interval = interval
        self._tick = tick
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None
        self._looked_at = 0.0
        self._was_late = False

    def start(self) -> None:
        self._looked_at = clock.monotonic()
        self._arm()

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

    def _arm(self) -> None:
        self._handle = self._loop.call_later(self._interval, self._look)

    def _look(self) -> None:
        # Armed first: whatever this look brings, others follow.
        self._arm()
        now = clock.monotonic()
        is_late = now - self._looked_at > 2 * self._interval
        self._looked_at = now
        if is_late and not self._was_late:
            self._was_late = True
            return
        self._was_late = False
        try:
            self._tick(now)
        except Exception as error:
            self._loop.call_exception_handler(
                {"message": "asyncwsgi: a look at deadlines failed", "exception": error}
            )
