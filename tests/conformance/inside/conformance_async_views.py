"""A pytest plugin: every view function of Flask's tests is a coroutine function.

But for those of class-based views, which call `ensure_sync` inside: a view on the loop cannot wait
for the loop.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

import flask

ensure_sync = flask.Flask.ensure_sync


def ensure_sync_by_coroutine(self: flask.Flask, func: Callable[..., Any]) -> Callable[..., Any]:
    is_view = any(func is view for view in self.view_functions.values())
    if not is_view or inspect.iscoroutinefunction(func) or hasattr(func, "view_class"):
        return ensure_sync(self, func)

    @wraps(func)
    async def view(*args: Any, **options: Any) -> Any:
        return func(*args, **options)

    return ensure_sync(self, view)


flask.Flask.ensure_sync = ensure_sync_by_coroutine  # type: ignore[method-assign]
