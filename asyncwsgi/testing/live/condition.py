"""A condition that threads wait for, and coroutines too.

A test may be either, and what it waits for happens in the threads of a server. One way to wait for
all of it: a function looks whether it has happened, again after each change.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from asyncwsgi.clock import clock
from asyncwsgi.requests.mailbox import Mailbox

T = TypeVar("T")


class AwaitableCondition(threading.Condition):
    """A lock, with waiting for what is changed under it.

    It is held for moments only: the server's loop takes it. Whoever looks is therefore called
    without it, in the thread that waits, and takes it for as long as it must.
    """

    def __init__(self) -> None:
        super().__init__()
        self._version = 0
        self._listeners: set[Callable[[], None]] = set()

    def notify_all(self) -> None:
        """Have everybody who waits look again. With the lock held."""
        self._version += 1
        super().notify_all()
        for listener in self._listeners:
            listener()

    def wait_until(self, look: Callable[[], T | None], timeout: float) -> T | None:
        """What `look` finds, as soon as it is not None; None after `timeout` seconds."""
        deadline = clock.monotonic() + timeout
        while True:
            version = self._version
            if (found := look()) is not None:
                return found
            left = min(deadline - clock.monotonic(), threading.TIMEOUT_MAX)
            with self:
                if not self._wait_for_change(version, left):
                    return None

    async def await_until(self, look: Callable[[], T | None], timeout: float) -> T | None:
        """As `wait_until`, without blocking the running loop."""
        changed = asyncio.Event()
        mailbox = Mailbox(asyncio.get_running_loop())
        with self._listening(lambda: mailbox.post(lambda _: changed.set(), None)):
            try:
                async with asyncio.timeout(timeout) as bound:
                    while True:
                        changed.clear()
                        # Nothing is awaited behind it: no cancellation loses what was taken.
                        if (found := look()) is not None:
                            return found
                        await changed.wait()
            except TimeoutError:
                if not bound.expired():
                    raise  # by `look`
                return None

    def _wait_for_change(self, version: int, timeout: float) -> bool:
        return self.wait_for(lambda: self._version != version, timeout)

    @contextmanager
    def _listening(self, listener: Callable[[], None]) -> Iterator[None]:
        with self:
            self._listeners.add(listener)
        try:
            yield
        finally:
            with self:
                self._listeners.discard(listener)
