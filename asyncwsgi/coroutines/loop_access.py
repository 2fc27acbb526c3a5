"""What this room needs of the way from threads to the loop (see `asyncwsgi.requests.mailbox`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Mailbox(Protocol):
    """The one way from a thread to the loop."""

    def post(self, call: Callable[[Any], object], argument: Any) -> None:
        """Have the loop run ``call(argument)`` soon. From any thread; never blocks."""
