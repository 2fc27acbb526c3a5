"""Calls from worker threads back to the event loop.

Guarantees: calls run on the loop, in the order in which one thread posted them; all that were
posted before the loop comes round cost one wake-up; none is lost while the loop runs. They run in
the Context in which the mailbox was made, and not in that of whoever posted first, which would be
the one of any request. Knows nothing of requests.

Why not ``call_soon_threadsafe`` for each: it writes a byte into a socket every time, and the loop
reads it, which costs several times what the call itself does. A worker that sends the head and the
body of a response and then ends makes three calls, and under load many workers make theirs while
the loop is at something else. So calls wait in a deque, and a flag says whether the loop has been
woken for what is in it.

The invariant: whenever a call is in the deque, a delivery is due that will find it, or its poster
is about to ask for one. Three steps keep it, each in an order that must not be changed:

- A poster appends, and looks at the flag then. Looking first could find the flag of a delivery that
  is through before the call is there.
- The loop clears the flag, and looks at the deque then. Whoever finds the flag set has therefore
  appended before the loop looks.
- When the loop is done it looks once more whether something is left of which nobody has told it.
  That is so behind a call which has raised KeyboardInterrupt or SystemExit, and it may be so where
  threads run in parallel: a processor may delay the cleared flag, so that a poster still finds it
  set, beyond the loop's first look at the deque. It cannot beyond the second, because taking a call
  out of a deque is locked there, as appending is.

Two posters may find the flag cleared at the same time, and both wake the loop. That is one delivery
too many, which finds nothing; to prevent it would take a lock that every post pays for.

When the loop is closed, calls are dropped, and so are their arguments, which may be large: nobody
will ever run them, and whoever hangs in a worker thread must be able to come back after the server
is gone. In a process that a view has forked a post raises instead: there the loop is missing
because of a mistake, which can be told to whoever made it (see `asyncwsgi.requests.forks`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from asyncwsgi.requests import forks


class Mailbox:
    """The one way from a thread to the loop."""

    __slots__ = ("_calls", "_context", "_forks", "_is_scheduled", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._forks = forks.count
        self._calls: deque[tuple[Callable[[Any], object], Any]] = deque()
        self._is_scheduled = False
        self._context = copy_context()

    @property
    def is_of_parent(self) -> bool:
        """Whether this process was forked from the loop's, and its calls reach nobody."""
        return forks.count != self._forks

    def post(self, call: Callable[[Any], object], argument: Any) -> None:
        """Have the loop run ``call(argument)`` soon. From any thread; never blocks.

        Once the loop is closed, calls are dropped: nobody is left who could serve them.

        Raises:
            RuntimeError: this process is a fork of the loop's.
        """
        if forks.count != self._forks:
            raise RuntimeError(
                "this process was forked from the server's, and the loop and its clients are the "
                "parent's: nothing that is sent or asked for here reaches them; end the child "
                "where its work is done, by sys.exit() or os._exit()"
            )
        self._calls.append((call, argument))
        if not self._is_scheduled:
            try:
                self._is_scheduled = True
                self._loop.call_soon_threadsafe(self._deliver, context=self._context)
            except RuntimeError:
                self._is_scheduled = False
                self._calls.clear()
            except BaseException:
                # A signal has interrupted the main thread here. Whether the loop was woken is not
                # known; the next post wakes it, at worst once more.
                self._is_scheduled = False
                raise

    def _deliver(self) -> None:
        self._is_scheduled = False
        calls = self._calls
        try:
            # Only those that wait now, so that busy workers cannot keep the loop from its sockets.
            for _ in range(len(calls)):
                call, argument = calls.popleft()
                try:
                    call(argument)
                except Exception as error:
                    self._report(call, error)
        finally:
            if calls and not self._is_scheduled:
                self._is_scheduled = True
                self._loop.call_soon(self._deliver)

    def _report(self, call: Callable[[Any], object], error: Exception) -> None:
        # It logs, mostly, and logging runs code of the program: handlers, filters.
        with contextlib.suppress(Exception):
            self._loop.call_exception_handler(
                {"message": f"asyncwsgi: {call!r} failed", "exception": error}
            )
