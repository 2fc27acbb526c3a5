"""SIGINT and SIGTERM in a process that is a server's: the first drains it, the second cuts it.

The handlers are Python's own (`signal.signal`) and not the loop's (`loop.add_signal_handler`). The
loop calls its handlers when it next comes round, and a coroutine that blocks keeps it from that: an
async view that calls `requests.get`, a lifespan that reads a large file. Ctrl+C would do nothing in
the very moment in which people press it. A handler of Python's runs in the main thread between any
two bytecodes, those of the coroutine included: it hears of a signal while the loop is held, and can
raise in the code that holds it.

The price is that it may interrupt the loop's own code anywhere, and so must not touch what is the
loop's. It posts a call, which is safe at any point, and looks at the clock. The loop hears of the
signal by that call as soon as it comes round. If it has not come round `HELD_TIMEOUT` seconds after
one signal, when the next arrives, nobody else will end this process: the handler does.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Any, Self

from asyncwsgi.clock import clock
from asyncwsgi.own_process import own_process
from asyncwsgi.requests.mailbox import Mailbox

if TYPE_CHECKING:
    from asyncwsgi.server.server import Server

HELD_TIMEOUT = 0.5
"""Seconds after which a loop that has not heard of a signal is taken to be held by a coroutine."""


class StopSignals:
    """A context manager inside which signals stop a server; the handlers of before come back.

    They come back in children that are forked inside of it, too (see `asyncwsgi.own_process`).

    Args:
        server: one that has not started yet, or runs.
        loop: its loop.
    """

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._mailbox = Mailbox(loop)
        self._was_heard = False
        self._stops = False
        """Whether it was told to drain, and not only that it will be."""
        self._unheard_since: float | None = None
        self._replaced: dict[int, Any] = {}
        self.has_served = False
        """To be set when the server has stopped: nothing is left to be drained or cut."""
        self.exit_code = 0
        """What the process should end with: 0, or 128 plus the number of the signal that cut."""

    def __enter__(self) -> Self:
        # ValueError: Python lets only the main thread handle signals. Not asked beforehand: of
        # eventlet's threads none is the main one.
        with contextlib.suppress(ValueError):
            for number in (signal.SIGINT, signal.SIGTERM):
                self._replaced[number] = signal.signal(number, self._hear)
                own_process.give_back(number, self._replaced[number])
            own_process.keep(lambda: self._server.sockets)
        return self

    def __exit__(self, *_: object) -> None:
        if self._replaced:
            own_process.release()
        for number, handler in self._replaced.items():
            signal.signal(number, handler)

    def _hear(self, number: int, _: object) -> None:
        """Tell the loop. In the main thread, between any two of its instructions."""
        if self.has_served:
            # A thread of `asyncio.to_thread` hangs, for which a loop waits before it is closed. If
            # what is raised is lost in C code that cannot raise, the exit code still tells.
            self.exit_code = 128 + number
            raise SystemExit(self.exit_code)
        now = clock.monotonic()
        self._mailbox.post(self._stop, number)
        if self._unheard_since is None:
            self._unheard_since = now
        elif now - self._unheard_since >= HELD_TIMEOUT:
            # Raised in the coroutine that holds the loop, which has no other way to hear of it.
            raise SystemExit(128 + number)

    def _stop(self, number: int) -> None:
        """Stop the server. On the loop."""
        self._unheard_since = None
        if self._stops:
            self.exit_code = 128 + number
            self._server.abort()
        # Ctrl+C is pressed by somebody who waits; SIGTERM comes from whoever also sends clients.
        is_first, self._was_heard = not self._was_heard, True
        delay = self._server.config.shutdown_delay if is_first and number == signal.SIGTERM else 0.0
        self._stops = not delay
        self._server.begin_shutdown(delay=delay)
