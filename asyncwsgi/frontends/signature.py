"""What the server adds to every response of its own accord: the headers Server and Date."""

from __future__ import annotations

import time
from email.utils import formatdate

from asyncwsgi.http1.encoder import SERVER_NAME


class Signature:
    """Their values, for all responses of a server. From any thread.

    Args:
        server: the value of Server (RFC 9110 10.2.4); empty for no such header.
    """

    __slots__ = ("_date", "_second", "server")

    def __init__(self, server: str = SERVER_NAME) -> None:
        self.server = server
        self._date = ""
        self._second = 0

    def date(self) -> str:
        """The value of Date (RFC 9110 6.6.1), now; it is made once a second."""
        now = int(time.time())
        if now != self._second:
            self._date = formatdate(now, usegmt=True)
            self._second = now
        return self._date
