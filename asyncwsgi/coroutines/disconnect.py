"""``environ["asyncwsgi.disconnected"]``: whether the client of a request has left."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from asyncwsgi.coroutines.loop_access import Mailbox


class Disconnect:
    """``environ["asyncwsgi.disconnected"]``: call it to learn whether the client has left.

    A client has left when its connection is lost, or when it has closed its side of it. It may
    have shut its side only and read on (RFC 9112 9.6), but who does so is rare.
    """

    __slots__ = ("_callbacks", "_is_over", "_mailbox", "_waiting", "has_happened")

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._callbacks: list[Callable[[], object]] = []
        self._waiting: list[threading.Event] = []
        self._is_over = False
        self.has_happened = False

    def __call__(self, timeout: float | None = 0.0) -> bool:
        """Whether the client has left; asked at once, or after up to `timeout` seconds."""
        return self.has_happened or (timeout != 0.0 and self.wait(timeout))

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the client has left, for at most `timeout` seconds; whether it has.

        The end of the request, too, ends the wait of a thread that outlives it. Not on the loop,
        where it would hold up everyone.
        """
        if not self.has_happened:
            woken = threading.Event()
            self._waiting.append(woken)
            # In this order: the loop says what has happened, and then wakes those it finds.
            if not (self.has_happened or self._is_over):
                woken.wait(timeout)
            self._waiting.remove(woken)
        return self.has_happened

    def call(self, callback: Callable[[], object]) -> None:
        """Have `callback` called once on the loop when the client leaves. From any thread."""
        self._callbacks.append(callback)
        if self.has_happened:  # the loop looks at the callbacks after it has said so
            self._mailbox.post(self.announce, None)

    def discard(self, callback: Callable[[], object]) -> None:
        """Forget a callback, if it was not called."""
        with contextlib.suppress(ValueError):
            self._callbacks.remove(callback)

    def announce(self, _: None = None) -> None:
        """Say that the client has left. On the loop."""
        self.has_happened = True
        self._wake_waiting()
        while self._callbacks:
            self._callbacks.pop()()

    def go_on(self) -> None:
        """Say that the client is not let go when its request ends, as was said. On the loop."""
        self._is_over = False

    def end(self) -> None:
        """Say that the request is over: nobody hears any more whether the client leaves."""
        self._is_over = True
        if self._waiting:
            self._wake_waiting()

    def _wake_waiting(self) -> None:
        for woken in self._waiting.copy():
            woken.set()
