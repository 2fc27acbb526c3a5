"""What Django tells of a request: the exception of which it makes a response."""

from __future__ import annotations

import sys
from typing import Any

from asyncwsgi.inspection.records import current_record


class DjangoHooks:
    """Listens to Django, once the application has imported it."""

    home = "django.core.signals"
    """The module whose import says that the application uses it."""
    may_rest = True

    def __init__(self) -> None:
        self._signal: Any = None

    def connect(self) -> bool:
        """Listen. False: it is not there yet."""
        signal = getattr(sys.modules.get(self.home), "got_request_exception", None)
        if signal is None:
            return False
        signal.connect(_raised, weak=False)
        self._signal = signal
        return True

    def disconnect(self) -> None:
        """Listen no more."""
        if self._signal is not None:
            self._signal.disconnect(_raised)


def _raised(**_: Any) -> None:
    # It is sent while the exception is being handled.
    record, error = current_record(), sys.exc_info()[1]
    if record is not None and error is not None:
        record.fail(error)
