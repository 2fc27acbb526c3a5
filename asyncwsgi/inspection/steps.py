"""A coroutine whose steps are timed: on the loop, and waiting."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import TYPE_CHECKING, Any, cast

from asyncwsgi.clock import clock

if TYPE_CHECKING:
    from asyncwsgi.inspection.records import Record

_WRAPPER = "AsyncToSync.main_wrap"


class TimedCoroutine(Coroutine[Any, Any, Any]):
    """Runs another one, step by step, as whoever awaits it asks for them.

    In all else it is that one: who looks where it stands sees its frames.
    """

    def __init__(self, coroutine: Any, record: Record) -> None:
        self._coroutine = coroutine
        self._record = record
        self._name = getattr(coroutine, "__qualname__", type(coroutine).__name__)
        self._left_at = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coroutine, name)

    # As an iterator it is what ``await`` takes its steps from.

    def __await__(self) -> Generator[Any, Any, Any]:
        return cast("Generator[Any, Any, Any]", self)

    def __iter__(self) -> TimedCoroutine:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        began = self._enter()
        try:
            return self._coroutine.send(value)
        finally:
            self._leave(began)

    def throw(self, *error: Any) -> Any:
        began = self._enter()
        try:
            return self._coroutine.throw(*error)
        finally:
            self._leave(began)

    def close(self) -> None:
        self._coroutine.close()

    def _enter(self) -> float:
        now = clock.monotonic()
        if self._left_at:
            self._record.add_span("wait", self._left_at, now, self._name)
        return now

    def _leave(self, began: float) -> None:
        self._left_at = now = clock.monotonic()
        if self._name == _WRAPPER:
            # asgiref's is around every view; what it awaits is the view.
            self._name = getattr(self._coroutine.cr_await, "__qualname__", self._name)
        self._record.add_span("loop", began, now, self._name)
