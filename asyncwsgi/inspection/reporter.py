"""Sends reports, and is never a reason to wait, or to hold much.

Whoever has news says `due`, which costs an append. A moment later the loop comes round, makes one
report of all that has become of a request meanwhile, and sends those of many requests together. For
most requests that is the only one.

What is bounded: the requests that wait for their first report (those beyond it are not recorded,
but counted), the reports that one round of the loop makes, and what is sent while the supervisor
does not keep up. When it does not, nothing is made of what waits, until it does.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from asyncwsgi.server_log import logger

if TYPE_CHECKING:
    from asyncwsgi.inspection.records import Record
    from asyncwsgi.requests.mailbox import Mailbox

INTERVAL = 0.05
"""Seconds between news and its report: nobody sees them, and most requests have ended by then."""
MOST_DUE = 500
"""Records that may wait to be reported; a hundred thousand requests in ten seconds are too many to
be looked at."""
_MOST_IN_A_ROUND = 32
"""Reports that are made before others of the loop have their turn."""
_SAFE_SIZE = 64 * 1024
"""Characters that make no message too large, whatever they are. JSON writes one as up to 12."""


class Outlet(Protocol):
    """Where reports go: the channel to the supervisor. On the loop."""

    largest_size: int
    """Bytes of a message as JSON."""

    @property
    def is_congested(self) -> bool:
        """Whether so much waits to be taken that nothing should be added."""

    def send_all(self, messages: list[dict[str, Any]]) -> None:
        """Send these, in order."""


class Reporter:
    """Collects what is due, and sends it.

    Args:
        outlet: where reports go.
        keeps_secrets: whether they tell secrets.
    """

    def __init__(self, outlet: Outlet, *, keeps_secrets: bool = False) -> None:
        self.keeps_secrets = keeps_secrets
        self._outlet = outlet
        self._mailbox: Mailbox | None = None
        self._due: deque[Record] = deque()
        self._is_scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._dropped_count = 0
        self._has_failed = False
        self.was_reported: Callable[[Record], object] = lambda _: None
        """Is told of each record that needs nothing more."""

    # From any thread.

    def due(self, record: Record) -> None:
        """Have `record` reported soon."""
        # In this order, which the mailbox explains: who finds it scheduled has added before the
        # loop looks.
        self._due.append(record)
        if not self._is_scheduled and self._mailbox is not None:
            self._is_scheduled = True
            self._mailbox.post(self._schedule, None)

    # On the loop.

    def admits(self, mailbox: Mailbox) -> bool:
        """Whether one more request can be recorded; it is counted if not."""
        self._mailbox = mailbox
        if len(self._due) < MOST_DUE:
            return True
        self._dropped_count += 1
        return False

    def flush(self) -> None:
        """Report all that is due, at the end."""
        self._is_scheduled = True
        while self._due and not self._outlet.is_congested:
            self._send_some()
        if self._timer is not None:
            self._timer.cancel()

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
            if (message := self._report(record)) is not None:
                messages.append(message)
        if self._dropped_count:
            messages.append({"event": "inspected-dropped", "count": self._dropped_count})
            self._dropped_count = 0
        if messages:
            self._outlet.send_all(messages)

    def _report(self, record: Record) -> dict[str, Any] | None:
        try:
            message = fitted(record.report(), self._outlet.largest_size)
        except Exception:
            record.is_silent = True
            self.failed()
            self.was_reported(record)
            return None
        if record.has_news:
            record.touch()
        elif record.ended_at:
            self.was_reported(record)
        return message

    def failed(self) -> None:
        """Say that recording has failed, once: it must not disturb anybody. From any thread."""
        if not self._has_failed:
            self._has_failed = True
            logger.exception("a request could not be recorded; further faults are not logged")


def fitted(message: dict[str, Any], largest_size: int) -> dict[str, Any]:
    """`message`, without its largest parts if it is too large."""
    values = message["set"]
    if _text_size(message) <= _SAFE_SIZE:
        return message
    for shrink in (_without_body_data, _without_frames, _with_short_headers):
        if len(json.dumps(message)) < largest_size:
            break
        shrink(values)
    return message


def _text_size(message: dict[str, Any]) -> int:
    values = message["set"]
    headers = (*values.get("request_headers", ()), *values.get("response_headers", ()))
    texts = (values.get("traceback") or "", values.get("target", ""))
    additions = message.get("add", {}).values()
    return (
        sum(len(name) + len(value) for name, value in headers)
        + sum(map(len, texts))
        + sum(len(item.get("text", "")) for items in additions for item in items)
        + sum(512 for _ in values.get("frames", ()))
        + sum(len((values.get(name) or {}).get("data", "")) // 12 for name in _BODIES)
    )


_BODIES = ("request_body", "response_body")


def _without_body_data(values: dict[str, Any]) -> None:
    for name in _BODIES:
        if values.get(name):
            values[name].update(data="", is_cut=True)


def _without_frames(values: dict[str, Any]) -> None:
    values["frames"] = []
    if values.get("traceback"):
        values["traceback"] = values["traceback"][-_SAFE_SIZE // 16 :]


def _with_short_headers(values: dict[str, Any]) -> None:
    for name in ("request_headers", "response_headers"):
        if name in values:
            values[name] = [[key[:64], value[:64]] for key, value in values[name][:200]]
    if "target" in values:
        values["target"] = values["target"][:1024]
