"""The lines that are logged while a request is served, by whichever logger.

Heard of by the factory of log records, and not by a handler: a handler at the root logger would
change what is logged. Without one there, `logging.basicConfig` configures, Flask gives its logger a
handler of its own, and what has no handler at all goes to standard error. The factory sees what
every enabled logger is about to log, those included that hand nothing on to the root.
"""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from asyncwsgi.clock import clock
from asyncwsgi.inspection.records import LONGEST_TEXT, current_record

if TYPE_CHECKING:
    from asyncwsgi.inspection.records import Record

_ACCESS_LOGGER = "asyncwsgi.access"
"""Its line says what is known of the request already."""


class LogLines:
    """Keeps log lines of requests; called to make a record of each. Used from any thread.

    Args:
        on_fault: called where a line could not be kept, with the exception in hand.
    """

    def __init__(self, on_fault: Callable[[], object]) -> None:
        self._on_fault = on_fault
        self._is_open = False
        self._before: Callable[..., logging.LogRecord] = logging.LogRecord
        self._state = threading.local()
        self.leaves_access_lines = False
        """Whether nobody misses an access line of which no record is made."""

    def open(self) -> None:
        """Hear of what is logged from now on."""
        self._is_open = True
        self._before = logging.getLogRecordFactory()
        self.leaves_access_lines = self._before is logging.LogRecord
        logging.setLogRecordFactory(self)

    def close(self) -> None:
        """Hear no more."""
        self._is_open = False
        if logging.getLogRecordFactory() is self:  # else somebody's calls ours
            logging.setLogRecordFactory(self._before)

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        """Make a record, as whoever did before."""
        made = self._before(*args, **kwargs)
        if self._is_open:
            try:
                request = current_record()
                if request is not None and made.name != _ACCESS_LOGGER:
                    self._keep(request, made)
            except Exception:
                self._on_fault()
        return made

    def _keep(self, request: Record, made: logging.LogRecord) -> None:
        # What is formatted may itself log, which is no line of anybody's.
        if getattr(self._state, "is_keeping", False):
            return
        self._state.is_keeping = True
        try:
            text = _text_of(made, request)
        finally:
            self._state.is_keeping = False
        line = {"level": made.levelname, "logger": made.name, "text": text[:LONGEST_TEXT]}
        request.add("logs", clock.monotonic(), line)


def _text_of(made: logging.LogRecord, request: Record) -> str:
    try:
        text = made.getMessage()
    except Exception:  # the handlers say so in their way
        text = f"{made.msg} {made.args}"
    error = made.exc_info[1] if made.exc_info else None
    if error is not None and not request.has_told(error):
        text = f"{text}\n{''.join(traceback.format_exception(error))}"
    return text
