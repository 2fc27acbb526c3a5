"""A process that imports the application once, and forks its workers (``--preload``).

What was imported is then in memory once, as long as nobody writes to it. The process that forks is
none that serves, and not the supervisor: it has one thread, and neither a loop nor clients, since a
fork copies one thread of all, and shares every descriptor. What the application has of these at the
time of the fork is its own affair, but a warning says so.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import stat
import struct
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from asyncwsgi.own_process import own_process
from asyncwsgi.requests import forks
from asyncwsgi.server_log import logger
from asyncwsgi.supervision.channel import encode

PID = struct.Struct("!q")
"""What is answered to who asks for a fork."""
ASK = b"f"
_TASKS = Path("/proc/self/task")
_DESCRIPTORS = Path("/proc/self/fd")
_LEFT_ALONE = (signal.SIGINT, signal.SIGTERM, *((signal.SIGHUP,) if os.name == "posix" else ()))


def fork_workers(
    control: socket.socket, asking: socket.socket, listeners: Sequence[socket.socket]
) -> socket.socket | None:
    """Fork a worker whenever the supervisor asks for one, until it is gone or says to stop.

    Args:
        control: this process's end of its channel.
        asking: by this one the supervisor asks, with the end of the worker's channel.
        listeners: what it has for its workers, and closes when it forks no more.

    Returns:
        In each worker, which goes on from here: its end of its channel. In this process None, when
        it is not needed any more and all of its workers have ended.
    """
    _warn_of_what_is_shared({0, 1, 2, control.fileno(), asking.fileno()})
    return _Forker(control, asking, listeners).run()


class _Forker:
    def __init__(
        self, control: socket.socket, asking: socket.socket, listeners: Sequence[socket.socket]
    ) -> None:
        self._listeners = listeners
        self._control = control
        self._asking = asking
        self._workers: set[int] = set()
        self._is_stopping = False
        self._waking, self._woken = os.pipe()
        os.set_blocking(self._woken, False)
        self._replaced = {
            signal.SIGCHLD: signal.signal(signal.SIGCHLD, lambda *_: None),
            # Its workers are stopped by the same who stops it, be that the supervisor or a service
            # manager; it waits for them.
            signal.SIGTERM: signal.signal(signal.SIGTERM, self._stop),
        }
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)

    def run(self) -> socket.socket | None:
        self._control.setblocking(True)
        self._control.sendall(encode({"event": "imported", "watch": []}))
        while self._workers or not self._is_stopping:
            watched: list[socket.socket | int] = [self._waking]
            if not self._is_stopping:
                watched += [self._control, self._asking]
            ready, _, _ = select.select(watched, [], [])
            if self._waking in ready:
                os.read(self._waking, 4096)
            self._reap()
            if self._is_stopping:
                self._close_listeners()
            # Whatever is said on the channel: there is one command, and the end is another.
            if self._control in ready:
                self._is_stopping = True
                self._close_listeners()
            elif self._asking in ready and (channel := self._answer()) is not None:
                return channel
        return None

    def _stop(self, *_: object) -> None:
        self._is_stopping = True

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.close()

    def _reap(self) -> None:
        for pid in list(self._workers):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._workers.remove(pid)
                code = os.waitstatus_to_exitcode(status)
                with suppress(OSError):  # the supervisor is gone
                    self._control.sendall(encode({"event": "ended", "pid": pid, "code": code}))

    def _answer(self) -> socket.socket | None:
        """Fork; in the worker, its end of its channel."""
        data, descriptors, _, _ = socket.recv_fds(self._asking, len(ASK), 1)
        if not data:
            self._is_stopping = True
            return None
        channel = socket.socket(fileno=descriptors[0])
        # Blocked until the worker has handlers of its own.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _LEFT_ALONE)
        with own_process.set_aside():
            pid = os.fork()
        if not pid:
            self._become_worker()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            return channel
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        channel.close()
        self._workers.add(pid)
        self._asking.sendall(PID.pack(pid))
        return None

    def _become_worker(self) -> None:
        signal.set_wakeup_fd(-1)
        os.close(self._waking)
        os.close(self._woken)
        self._control.close()
        self._asking.close()
        for number, handler in self._replaced.items():
            signal.signal(number, handler)
        forks.have_begun = False


def _warn_of_what_is_shared(ours: set[int]) -> None:
    if count := _other_threads():
        logger.warning(
            "--preload: the application has started %d thread(s), which no worker has; start them "
            "in a lifespan, or with the first request",
            count,
        )
    for peer in _connections(ours):
        logger.warning(
            "--preload: the application is connected to %s, and all workers would share that one "
            "connection; connect in a lifespan, or with the first request",
            peer,
        )


def _other_threads() -> int:
    with suppress(OSError):
        return len(list(_TASKS.iterdir())) - 1  # also those that Python knows nothing of
    return threading.active_count() - 1


def _connections(ours: set[int]) -> list[object]:
    """Who is at the other end of sockets of the application's."""
    peers: list[object] = []
    with suppress(OSError):
        for name in os.listdir(_DESCRIPTORS):  # noqa: PTH208  descriptors have names of digits
            with suppress(OSError):
                if int(name) not in ours and stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                    with socket.socket(fileno=os.dup(int(name))) as sock:
                        peers.append(sock.getpeername() or "a process")
    return peers
