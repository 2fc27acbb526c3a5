"""The log of everything but access lines: the logger ``asyncwsgi.server``.

Logging runs code of the program, which may fail like any other: a filter that asks for the request
at hand where there is none, a clock that a test has replaced. A line that cannot be written costs
that line and nothing else: no answer to a client, no deadline, no thread.
"""

from __future__ import annotations

import contextlib
import logging
from typing import Any


class ServerLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger whose methods do not raise what writing a line raises."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        # stacklevel: the line is its caller's, not this method's.
        with contextlib.suppress(Exception):
            super().log(level, msg, *args, stacklevel=2, **kwargs)


logger = ServerLogger(logging.getLogger("asyncwsgi.server"), {})
