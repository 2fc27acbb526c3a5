"""Forks of a process that is a server's own: the child gets nothing that is the server's.

A view that forks, by `multiprocessing` on Linux for instance, copies what the process has done for
serving. Its handlers of SIGINT and SIGTERM mean "drain" here, and nothing in a child that has no
loop, so that `Process.terminate()` would end nobody. The wake-up descriptor of the loop is copied,
too: by it the child's C-level signal handler would write its signals into its parent's loop, which
then stops. And the listening sockets would stay open for as long as the child lives.

The child is therefore put back to how the process was before. To do so when it comes to life is not
enough: whoever has forked may signal the child at once, before it has run a line of ours, and a
signal that the old handler has taken is lost. Both signals are therefore blocked in the thread that
forks, from before the fork, and the child inherits that. What arrives meanwhile waits until the
child unblocks them, and then finds the right handlers. The parent's thread gets its previous mask
back at once, and the parent's other threads never had another.

None of it happens in processes of others: a program that embeds a server, or a supervisor that
preloads an application which imports this package, forks as it always did.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class OwnProcess:
    """What children of this process shall not have of it; nothing, before a server owns it."""

    def __init__(self) -> None:
        self._handlers: dict[int, Any] = {}
        self._sockets: list[Callable[[], Iterable[socket.socket]]] = []
        # By thread: two may be about to fork. A list: so may a signal's handler, in between.
        self._masks = threading.local()

    def give_back(self, number: int, handler: Any) -> None:
        """Have children handle the signal `number` by `handler`, as this process did before."""
        self._handlers[number] = handler

    def keep(self, sockets: Callable[[], Iterable[socket.socket]]) -> None:
        """Have children close their copies of what `sockets` gives; it is called there."""
        self._sockets.append(sockets)

    @contextlib.contextmanager
    def set_aside(self) -> Iterator[None]:
        """Have what is forked inside be a process of the server's own, as this one is."""
        handlers, sockets = self._handlers, self._sockets
        self._handlers, self._sockets = {}, []
        try:
            yield
        finally:
            self._handlers, self._sockets = handlers, sockets

    def release(self) -> None:
        """From now on, fork as any process does."""
        self._handlers.clear()
        self._sockets.clear()

    def before(self) -> None:
        masks = self._masks.__dict__.setdefault("stack", [])
        if not self._handlers and not self._sockets:
            masks.append(None)
            return
        # Asked for first: what blocks may run the handler of a signal, and that may raise.
        masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def after_in_parent(self) -> None:
        mask = self._masks.stack.pop()
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def after_in_child(self) -> None:
        mask = self._masks.stack.pop()
        if mask is None:
            return
        signal.set_wakeup_fd(-1)
        for number, handler in self._handlers.items():
            # None: it was not set from Python.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for sockets in self._sockets:
            for sock in sockets():
                _close_copy(sock)
        self.release()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _close_copy(sock: socket.socket) -> None:
    """Close a descriptor behind the back of a loop that is copied, too, and never runs again.

    Not by `socket.close`: uvloop has it wait for the loop. The loop itself must not be told,
    because its epoll instance is shared with the parent, who still serves by it.
    """
    descriptor = sock.detach()
    if descriptor >= 0:
        with contextlib.suppress(OSError):
            os.close(descriptor)


own_process = OwnProcess()
"""The one that there is: hooks of forks can be registered, and never be taken back."""

if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(
        before=own_process.before,
        after_in_parent=own_process.after_in_parent,
        after_in_child=own_process.after_in_child,
    )
