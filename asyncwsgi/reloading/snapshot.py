"""What is known of the files that count, and how they differ from what a look has found."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from asyncwsgi.reloading.sources import Stamp, is_below


class Snapshot:
    """The files that count, as they were when a look at them was last remembered."""

    def __init__(self) -> None:
        self._stamps: Mapping[str, Stamp] = {}
        self._unseen: list[tuple[str, float]] = []
        """Where no look has been had yet, and since when changes there count."""

    def expect(self, tops: Iterable[str], since: float) -> None:
        """Have the next look cover `tops`, too: files and directories."""
        self._unseen += [(top, since) for top in tops]

    def changes(self, found: Mapping[str, Stamp]) -> set[str]:
        """The files of which `found` differs from what is known, those that are gone among them."""
        known = self._stamps
        now = time.time()
        return {
            path
            for path in known.keys() | found.keys()
            if known.get(path) != found.get(path)
            and (path in known or self._is_news(path, found[path], now))
        }

    def remember(self, found: Mapping[str, Stamp]) -> None:
        """Know from now on what a look at everything has found."""
        self._stamps = found
        self._unseen.clear()

    def _is_news(self, path: str, stamp: Stamp, now: float) -> bool:
        """Whether a file has come or been written since its place was last known."""
        written = stamp[0] / 1e9
        for top, since in self._unseen:
            if is_below(path, top):
                # Clocks differ: what was written in the future has not changed since.
                return since < written <= now
        return True
