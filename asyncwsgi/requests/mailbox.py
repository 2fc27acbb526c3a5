"""Calls from worker threads back to the event loop.

Guarantees: calls run on the loop, in the order in which one thread posted them; all that were
posted before the loop comes round cost one wake-up. Knows nothing of requests.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any


class Mailbox:
    """The one way from a thread to the loop."""

    __slots__ = ("_calls", "_is_scheduled", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: deque[tuple[Callable[[Any], object], Any]] = deque()
        self._is_scheduled = False

    def post(self, call: Callable[[Any], object], argument: Any) -> None:
        """Have the loop run ``call(argument)`` soon. From any thread; never blocks.

        Once the loop is closed, calls are dropped: nobody is left who could serve them.
        """
        # The order of these steps is the guarantee: whoever finds the flag set has appended before
        # the loop clears it, and the loop looks at the calls after clearing it.
        self._calls.append((call, argument))
        if not self._is_scheduled:
            self._is_scheduled = True
            try:
                self._loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:
                self._is_scheduled = False
                self._calls.clear()

    def _deliver(self) -> None:
        self._is_scheduled = False
        calls = self._calls
        # Only those that wait now, so that busy workers cannot keep the loop from its sockets.
        for _ in range(len(calls)):
            call, argument = calls.popleft()
            try:
                call(argument)
            except Exception as error:
                self._loop.call_exception_handler(
                    {"message": f"asyncwsgi: {call!r} failed", "exception": error}
                )
