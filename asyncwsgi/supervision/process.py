"""A child as its supervisor sees it: started, told, listened to, and waited for."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol

from asyncwsgi.clock import clock
from asyncwsgi.development.report import Report
from asyncwsgi.server.listeners import Listener
from asyncwsgi.server.stats import Stats
from asyncwsgi.server_log import logger
from asyncwsgi.supervision.channel import Channel
from asyncwsgi.supervision.identity import Identity
from asyncwsgi.supervision.inheritance import (
    LEFT_TO_SUPERVISOR,
    child_command,
    pass_on,
    pipe_of_secrets,
)
from asyncwsgi.supervision.preloading import ASK, PID
from asyncwsgi.supervision.service import Service

EXIT_TIMEOUT = 5.0
"""Seconds that a process gets to end when its server has stopped, and its messages to arrive."""

UNKNOWN_CODE = 1
"""That of a process of which nobody knows how it has ended."""


class Process(Protocol):
    """What a child is to the system: `subprocess.Popen`, or `ForkedProcess`."""

    pid: int

    def poll(self) -> int | None:
        """Its exit code, if it has ended; negative for a signal."""

    def wait(self) -> int:
        """Its exit code; it has ended."""

    def send_signal(self, number: int, /) -> None: ...


class ForkedProcess:
    """A process that a child has forked (see `preloading`), who alone can tell how it ends."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.code: int | None = None

    def poll(self) -> int | None:
        return self.code

    def wait(self) -> int:
        assert self.code is not None, "it has ended"
        return self.code

    def send_signal(self, number: int) -> None:
        if self.code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Child:
    """A process that imports the application and serves it; or that forks such ones.

    Args:
        process: see `start_child`, and `fork`.
        control: our end of its channel.
        graceful_timeout: seconds that its requests in flight get when it is stopped.
        asking: by this one it is asked for forks, if it is a child that forks.
    """

    def __init__(
        self,
        process: Process,
        control: socket.socket,
        graceful_timeout: float,
        asking: socket.socket | None = None,
    ) -> None:
        self.started_at = time.time()
        self.report: Report | None = None
        """Why it could not serve, if it said so."""
        self.is_final = False
        """Whether that is nothing that a change of the code would make better."""
        self.may_install = False
        """Whether something that is installed may make it better."""
        self.reason = ""
        """Why it wants to be replaced, if it does."""
        self.loop = ""
        """The kind of its event loop, if it serves."""
        self.state = ""
        """What it does, as it said last."""
        self.stats = Stats.none()
        """What it has done and does, as it said last."""
        self.message: Mapping[str, Any] = {}
        """What it said last, as it came."""
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
        self.forks: dict[int, Child] = {}
        """Those that it has forked and that have not ended, by their numbers."""
        self._places: list[int] = []
        """The listeners from which it accepts."""
        self._graceful_timeout = graceful_timeout
        self._process = process
        self._control = control
        self._asking = asking
        self._channel: Channel | None = None
        self._killer: asyncio.TimerHandle | None = None
        self._has_ended = asyncio.Event()
        self._is_orphan = False
        self._has_hung_up = False

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def can_fork(self) -> bool:
        """Whether it serves nobody itself, but forks those who do."""
        return self._asking is not None

    def fork(self) -> Child:
        """Have it fork a child that serves. It has imported.

        Raises:
            OSError: it cannot.
        """
        assert self._asking is not None, "it is one that forks"
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                # It waits for nothing else. A fork takes as long as the memory is large.
                self._asking.settimeout(EXIT_TIMEOUT)
                socket.send_fds(self._asking, [ASK], [theirs.fileno()])
                answer = self._asking.recv(PID.size)
            if not answer:
                raise OSError(f"process {self.pid}, which forks them, has ended")
        except BaseException:
            ours.close()
            raise
        process = ForkedProcess(*PID.unpack(answer))
        child = self.forks[process.pid] = Child(process, ours, self._graceful_timeout)
        return child

    def end_with(self, code: int) -> None:
        """Know that it has ended, from who has forked it."""
        assert isinstance(self._process, ForkedProcess), "it was forked"
        self._process.code = code
        self._has_ended.set()

    async def events(self) -> AsyncIterator[str]:
        """The names of what it reports, until it has ended; what they carry is kept here."""
        self._channel = await Channel.open(self._control)
        async for message in self._channel.messages():
            event, self.message = message["event"], message
            self.heard_at = clock.monotonic()
            self.roots += message.get("watch", ())
            self.found_at = message.get("since", self.started_at)
            self.report = message.get("report")
            self.is_final |= message.get("is_final", False)
            self.may_install |= message.get("may_install", False)
            self.reason = message.get("reason", self.reason)
            self.loop = message.get("loop", self.loop)
            self.state = message.get("state", self.state)
            self.has_imported |= event == "imported"
            if event == "stats":
                self.stats = Stats.from_json(message["stats"])
            if event == "ended" and (fork := self.forks.pop(message["pid"], None)) is not None:
                fork.end_with(message["code"])
            if event == "serving":
                self.served_at = self.heard_at
            yield event
        self._has_hung_up = True
        if self._is_orphan:
            self.end_with(UNKNOWN_CODE)

    def reap(self) -> None:
        """See whether it has ended; to be called on SIGCHLD."""
        if self._process.poll() is not None:
            self._has_ended.set()

    async def wait(self) -> int:
        """Wait until it has ended; its exit code, negative for a signal."""
        await self._has_ended.wait()
        return self._process.wait()  # at once

    def serve(self, places: list[int], *, code: int = 0, files: int = 0) -> None:
        """Have it accept clients, from the listeners at these places.

        Args:
            places: the places.
            code: which it serves, of those that there have been; for pages that are open.
            files: how often templates and static files have changed; for them, too.
        """
        self.may_serve = True
        self._places = places
        self._send(command="serve", places=places, code=code, files=files)

    def accept_from(self, places: list[int]) -> None:
        """Have it accept from the listeners at these places alone."""
        if places != self._places:
            self._places = places
            self._send(command="accept", places=places)

    def ask_for_state(self) -> None:
        """Have it say what it does."""
        self.state = ""
        self._send(command="state")

    def ask_for_requests(self) -> None:
        """Have it say what its threads and its requests do, for the request inspector."""
        self._send(command="inspect-now")

    def tell_broken(self, report: Report) -> None:
        """Say why newer code does not serve."""
        self._send(command="broken", report=report)

    def refresh(self, files: int, stylesheets: list[str]) -> None:
        """Have it tell browsers that templates or static files have changed once more.

        Args:
            files: how often they have by now.
            stylesheets: the names of those that have, if no others have.
        """
        self._send(command="refresh", files=files, stylesheets=stylesheets)

    def announce_end(self) -> None:
        """Have it say that it is not ready any more, and stop after its ``shutdown_delay``."""
        if self.has_imported:
            self._send(command="announce-end")

    def stop(self, *, has_successor: bool) -> None:
        """Have it drain and end, or end at once if it has no clients; kill it if it does not."""
        if self.has_imported:
            self._send(command="stop", has_successor=has_successor)
        else:
            self._process.send_signal(signal.SIGTERM)
        self._kill_after(EXIT_TIMEOUT + (self._graceful_timeout if self.may_serve else 0))

    def retire(self) -> None:
        """Have one that forks fork no more, and end behind those that it has forked."""
        self._send(command="stop")

    def lose_parent(self) -> None:
        """Know that nobody will tell how it ends; from now on the end of its channel is its end."""
        self._is_orphan = True
        if self._has_hung_up:
            self.end_with(UNKNOWN_CODE)

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
        self._process.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Let go of what belonged to a process that has ended."""
        if self._killer is not None:
            self._killer.cancel()
        if self._channel is not None:
            self._channel.close()
        else:
            self._control.close()
        if self._asking is not None:
            self._asking.close()

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


def start_child(
    service: Service,
    listeners: Sequence[Listener],
    directory: str,
    *,
    identity: Identity | None = None,
    forks: bool = False,
) -> Child:
    """Start a process that serves.

    From its first moment on, Ctrl+C is its supervisor's: it inherits a mask that blocks SIGINT,
    until it has a handler of its own (see `take_inheritance`). The mask is the thread's, whatever
    task runs in it. So it has to be as it was before anything is awaited: a second child, started
    meanwhile, would take the blocked state for the normal one, restore that last, and leave the
    supervisor deaf to Ctrl+C. That is why this is `Popen`, and not asyncio's coroutine.

    Args:
        service: what it serves.
        listeners: where.
        directory: where it runs.
        identity: as whom it runs; None is as whom this process runs.
        forks: whether it shall not serve itself, but fork those who do.

    Raises:
        OSError: no process can be started, or not there.
        ConfigError: an option that cannot be written as text.
    """
    with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
        control, child_control = _pair(ours, theirs)
        asking, child_asking = _pair(ours, theirs) if forks else (None, None)
        descriptor = None if child_asking is None else child_asking.fileno()
        sockets = [child_control, *filter(None, [child_asking]), *(one.sock for one in listeners)]
        binds = [listener.bind for listener in listeners]
        secrets = pipe_of_secrets(service)
        theirs.callback(os.close, secrets)
        told = pass_on(service, child_control.fileno(), descriptor, binds, secrets)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, LEFT_TO_SUPERVISOR)
        try:
            process = subprocess.Popen(
                child_command(service.app, directory),
                cwd=directory,
                env={**os.environ, **told},
                pass_fds=[secrets, *(sock.fileno() for sock in sockets)],
                **({} if identity is None else identity.popen_arguments()),
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        ours.pop_all()  # the child's now
        return Child(process, control, service.config.graceful_timeout, asking)


def _pair(
    ours: contextlib.ExitStack, theirs: contextlib.ExitStack
) -> tuple[socket.socket, socket.socket]:
    one, other = socket.socketpair()
    return ours.enter_context(one), theirs.enter_context(other)
