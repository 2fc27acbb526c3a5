"""A pytest plugin: every view function of Flask's tests is a coroutine function.

But for those of class-based views, which call `ensure_sync` inside: a view on the loop cannot wait
for the loop. And, before Flask 3.1.2, for those that stream with context: that release mended
``stream_with_context`` in async views, which failed on every server and in process.
"""

from __future__ import annotations

import importlib.metadata
import inspect
from collections.abc import Callable
from functools import wraps
from types import CodeType
from typing import Any

import flask

CAN_STREAM_IN_ASYNC = tuple(
    int(number) for number in importlib.metadata.version("flask").split(".")[:3]
) >= (3, 1, 2)
STREAMS = {"stream_with_context", "stream_template", "stream_template_string"}

ensure_sync = flask.Flask.ensure_sync


def ensure_sync_by_coroutine(self: flask.Flask, func: Callable[..., Any]) -> Callable[..., Any]:
    is_view = any(func is view for view in self.view_functions.values())
    is_async = inspect.iscoroutinefunction(func)
    if not is_view or is_async or hasattr(func, "view_class") or cannot_be_async(func):
        return ensure_sync(self, func)

    @wraps(func)
    async def view(*args: Any, **options: Any) -> Any:
        return func(*args, **options)

    return ensure_sync(self, view)


def cannot_be_async(func: Callable[..., Any]) -> bool:
    code = getattr(func, "__code__", None)
    return code is not None and not CAN_STREAM_IN_ASYNC and bool(STREAMS & names_in(code))


def names_in(code: CodeType) -> set[str]:
    """All names that code and the functions within it use."""
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*map(names_in, inner))


flask.Flask.ensure_sync = ensure_sync_by_coroutine  # type: ignore[method-assign]
