"""From a view into the event loop of its server.

A view runs in a worker thread. Here it calls coroutine functions on the loop that serves it: always
the same one, so that connection pools, locks and background tasks outlive the request.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any, ParamSpec, TypeVar, TypeVarTuple

from asyncwsgi.coroutines.cancellation import until_disconnect
from asyncwsgi.coroutines.current import CurrentRequest, current_request
from asyncwsgi.coroutines.disconnect import Disconnect
from asyncwsgi.coroutines.tasks import restore

__all__ = ["create_task", "run"]

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def run(async_fn: Callable[[*Ts], Awaitable[T]], /, *args: *Ts, timeout: float | None = None) -> T:
    """Run ``async_fn(*args)`` on the server's loop, and wait for its result.

    It runs in a copy of the caller's Context; variables that it has set are set in the caller's
    Context, too, when it has ended. What it raises is raised here.

    Args:
        async_fn: a coroutine function, or any function that returns an awaitable.
        args: its arguments.
        timeout: seconds after which it is cancelled.

    Raises:
        RuntimeError: called outside of a request, on the loop's own thread, or after the server
            has stopped.
        TimeoutError: it has not ended within `timeout`.
        asyncio.CancelledError: it was cancelled; the shutdown of the server does so with those
            that have not ended within ``graceful_timeout``.
    """
    make: Callable[[], Awaitable[T]] = functools.partial(async_fn, *args)
    request = _current_request("run()")
    return request.tasks.run(lambda: request.observe(make()), timeout=timeout)


def create_task(coroutine: Coroutine[Any, Any, T], *, name: str | None = None) -> Future[T]:
    """Run `coroutine` on the server's loop in the background; return at once.

    It outlives the request. If it fails, that is logged with its traceback. At shutdown the server
    waits for it, up to ``graceful_timeout``, and cancels it then. May also be called on the loop:
    in an async view.

    Args:
        coroutine: runs in a copy of the caller's Context.
        name: for the log; as that of an `asyncio.Task`.

    Returns:
        Its future, on which a thread may wait; cancelling it cancels the task.

    Raises:
        RuntimeError: called outside of a request, or after the server has stopped.
        TypeError: not a coroutine.
    """
    if not inspect.iscoroutine(coroutine):
        raise TypeError(
            f"create_task() wants a coroutine, got {type(coroutine).__name__}; call the coroutine "
            "function: create_task(send_mail(address))"
        )
    try:
        request = _current_request("create_task()")
    except RuntimeError:
        coroutine.close()  # else Python warns that nobody has awaited it
        raise
    name = name or coroutine.__qualname__
    return request.tasks.submit(coroutine, copy_context(), name, request.background_failed)


def async_to_sync(async_fn: Callable[P, Awaitable[T]]) -> Callable[P, T]:
    """A function that runs `async_fn` on the server's loop, as `run` does.

    For ``Flask.async_to_sync``, so that async views need no asgiref. Outside of a request (in the
    ``flask`` command's shell, in tests with Flask's client) each call has a loop of its own.

    Raises:
        RuntimeError: by the function, where a loop runs already.
    """

    @functools.wraps(async_fn)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        bound: Callable[[], Awaitable[T]] = functools.partial(async_fn, *args, **kwargs)
        request = current_request()
        if request is None or not request.collect_body():
            return _run_alone(bound)
        observed: Callable[[], Awaitable[T]] = lambda: request.observe(bound())  # noqa: E731
        if request.cancel_on_disconnect:
            observed = functools.partial(_until_disconnect, request.disconnect, observed)
        return request.tasks.run(observed)

    return call


async def _until_disconnect(disconnect: Disconnect, make: Callable[[], Awaitable[T]]) -> T:
    async def main() -> T:
        return await make()

    return await until_disconnect(disconnect, main())


def _current_request(what: str) -> CurrentRequest:
    request = current_request()
    if request is None:
        raise RuntimeError(
            f"from_thread.{what} was called outside of a request, where no server is known; call "
            "it in a view, and let threads that a view starts run in a copy of its Context: "
            "Thread(target=contextvars.copy_context().run, args=(function,))"
        )
    return request


def _run_alone(make: Callable[[], Awaitable[T]]) -> T:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise RuntimeError(
            "an event loop runs in this thread, so that waiting for a coroutine here would be for "
            "ever; await the coroutine function instead"
        )

    async def main() -> T:
        return await make()

    context = copy_context()
    try:
        with asyncio.Runner() as runner:
            return runner.run(main(), context=context)
    finally:
        restore(context)
