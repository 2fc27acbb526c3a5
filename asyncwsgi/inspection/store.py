"""What is known of the requests of a service, bounded; it outlives the processes that served them.

All changes are made on the supervisor's loop. Other threads only look: entries are never changed
but replaced, and a dict is copied in one step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from asyncwsgi.inspection.entries import (
    OVER,
    Entry,
    begun,
    is_id,
    lost,
    merged,
    size_of,
    summary,
)
from asyncwsgi.inspection.feed import Feed

MOST_ENTRIES = 10_000
LARGEST_SIZE = 64 * 1024 * 1024
"""Bytes of all entries together, by `size_of`."""


class Store:
    """Entries by their ids, the oldest first.

    Args:
        most: entries that are kept.
        largest: bytes of all of them together.
    """

    def __init__(self, *, most: int = MOST_ENTRIES, largest: int = LARGEST_SIZE) -> None:
        self._most = most
        self._largest = largest
        self._entries: dict[str, Entry] = {}
        self._workers: dict[str, int] = {}
        """The process that has each request which is not over."""
        self._over: dict[str, None] = {}
        """Those of which nothing more is expected, in the order in which they ended."""
        self._sizes: dict[str, int] = {}
        self._feeds: set[Feed] = set()
        self.on_begun: Callable[[Entry], object] = lambda _: None
        """Called with each new entry."""
        self.size = 0
        """Bytes of all entries together."""
        self.now: Mapping[str, Any] = {}
        """What the worker does, as it said last."""
        self.dropped_count = 0
        """Reports that workers could not send."""

    # From any thread.

    def summaries(self) -> list[dict[str, Any]]:
        """One of each entry, the oldest first."""
        return [summary(entry) for entry in self._entries.copy().values()]

    def entry(self, entry_id: str) -> Entry | None:
        """All that is known of one."""
        return self._entries.get(entry_id)

    def worker_of(self, entry_id: str) -> int | None:
        """The process that has a request in hand; None if it is over, or not known."""
        return self._workers.get(entry_id)

    # On the loop.

    def take(self, pid: int, report: Mapping[str, Any]) -> None:
        """Learn of a request from a worker. What makes no sense is left out.

        Args:
            pid: the worker's.
            report: its message, with ``id``, ``set`` and ``add``.
        """
        entry_id = report.get("id")
        if not is_id(entry_id):
            return
        known = self._entries.get(entry_id)
        if known is None:
            entry = begun(entry_id, report.get("set"), report.get("add"))
            if entry is None:
                return  # the rest of one that was forgotten
            self._workers[entry_id] = pid
            self._put(entry_id, entry)
            self.on_begun(entry)
        elif self._workers.get(entry_id, pid) != pid:
            return
        else:
            self._put(entry_id, merged(known, report.get("set"), report.get("add")))
        self._make_room()

    def dropped(self, count: object) -> None:
        """Count reports that a worker could not send."""
        if isinstance(count, int) and 0 < count < 1 << 32:
            self.dropped_count += count

    def worker_ended(self, pid: int) -> None:
        """Know that nothing more will be heard of the requests that a process had in hand."""
        for entry_id in [one for one, worker in self._workers.items() if worker == pid]:
            self._put(entry_id, lost(self._entries[entry_id]))

    def clear(self) -> None:
        """Forget all, also those that go on."""
        for kept in (self._entries, self._workers, self._over, self._sizes):
            kept.clear()
        self.size = 0
        for feed in self._feeds:
            feed.start_over(())

    def say_now(self, now: Mapping[str, Any]) -> None:
        """Tell subscribers what the worker does at this moment."""
        self.now = now
        for feed in self._feeds:
            feed.say_now(now)

    def subscribe(self) -> Feed:
        """What changes from now on; close it."""
        feed = Feed(self._entries.get, self._entries.keys, self._feeds.discard)
        self._feeds.add(feed)
        return feed

    @property
    def is_watched(self) -> bool:
        """Whether anybody has subscribed."""
        return bool(self._feeds)

    def _put(self, entry_id: str, entry: Entry) -> None:
        size = size_of(entry)
        self.size += size - self._sizes.get(entry_id, 0)
        self._sizes[entry_id] = size
        self._entries[entry_id] = entry
        if entry["state"] in OVER:
            self._over.setdefault(entry_id)
            self._workers.pop(entry_id, None)
        for feed in self._feeds:
            feed.changed(entry_id)

    def _make_room(self) -> None:
        while self._entries and (len(self._entries) > self._most or self.size > self._largest):
            # What goes on is what somebody may wait for; it is given up only if there is no other.
            entry_id = next(iter(self._over or self._entries))
            del self._entries[entry_id]
            self._over.pop(entry_id, None)
            self._workers.pop(entry_id, None)
            self.size -= self._sizes.pop(entry_id)
            for feed in self._feeds:
                feed.gone(entry_id)
