"""What is known of the files that count, and how they differ from what a look has found.

A file has changed if its contents have. When it was written only tells whether to read it: programs
that write their own code while they are imported would have each reload bring the next otherwise,
though they write the same again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from asyncwsgi.reloading.sources import is_below
from asyncwsgi.reloading.versions import Stamp, Version, read


class Snapshot:
    """The files that count, as they were when a look at them was last remembered."""

    def __init__(self) -> None:
        self._versions: Mapping[str, Version] = {}
        self._unseen: list[tuple[str, float]] = []
        """Where no look has been had yet, and since when changes there count."""

    def expect(self, tops: Iterable[str], since: float) -> None:
        """Have the next look cover `tops`, too: files and directories."""
        self._unseen += [(top, since) for top in tops]

    def read(self, stamps: Mapping[str, Stamp]) -> dict[str, Version]:
        """What a look at everything has found; files are read whose stamps are new.

        May be called from any thread.
        """
        known = self._versions
        found = {}
        for path, stamp in stamps.items():
            version = known.get(path)
            if version is None or version.stamp != stamp:
                version = read(path, stamp)
            found[path] = version
        return found

    def changes(self, found: Mapping[str, Version]) -> set[str]:
        """The files of which `found` differs from what is known, those that are gone among them."""
        known = self._versions
        now = time.time()
        changed = known.keys() - found.keys()
        for path, version in found.items():
            if path in known:
                is_changed = version.differs(known[path])
            else:
                is_changed = self._is_news(path, version.stamp, now)
            if is_changed:
                changed.add(path)
        return changed

    def remember(self, found: Mapping[str, Version]) -> None:
        """Know from now on what a look at everything has found."""
        self._versions = found
        self._unseen.clear()

    def _is_news(self, path: str, stamp: Stamp, now: float) -> bool:
        """Whether a file has come or been written since its place was last known."""
        written = stamp[0] / 1e9
        for top, since in self._unseen:
            if is_below(path, top):
                # Clocks differ: what was written in the future has not changed since.
                return since < written <= now
        return True
