"""The request to which the running code belongs: the way from application code to its server."""

from __future__ import annotations

from collections.abc import Awaitable
from contextvars import ContextVar
from typing import Protocol, TypeVar

from asyncwsgi.coroutines.disconnect import Disconnect
from asyncwsgi.coroutines.tasks import LoopTasks

T = TypeVar("T")


class CurrentRequest(Protocol):
    """What code that runs for a request may ask of it: an exchange, as the application sees it."""

    disconnect: Disconnect

    @property
    def tasks(self) -> LoopTasks:
        """What its server's loop runs for threads."""

    @property
    def cancel_on_disconnect(self) -> bool:
        """Whether its async views are cancelled when its client leaves."""

    def background_failed(self, error: BaseException) -> None:
        """Be told that a task which it has left in the background has failed. On the loop."""

    def collect_body(self) -> bool:
        """Wait for the request body before a coroutine that may read it is called on the loop.

        False: it is too large, and the coroutine must not run where reading would wait for itself.
        """

    def observe(self, awaitable: Awaitable[T]) -> Awaitable[T]:
        """What the loop is to run in place of a coroutine of the application; mostly that."""


_current: ContextVar[CurrentRequest | None] = ContextVar("asyncwsgi_request", default=None)


def current_request() -> CurrentRequest | None:
    """The request whose application call this is part of; None outside of any.

    A context variable: whoever copies the context of a request (Flask's
    ``copy_current_request_context``, tasks) is still part of it.
    """
    return _current.get()


enter_request = _current.set
"""Says that the current Context is that of a request."""
