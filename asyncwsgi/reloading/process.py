"""A child as its supervisor sees it: started, told, listened to, and waited for."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from asyncwsgi.reloading.channel import Channel
from asyncwsgi.reloading.child import Inheritance, inheritance_variables

logger = logging.getLogger("asyncwsgi.server")

EXIT_TIMEOUT = 5.0
"""Seconds that a process gets to end when its server has stopped, and its messages to arrive."""


class Child:
    """A process that imports the application and serves it.

    Args:
        graceful_timeout: seconds that its requests in flight get when it is stopped.
    """

    def __init__(self, graceful_timeout: float) -> None:
        self.started_at = time.time()
        self.traceback: str | None = None
        """Why it could not serve, if it said so."""
        self.roots: list[str] = []
        """Where its code is; empty before it has told."""
        self.may_serve = False
        """Whether it may have clients."""
        self._graceful_timeout = graceful_timeout
        self._process: asyncio.subprocess.Process | None = None
        self._channel: Channel | None = None
        self._killer: asyncio.TimerHandle | None = None
        self._is_killed = False

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Run this process's command line again, with the listening `sockets`."""
        ours, theirs = socket.socketpair()
        with theirs:
            inheritance = Inheritance(theirs, tuple(sock.fileno() for sock in sockets))
            with _interrupts_blocked():
                self._process = await asyncio.create_subprocess_exec(
                    *(sys.executable, *sys.orig_argv[1:]),
                    env={**os.environ, **inheritance_variables(inheritance)},
                    pass_fds=(theirs.fileno(), *inheritance.descriptors),
                )
        self._channel = await Channel.open(ours)
        if self._is_killed:
            self.kill()

    async def events(self) -> AsyncIterator[str]:
        """The names of what it reports, until it has ended; what they carry is kept here."""
        assert self._channel is not None
        async for message in self._channel.messages():
            self.roots = message.get("watch", self.roots)
            self.traceback = message.get("traceback")
            yield message["event"]

    async def wait(self) -> int:
        """Wait until it has ended; its exit code, negative for a signal."""
        assert self._process is not None
        return await self._process.wait()

    def serve(self) -> None:
        """Have it accept clients."""
        self.may_serve = True
        self._send(command="serve")

    def tell_broken(self, traceback: str) -> None:
        """Say why newer code does not serve."""
        self._send(command="broken", traceback=traceback)

    def stop(self, *, has_successor: bool) -> None:
        """Have it drain and end; kill it if it does not, or has no clients."""
        if not self.may_serve:
            self.kill()
            return
        self._send(command="stop", has_successor=has_successor)
        self._kill_after(self._graceful_timeout + EXIT_TIMEOUT)

    def abort(self) -> None:
        """Have it cut what it serves, and end."""
        self._send(command="abort")
        self._kill_after(EXIT_TIMEOUT)

    def kill(self) -> None:
        """End it now."""
        self._is_killed = True
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    def close(self) -> None:
        """Let go of what belonged to a process that has ended."""
        if self._killer is not None:
            self._killer.cancel()
        if self._channel is not None:
            self._channel.close()

    def _send(self, **message: Any) -> None:
        if self._channel is not None:
            self._channel.send(**message)

    def _kill_after(self, timeout: float) -> None:
        if self._killer is not None:
            self._killer.cancel()
        self._killer = asyncio.get_running_loop().call_later(timeout, self._kill_hanging, timeout)

    def _kill_hanging(self, timeout: float) -> None:
        logger.warning(
            "an old process did not end within %g s and was killed; look for threads of the "
            "application that are not daemons",
            timeout,
        )
        self.kill()


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    # The child inherits it, until it has its own handler: Ctrl+C in its first moments is ours.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
