"""The Context in which each request runs."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context

from asyncwsgi.errors import ConfigError


def context_maker(base: Callable[[], Context] | None) -> Callable[[], Context]:
    """What makes a Context for each request: empty ones, or copies of the one `base` returns now.

    Raises:
        ConfigError: `base` returns something else.
    """
    if base is None:
        return Context
    context: object = base()
    if not isinstance(context, Context):
        got = type(context).__name__
        raise ConfigError(
            f"context must return a contextvars.Context, got {got}; give contextvars.copy_context"
        )
    return context.copy
