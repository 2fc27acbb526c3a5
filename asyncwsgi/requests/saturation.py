"""Notices when all worker threads are busy while requests wait, and says what holds them.

A server whose threads are all held looks from outside as if it hung, and nothing in its log says
why: requests that wait write no access line, and those that hold the threads write theirs when it
is over. What the operator needs to know is which endpoints hold the threads; so that is said, once,
while it is so.

How it is told from a busy machine, where requests wait, too, but more threads would only make it
worse: threads take requests in the order in which they came. So if one has waited for longer than
`PATIENCE`, every thread was busy with something older for as long. If no request holds a thread at
all, the threads are there and were not let run. And the dispatcher asks only if there are more
requests than threads.

Nothing is measured or counted for it. The server's coarse clock looks at times that each request
has anyway, a few times a second at most.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import Protocol

from asyncwsgi.server_log import logger
from asyncwsgi.words import counted

PATIENCE = 1.0
"""Seconds that a request waits for a thread before anyone is told."""
MOST_NAMED = 5


class WatchedExchange(Protocol):
    """What is looked at of a request."""

    method: str
    target: str
    submitted_at: float
    started_at: float
    """When a thread took it; 0.0 while it waits."""

    @property
    def has_taken_socket(self) -> bool:
        """Whether the application uses its client's socket itself, as WebSocket libraries do."""


class SaturationWatch:
    """One warning per episode: it is over when no request waits for long any more.

    Args:
        thread_limit: most threads, if known.
        parks: whether threads run other requests while theirs wait.
    """

    def __init__(self, thread_limit: int | None, *, parks: bool = False) -> None:
        self._thread_limit = thread_limit
        self._more = "raise threads or max_parked" if parks else "raise threads"
        self._has_warned = False

    def look(self, exchanges: Collection[WatchedExchange], now: float) -> None:
        """Look at the exchanges that have not ended; `now` is monotonic."""
        waiting = [exchange for exchange in exchanges if not exchange.started_at]
        is_late = any(now - exchange.submitted_at > PATIENCE for exchange in waiting)
        is_saturated = is_late and len(waiting) < len(exchanges)
        if is_saturated and not self._has_warned:
            self._warn(exchanges, len(waiting), now)
        self._has_warned = is_saturated

    def _warn(self, exchanges: Collection[WatchedExchange], waiting: int, now: float) -> None:
        limit = self._thread_limit
        logger.warning(
            "%s busy for more than %g s, with %s waiting; held by %s; %s",
            _all_threads(limit), PATIENCE, counted(waiting, "request"),
            _holders(exchanges, now), self._cure(exchanges),
        )  # fmt: skip

    def _cure(self, exchanges: Collection[WatchedExchange]) -> str:
        more = self._more if self._thread_limit else "give the executor more workers"
        if any(exchange.has_taken_socket for exchange in exchanges):
            return (
                f"{more}: each WebSocket whose library has taken its socket holds one while it is "
                "open"
            )
        return f"{more}, or make these requests faster"


def _all_threads(limit: int | None) -> str:
    if limit is None:
        return "all threads of the executor are"
    return "the only worker thread is" if limit == 1 else f"all {limit} worker threads are"


def _holders(exchanges: Collection[WatchedExchange], now: float) -> str:
    """The endpoints that hold threads, the one that holds most first."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for exchange in exchanges:
        if exchange.started_at:
            path = exchange.target.partition("?")[0]
            seconds[f"{exchange.method} {path}"].append(now - exchange.started_at)
    busiest = sorted(seconds.items(), key=lambda item: (-len(item[1]), -max(item[1])))
    named = [
        f"{endpoint} ({counted(len(held), 'thread')}, {max(held):.1f} s)"
        for endpoint, held in busiest[:MOST_NAMED]
    ]
    more = len(busiest) - MOST_NAMED
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")
