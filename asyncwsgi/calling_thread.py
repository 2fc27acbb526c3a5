"""The thread that calls a server, as the executor that runs its requests one at a time.

For servers of frameworks that promise so: Werkzeug's without threads, Django's ``--nothreading``.
What is bound to a thread (a connection to a database in memory, a debugger) is found there.
"""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any

from asyncwsgi.greenlets import thread_queue


class CallingThread(Executor):
    """Runs what is submitted in the thread that calls `work`, one thing at a time."""

    def __init__(self) -> None:
        # None: look whether it is over.
        self._queue = thread_queue()
        self._error: BaseException | None = None

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._queue.put((future, partial(function, *args, **kwargs)))
        return future

    def work(self, is_over: Callable[[], bool], poll_interval: float) -> None:
        """Run what comes until `is_over`, which is asked every `poll_interval` seconds at least.

        Raises what a call was left with (see `leave`).
        """
        while not is_over():
            try:
                item = self._queue.get(timeout=poll_interval)
            except queue.Empty:
                continue
            if item is not None:
                future, call = item
                if future.set_running_or_notify_cancel():
                    future.set_result(call())
            if self._error is not None:
                error, self._error = self._error, None
                raise error

    def leave(self, error: BaseException) -> None:
        """Have `work` raise what a call may not, behind that call. From within it."""
        self._error = error

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Forget what waits, if asked to; there is no thread to wait for."""
        with contextlib.suppress(queue.Empty):
            while cancel_futures:
                if item := self._queue.get_nowait():
                    item[0].cancel()

    def wake(self) -> None:
        """Have `work` ask `is_over` now. From any thread."""
        self._queue.put(None)
