"""Sends reports, and is never a reason to wait, or to hold much.

Whoever has news says `due`, which costs an append. A moment later the loop comes round, makes one
report of all that has become of a request meanwhile, and sends those of many requests together. For
most requests that is the only one.

What is bounded: the requests that are recorded in a second, since whoever measures a server would
measure the inspector, and nobody looks at thousands; the requests that wait for a report; the
reports that one round of the loop makes; and what is sent while the supervisor does not keep up.
When it does not, nothing is made of what waits, until it does. Requests that are not recorded are
counted, and the count is told.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from asyncwsgi.clock import clock
from asyncwsgi.inspection.header_pieces import HeaderPieces
from asyncwsgi.inspection.records import MarkPieces, Record
from asyncwsgi.server_log import logger

if TYPE_CHECKING:
    from asyncwsgi.requests.mailbox import Mailbox

INTERVAL = 0.05
"""Seconds between news and its report: nobody sees them, and most requests have ended by then."""
MOST_AT_ONCE = 500
"""Requests of a moment that are recorded, as when a page with many pictures is loaded."""
MOST_A_SECOND = 100
"""Requests that are recorded for long."""
_LEAST_AT_ONCE = 20
_MOST_IN_A_ROUND = 32
"""Reports that are made before others of the loop have their turn."""


class Outlet(Protocol):
    """Where reports go: the channel to the supervisor. On the loop."""

    largest_size: int
    """Bytes of a message."""

    @property
    def is_congested(self) -> bool:
        """Whether so much waits to be taken that nothing should be added."""

    def send_encoded(self, messages: list[str]) -> None:
        """Send these in order; each is one message as JSON of ASCII alone."""


class Reporter:
    """Collects what is due, and sends it.

    Args:
        outlet: where reports go.
        keeps_secrets: whether they tell secrets.
    """

    def __init__(self, outlet: Outlet, *, keeps_secrets: bool = False) -> None:
        self.keeps_secrets = keeps_secrets
        self.headers = HeaderPieces(keeps_secrets=keeps_secrets)
        self.marks = MarkPieces()
        self.was_reported: Callable[[Record], object] = lambda _: None
        """Is told of each record of which nothing more is reported."""
        self._outlet = outlet
        self._mailbox: Mailbox | None = None
        self._due: deque[Record] = deque()
        self._is_scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._allowance = float(MOST_AT_ONCE)
        self._used_up_at = clock.monotonic()
        """When it was used up, or given anew."""
        self._dropped_count = 0
        self._has_failed = False

    # From any thread.

    def due(self, record: Record) -> None:
        """Have `record` reported soon."""
        # In this order, which the mailbox explains: who finds it scheduled has added before the
        # loop looks.
        self._due.append(record)
        if not self._is_scheduled and self._mailbox is not None:
            self._is_scheduled = True
            self._mailbox.post(self._schedule, None)

    def failed(self) -> None:
        """Say that recording has failed, with the exception in hand; once, for it may go on."""
        if not self._has_failed:
            self._has_failed = True
            logger.exception(
                "something of a request could not be recorded for the inspector; the request is "
                "served all the same, and further faults are not logged"
            )

    # On the loop.

    def admits(self, mailbox: Mailbox) -> bool:
        """Whether one more request is to be recorded; it is counted if not.

        Once no more may be, none is until a number of them may: what listens to frameworks rests
        in between (see `asyncwsgi.inspection.recording`).
        """
        self._mailbox = mailbox
        if self._allowance < 1.0 and not self._has_new_allowance():
            self._drop()
            return False
        self._allowance -= 1.0
        return True

    def _has_new_allowance(self) -> bool:
        now = clock.monotonic()
        allowance = min((now - self._used_up_at) * MOST_A_SECOND, float(MOST_AT_ONCE))
        if allowance < _LEAST_AT_ONCE or len(self._due) >= MOST_AT_ONCE:
            return False
        self._allowance = allowance
        self._used_up_at = now
        return True

    def flush(self) -> None:
        """Report all that is due, at the end."""
        self._is_scheduled = True
        while self._due and not self._outlet.is_congested:
            self._send_some()
        if self._timer is not None:
            self._timer.cancel()

    def _drop(self) -> None:
        self._dropped_count += 1
        if not self._is_scheduled:
            self._is_scheduled = True
            self._schedule(None)

    def _schedule(self, _: None) -> None:
        self._timer = asyncio.get_running_loop().call_later(INTERVAL, self._send)

    def _send(self) -> None:
        self._is_scheduled = False
        is_congested = self._outlet.is_congested
        if not is_congested:
            self._send_some()
        if self._due and not self._is_scheduled:
            self._is_scheduled = True
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(INTERVAL if is_congested else 0.0, self._send)

    def _send_some(self) -> None:
        due = self._due
        messages = []
        for _ in range(min(len(due), _MOST_IN_A_ROUND)):
            record = due.popleft()
            if not record.is_silent:
                messages += self._reports(record)
        if self._dropped_count:
            messages.append(f'{{"event":"inspected-dropped","count":{self._dropped_count}}}')
            self._dropped_count = 0
        if messages:
            self._outlet.send_encoded(messages)

    def _reports(self, record: Record) -> list[str]:
        try:
            message = record.report(self._outlet.largest_size)
        except Exception:
            record.is_silent = True
            self.failed()
            self.was_reported(record)
            return []
        if record.is_silent:
            self.was_reported(record)
        elif record.has_news:
            record.touch()
        return [message]
