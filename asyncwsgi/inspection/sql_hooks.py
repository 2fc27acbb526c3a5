"""The statements that SQLAlchemy executes for a request, and how long they take.

Statements only, never their parameters, in which secrets are.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from asyncwsgi.inspection.records import current_record


class SqlHooks:
    """Listens to SQLAlchemy's engines, once the application has imported it."""

    home = "sqlalchemy.engine"
    """The module whose import says that the application uses it."""
    may_rest = False  # SQLAlchemy removes no listener of an event that is being told

    def __init__(self) -> None:
        self._connected: list[tuple[str, Callable[..., None]]] = []
        self._event: Any = None
        self._engine: Any = None

    def connect(self) -> bool:
        """Listen. False: it is not there yet."""
        self._engine = getattr(sys.modules.get(self.home), "Engine", None)
        self._event = sys.modules.get("sqlalchemy.event")
        if self._engine is None or not hasattr(self._event, "listen"):
            return False
        for name, listener in _LISTENERS.items():
            self._event.listen(self._engine, name, listener)
            self._connected.append((name, listener))
        return True

    def disconnect(self) -> None:
        """Listen no more."""
        for name, listener in self._connected:
            self._event.remove(self._engine, name, listener)
        self._connected.clear()


def _begins(_: Any, cursor: Any, *__: Any) -> None:
    record = current_record()
    if record is not None:
        record.query_began(cursor)


def _ended(
    _: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool
) -> None:
    record = current_record()
    if record is not None:
        many = f" -- for {len(parameters)} sets of parameters" if executemany else ""
        record.query_ended(cursor, f"{statement}{many}")


def _failed(context: Any) -> None:
    record, execution = current_record(), context.execution_context
    if record is not None and execution is not None:
        record.query_ended(execution.cursor, f"{context.statement} -- failed")


_LISTENERS: dict[str, Callable[..., None]] = {
    "before_cursor_execute": _begins,
    "after_cursor_execute": _ended,
    "handle_error": _failed,
}
