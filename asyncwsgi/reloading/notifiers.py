"""What gives the hints at which the watcher looks for changes: here the interface, and polling.

A hint says when to look and nothing about what has changed, because the one maker that knows more,
the kernel, is not to be believed: its events come twice, or not at all (for what was written before
it watched, when its queue was full, over a network). Whoever takes them for the changes has to look
nevertheless, and then to make one story of two. So the looks alone tell what has changed, and hints
may be too many, but none may be missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Protocol

POLL_INTERVAL = 1.0
"""Seconds between hints of `Polling`."""


class NotifierError(Exception):
    """No more hints can be given; the message says why."""


class Notifier(Protocol):
    """Gives hints that something may have changed."""

    announcement: str
    """For the log: how changes are noticed."""

    def hints(self) -> AsyncGenerator[None, None]:
        """A hint once the watch stands, and one behind every change from then on.

        Raises:
            NotifierError: this kind of notifier does not work here.
        """
        ...


class Polling:
    """Gives a hint once a second."""

    announcement = (
        "looking for changes once a second, because watchfiles is not installed; "
        "pip install watchfiles has the kernel tell of them"
    )

    async def hints(self) -> AsyncGenerator[None, None]:
        while True:
            yield
            await asyncio.sleep(POLL_INTERVAL)
