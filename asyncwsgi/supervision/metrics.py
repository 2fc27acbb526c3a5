"""The figures of all workers together, served by their supervisor.

Workers tell their figures as they go, and once more when they end; so a scrape asks nobody, waits
for nobody, and sees what was true a moment ago. What workers have done that have ended is kept: a
counter never goes back.
"""

from __future__ import annotations

from collections.abc import Mapping

from asyncwsgi.server.server import metrics_server
from asyncwsgi.server.stats import Stats

STATS_INTERVAL = 1.0
"""Seconds between the figures that a worker tells."""
_ENDED = 0  # no process has this number


class WorkerMetrics:
    """The sum of what workers tell. All of it runs on the loop, but for `stats`.

    Args:
        bind: HOST:PORT at which the sum is served.
    """

    def __init__(self, bind: str) -> None:
        self._known: Mapping[int, Stats] = {}
        """What each process has told last, and under `_ENDED` what those had done that have ended.
        Never changed but replaced, so that who adds it up in another thread counts nothing twice.
        """
        self._server = metrics_server(bind, self.stats)

    async def start(self) -> None:
        """Serve them.

        Raises:
            BindError: the address cannot be had.
        """
        await self._server.start()

    async def close(self) -> None:
        """Serve them no more."""
        await self._server.shutdown()

    def told(self, pid: int, stats: Stats) -> None:
        """Take the figures of a worker."""
        self._known = {**self._known, pid: stats}

    def ended(self, pid: int) -> None:
        """Keep what a worker had done, which has ended."""
        rest = dict(self._known)
        past = rest.pop(pid, Stats.none()).as_past()
        self._known = {**rest, _ENDED: rest.get(_ENDED, Stats.none()).plus(past)}

    def restarted(self) -> None:
        """Count a worker that takes the place of one that died, or is stopped for what it did."""
        before = self._known.get(_ENDED, Stats.none())
        self._known = {**self._known, _ENDED: before.plus(Stats.none(worker_restarts=1))}

    def stats(self) -> Stats:
        """What all have done, and what those do that there are. From any thread."""
        return Stats.total(self._known.values())
