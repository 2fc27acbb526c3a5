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
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Self

from asyncwsgi.requests.mailbox import Mailbox

if TYPE_CHECKING:
    from asyncwsgi.server.server import Server

HELD_TIMEOUT = 0.5
"""Seconds after which a loop that has not heard of a signal is taken to be held by a coroutine."""


class StopSignals:
    """A context manager around the life of `server`: inside it, signals stop the server.

    To be entered on the server's loop, before the server starts: whoever reads that it listens may
    send a signal at once. The handlers of before are given back at the end.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._mailbox = Mailbox(self._loop)
        self._shutdown: asyncio.Task[None] | None = None
        self._unheard_since: float | None = None
        self._replaced: dict[int, Any] = {}
        self.exit_code = 0
        """What the process should end with: 0, or 128 plus the number of the signal that cut."""

    def __enter__(self) -> Self:
        # Python lets only the main thread handle signals.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._replaced[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._replaced.items():
            signal.signal(number, handler)

    def _hear(self, number: int, _: object) -> None:
        """Tell the loop. In the main thread, between any two of its instructions."""
        now = time.monotonic()
        self._mailbox.post(self._stop, number)
        if self._unheard_since is None:
            self._unheard_since = now
        elif now - self._unheard_since >= HELD_TIMEOUT:
            # Raised in the coroutine that holds the loop, which has no other way to hear of it.
            raise SystemExit(128 + number)

    def _stop(self, number: int) -> None:
        """Stop the server. On the loop."""
        self._unheard_since = None
        if self._shutdown is None:
            self._shutdown = self._loop.create_task(self._server.shutdown())
        else:
            self.exit_code = 128 + number
            self._server.abort()
