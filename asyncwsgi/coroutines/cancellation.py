"""Coroutines that are cancelled when the client leaves for whom they run."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from asyncwsgi.coroutines.current import current_request
from asyncwsgi.coroutines.disconnect import Disconnect

P = ParamSpec("P")
T = TypeVar("T")


def cancel_on_disconnect(
    view: Callable[P, Coroutine[Any, Any, T]],
) -> Callable[P, Coroutine[Any, Any, T]]:
    """Decorates an async view that shall be cancelled when its client leaves.

    The view gets `asyncio.CancelledError` where it awaits; what it then does to tidy up is not
    interrupted. On other servers it does nothing. The option ``cancel_on_disconnect`` does the same
    for all async views.

    Raises:
        TypeError: the view is not a coroutine function.
    """
    if not inspect.iscoroutinefunction(view):
        raise TypeError(
            f"cancel_on_disconnect() got {view!r}; only async views can be cancelled. A sync one "
            'may ask environ["asyncwsgi.disconnected"]'
        )

    @functools.wraps(view)
    async def cancelled(*args: P.args, **kwargs: P.kwargs) -> T:
        request = current_request()
        if request is None:
            return await view(*args, **kwargs)
        return await until_disconnect(request.disconnect, view(*args, **kwargs))

    return cancelled


async def until_disconnect(disconnect: Disconnect, coroutine: Coroutine[Any, Any, T]) -> T:
    """Await `coroutine`, and cancel it when the client leaves. On any loop."""
    task = asyncio.current_task()
    assert task is not None
    cancel = functools.partial(_cancel, task)
    disconnect.call(cancel)
    try:
        return await coroutine
    finally:
        disconnect.discard(cancel)


def _cancel(task: asyncio.Task[Any]) -> None:
    """Cancel `task`. On the server's loop, which need not be its own: see `async_views_on_loop`."""
    loop = task.get_loop()
    if loop is asyncio.get_running_loop():
        task.cancel()
        return
    with contextlib.suppress(RuntimeError):  # its loop has ended, and so has it
        loop.call_soon_threadsafe(task.cancel)
