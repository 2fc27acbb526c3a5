"""The clock of deadlines, durations and ages: monotonic, in seconds.

Taken by reference when the package is imported, and kept where no tool that replaces names in
modules looks: tests that freeze the time of their application (freezegun, time-machine) must not
freeze the deadlines of its server, or make them jump.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """Tells the time; the one below is everybody's."""

    __slots__ = ("monotonic",)

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.monotonic = monotonic
        """Seconds since some moment in the past."""


clock = Clock(time.monotonic)
