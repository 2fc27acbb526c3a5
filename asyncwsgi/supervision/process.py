"""A child as its supervisor sees it: started, told, listened to, and waited for."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Sequence

from asyncwsgi.clock import clock
from asyncwsgi.server.listeners import Listener
from asyncwsgi.server.stats import Stats
from asyncwsgi.server_log import logger
from asyncwsgi.supervision.channel import Channel
from asyncwsgi.supervision.inheritance import LEFT_TO_SUPERVISOR, child_command, pass_on
from asyncwsgi.supervision.service import Service

EXIT_TIMEOUT = 5.0
"""Seconds that a process gets to end when its server has stopped, and its messages to arrive."""


class Child:
    """A process that imports the application and serves it. It is started by making one.

    Args:
        service: what it serves.
        listeners: where.
        directory: where it runs.

    Raises:
        OSError: no process can be started, or not there.
        ConfigError: an option that cannot be written as text.
    """

    def __init__(self, service: Service, listeners: Sequence[Listener], directory: str) -> None:
        self.started_at = time.time()
        self.traceback: str | None = None
        """Why it could not serve, if it said so."""
        self.reason = ""
        """Why it wants to be replaced, if it does."""
        self.state = ""
        """What it does, as it said last."""
        self.stats = Stats.none()
        """What it has done and does, as it said last."""
        self.roots: list[str] = []
        """Where its code is; empty before it has told."""
        self.found_at = self.started_at
        """When it began to import from those of which it has told last."""
        self.began_at = clock.monotonic()
        """When it was started, monotonic."""
        self.served_at = 0.0
        """When it began to serve, monotonic."""
        self.heard_at = self.began_at
        """When it said something last, monotonic."""
        self.is_hanging = False
        """Whether it was ended since its loop did not answer."""
        self.has_imported = False
        """Whether it listens to its channel, and not to signals alone."""
        self.may_serve = False
        """Whether it was told to accept clients, so that it may have some."""
        self._graceful_timeout = service.config.graceful_timeout
        self._process, self._control = _start(service, listeners, directory)
        self._channel: Channel | None = None
        self._killer: asyncio.TimerHandle | None = None
        self._has_ended = asyncio.Event()

    @property
    def pid(self) -> int:
        return self._process.pid

    async def events(self) -> AsyncIterator[str]:
        """The names of what it reports, until it has ended; what they carry is kept here."""
        self._channel = await Channel.open(self._control)
        async for message in self._channel.messages():
            event = message["event"]
            self.heard_at = clock.monotonic()
            self.roots += message.get("watch", ())
            self.found_at = message.get("since", self.started_at)
            self.traceback = message.get("traceback")
            self.reason = message.get("reason", self.reason)
            self.state = message.get("state", self.state)
            self.has_imported |= event == "imported"
            if event == "stats":
                self.stats = Stats.from_json(message["stats"])
            if event == "serving":
                self.served_at = self.heard_at
            yield event

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

    def ask_for_state(self) -> None:
        """Have it say what it does."""
        self.state = ""
        self._send(command="state")

    def tell_broken(self, traceback: str) -> None:
        """Say why newer code does not serve."""
        self._send(command="broken", traceback=traceback)

    def retire(self) -> None:
        """Have it say that it is not ready any more, and stop after its ``shutdown_delay``."""
        if self.has_imported:
            self._send(command="retire")
        else:
            self._process.terminate()

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

    def abort_hanging(self) -> None:
        """Have it say where its threads stand, and end; its loop hears of nothing."""
        self.is_hanging = True
        self._process.send_signal(signal.SIGABRT)
        self._kill_after(EXIT_TIMEOUT)

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

    def _send(self, **message: object) -> None:
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
    service: Service, listeners: Sequence[Listener], directory: str
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a process that serves; the process and our end of its channel.

    From its first moment on, Ctrl+C is its supervisor's: it inherits a mask that blocks SIGINT,
    until it has a handler of its own (see `take_inheritance`). The mask is the thread's, whatever
    task runs in it. So it has to be as it was before anything is awaited: a second child, started
    meanwhile, would take the blocked state for the normal one, restore that last, and leave the
    supervisor deaf to Ctrl+C. That is why this is `Popen`, and not asyncio's coroutine.
    """
    ours, theirs = socket.socketpair()
    binds = [listener.bind for listener in listeners]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, LEFT_TO_SUPERVISOR)
    try:
        process = subprocess.Popen(
            child_command(service.app, directory),
            cwd=directory,
            env={**os.environ, **pass_on(service, theirs.fileno(), binds)},
            pass_fds=(theirs.fileno(), *(listener.sock.fileno() for listener in listeners)),
        )
    except BaseException:
        ours.close()
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
    return process, ours
