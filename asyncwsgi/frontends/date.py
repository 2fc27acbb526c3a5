"""The Date header of responses (RFC 9110 6.6.1)."""

from __future__ import annotations

import time
from email.utils import formatdate


class DateClock:
    """Makes the value of Date once a second, for all responses of a server. From any thread."""

    __slots__ = ("_date", "_second")

    def __init__(self) -> None:
        self._date = ""
        self._second = 0

    def date(self) -> str:
        """The value of the Date header, now."""
        now = int(time.time())
        if now != self._second:
            self._date = formatdate(now, usegmt=True)
            self._second = now
        return self._date
