"""What has changed since a subscriber was last told, each entry once however often it changed.

So a subscriber that reads slowly, or not at all, has the store hold no more than the names of what
it knows, and is told of the newest state when it reads on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Self

from asyncwsgi.event_stream import Event
from asyncwsgi.inspection.entries import Entry, summary

INTERVAL = 0.25
"""Seconds in which an entry is told at most once."""
MOST_GONE = 10_000
"""Ids of entries that are gone which a subscriber may have to be told; beyond it starts anew."""
AT_ONCE = 50
"""Events that are written before the loop comes round to others."""


class Feed:
    """The news for one subscriber, on the loop: an async iterator of events for a stream of them.

    No generator, since one that was never asked would not hear that its client has left.

    Args:
        entry: gives an entry by its id.
        ids: gives those that there are, the oldest first.
        on_close: called when it is closed.
    """

    def __init__(
        self,
        entry: Callable[[str], Entry | None],
        ids: Callable[[], Iterable[str]],
        on_close: Callable[[Feed], object],
    ) -> None:
        self._entry = entry
        self._ids = ids
        self._on_close = on_close
        self._has_news = asyncio.Event()
        self._changed: dict[str, None] = {}
        self._gone: dict[str, None] = {}
        self._starts_over = False
        self._round: Iterator[Event] = iter(())
        """What is being told."""
        self._told_count = 0
        self._now: Mapping[str, Any] | None = None

    def say_now(self, now: Mapping[str, Any]) -> None:
        """Have it told what the worker does."""
        self._now = now
        self._has_news.set()

    def changed(self, entry_id: str) -> None:
        """Know that there is more to be told of an entry."""
        self._changed[entry_id] = None
        self._has_news.set()

    def gone(self, entry_id: str) -> None:
        """Know that an entry is not kept any more."""
        self._changed.pop(entry_id, None)
        self._gone[entry_id] = None
        if len(self._gone) > MOST_GONE:
            self.start_over(self._ids())
        self._has_news.set()

    def start_over(self, ids: Iterable[str]) -> None:
        """Have the subscriber forget all, and hear of these entries."""
        self._starts_over = True
        self._gone.clear()
        self._changed = dict.fromkeys(ids)
        self._has_news.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while True:
            event = next(self._round, None)
            if event is not None:
                self._told_count += 1
                if self._told_count % AT_ONCE == 0:
                    await asyncio.sleep(0)
                return event
            if self._told_count:
                await asyncio.sleep(INTERVAL)
            await self._has_news.wait()
            self._has_news.clear()
            self._round = self._take()

    async def aclose(self) -> None:
        """Be told no more."""
        self._on_close(self)

    def _take(self) -> Iterator[Event]:
        changed, gone, now = self._changed, self._gone, self._now
        self._changed, self._gone, self._now = {}, {}, None
        if self._starts_over:
            self._starts_over = False
            yield Event(event="cleared", data={})
        if gone:
            yield Event(event="gone", data=list(gone))
        for entry_id in changed:
            if (entry := self._entry(entry_id)) is not None:
                yield Event(event="entry", data=summary(entry))
        if now is not None:
            yield Event(event="now", data=dict(now))
