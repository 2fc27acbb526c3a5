"""A child as its supervisor sees it: started, told, listened to, and waited for."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from asyncwsgi.reloading.channel import Channel
from asyncwsgi.reloading.child import Inheritance, inheritance_variables
from asyncwsgi.server.listeners import Listener
from asyncwsgi.server_log import logger

EXIT_TIMEOUT = 5.0
"""Seconds that a process gets to end when its server has stopped, and its messages to arrive."""


class Child:
    """A process that imports the application and serves it. It is started by making one.

    Args:
        listeners: what it serves.
        directory: where it runs.
        graceful_timeout: seconds that its requests in flight get when it is stopped.

    Raises:
        OSError: no process can be started, or not there.
    """

    def __init__(
        self, listeners: Sequence[Listener], directory: str, graceful_timeout: float
    ) -> None:
        self.started_at = time.time()
        self.traceback: str | None = None
        """Why it could not serve, if it said so."""
        self.roots: list[str] = []
        """Where its code is; empty before it has told."""
        self.found_at = self.started_at
        """When it began to import from those of which it has told last."""
        self.has_imported = False
        """Whether it listens to its channel, and not to signals alone."""
        self.may_serve = False
        """Whether it was told to accept clients, so that it may have some."""
        self._graceful_timeout = graceful_timeout
        self._process, self._control = _start(listeners, directory)
        self._channel: Channel | None = None
        self._killer: asyncio.TimerHandle | None = None
        self._has_ended = asyncio.Event()

    async def events(self) -> AsyncIterator[str]:
        """The names of what it reports, until it has ended; what they carry is kept here."""
        self._channel = await Channel.open(self._control)
        async for message in self._channel.messages():
            self.roots += message.get("watch", ())
            self.found_at = message.get("since", self.started_at)
            self.traceback = message.get("traceback")
            self.has_imported |= message["event"] == "imported"
            yield message["event"]

    def reap(self) -> None:
        """See whether it has ended; to be called on SIGCHLD."""
        if self._process.poll() is not None:
            self._has_ended.set()

    async def wait(self) -> int:
        """Wait until it has ended; its exit code, negative for a signal."""
        await self._has_ended.wait()
        return self._process.wait()  # at once

    def serve(self) -> None:
        """Have it accept clients."""
        self.may_serve = True
        self._send(command="serve")

    def tell_broken(self, traceback: str) -> None:
        """Say why newer code does not serve."""
        self._send(command="broken", traceback=traceback)

    def stop(self, *, has_successor: bool) -> None:
        """Have it drain and end, or end at once if it has no clients; kill it if it does not."""
        if self.has_imported:
            self._send(command="stop", has_successor=has_successor)
        else:
            self._process.terminate()
        self._kill_after(EXIT_TIMEOUT + (self._graceful_timeout if self.may_serve else 0))

    def abort(self) -> None:
        """Have it cut what it serves, and end."""
        if self.may_serve:
            self._send(command="abort")
            self._kill_after(EXIT_TIMEOUT)
        else:
            self.kill()

    def kill(self) -> None:
        """End it now."""
        self._process.kill()

    def close(self) -> None:
        """Let go of what belonged to a process that has ended."""
        if self._killer is not None:
            self._killer.cancel()
        if self._channel is not None:
            self._channel.close()
        else:
            self._control.close()

    def _send(self, **message: Any) -> None:
        if self._channel is not None:
            self._channel.send(**message)

    def _kill_after(self, timeout: float) -> None:
        # A later command never grants more time: who presses Ctrl+C again wants an earlier end.
        deadline = asyncio.get_running_loop().time() + timeout
        if self._killer is not None:
            if self._killer.when() <= deadline:
                return
            self._killer.cancel()
        self._killer = asyncio.get_running_loop().call_at(deadline, self._kill_hanging, timeout)

    def _kill_hanging(self, timeout: float) -> None:
        why = "look for threads of the application that are not daemons"
        if not self.may_serve:
            why = "it was dropped while it imported; what it had started may still run"
        logger.warning(
            "process %d did not end within %g s and was killed; %s",
            self._process.pid,
            timeout,
            why,
        )
        self.kill()


def _start(
    listeners: Sequence[Listener], directory: str
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Run this process's command line again; the process and our end of its channel.

    From its first moment on, Ctrl+C is its supervisor's: it inherits a mask that blocks SIGINT,
    until it has a handler of its own (see `take_inheritance`). The mask is the thread's, whatever
    task runs in it. So it has to be as it was before anything is awaited: a second child, started
    meanwhile, would take the blocked state for the normal one, restore that last, and leave the
    supervisor deaf to Ctrl+C. That is why this is `Popen`, and not asyncio's coroutine.
    """
    ours, theirs = socket.socketpair()
    inheritance = Inheritance(theirs, tuple(listener.bind for listener in listeners))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process = subprocess.Popen(
            [sys.executable, *sys.orig_argv[1:]],
            cwd=directory,
            env={**os.environ, **inheritance_variables(inheritance)},
            pass_fds=(theirs.fileno(), *inheritance.descriptors),
        )
    except BaseException:
        ours.close()
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
    return process, ours
