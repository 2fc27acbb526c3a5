"""The exchange to which the running code belongs: the way from application code to its server."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncwsgi.requests.exchange import Exchange

_current: ContextVar[Exchange | None] = ContextVar("asyncwsgi_exchange", default=None)


def current_exchange() -> Exchange | None:
    """The exchange whose application call this is part of; None outside of any.

    A context variable: whoever copies the context of a request (Flask's
    ``copy_current_request_context``, tasks) is still part of it.
    """
    return _current.get()


enter_exchange = _current.set
"""Says that the current Context is that of an exchange."""
