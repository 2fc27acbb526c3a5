"""What a test leaves behind at a server, and what keeps the server from stopping.

The server is looked at when the test is over and it still runs: only then requests and connections
can be told apart. Threads are looked at when it has stopped, and its own are gone.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import warnings
import weakref
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from asyncwsgi.errors import AsyncWSGIError
from asyncwsgi.frontends.registry import UPGRADED, ConnectionSnapshot
from asyncwsgi.requests.mailbox import Mailbox
from asyncwsgi.server.snapshot import RequestSnapshot, Snapshot
from asyncwsgi.server.stacks import place_of, stack_of
from asyncwsgi.testing.leaks.clients import peers_in_this_process
from asyncwsgi.testing.leaks.threads import threads_of_nobody

if TYPE_CHECKING:
    from asyncwsgi.running import ServerThread
    from asyncwsgi.server.server import Server

LeakPolicy = Literal["warn", "error", "ignore"]
POLICIES: tuple[LeakPolicy, ...] = ("warn", "error", "ignore")

MOMENT = 0.25
"""Seconds that requests get whose last byte was read, but whose threads have not said so yet."""
PATIENCE = 1.0
"""Seconds that a loop gets to answer, however short ``graceful_timeout`` is."""
STOP_TIMEOUT = 5.0
"""Seconds, beyond ``graceful_timeout``, that a server gets to cut, tidy up and end its thread."""
MOST_NAMED = 10


class LeakWarning(UserWarning):
    """A test left something behind at its server."""


class LeakError(AsyncWSGIError, AssertionError):
    """The same, where it fails the test."""


class HungApplication(AsyncWSGIError):
    """What a test's server was asked for did not end when the test did; says where it stands."""


@dataclass(frozen=True)
class Leak:
    """One thing that was left behind."""

    what: str
    cure: str

    def __str__(self) -> str:
        return f"{self.what}; {self.cure}"


class LeakCheck:
    """Watches a server from its start to its end.

    `begin` comes before the server's start, `look` when the test is over, `wait` when the server
    was told to stop, and `report` last.

    Args:
        server: the server.
        owner: who is to be named: the test.
        spared_threads: how the names of threads begin that may be left.
    """

    def __init__(
        self, server: ServerThread, owner: str = "", spared_threads: Iterable[str] = ()
    ) -> None:
        self.owner = owner
        self._spared_threads = tuple(spared_threads)
        self.leaks: list[Leak] = []
        """What was found so far."""
        self._server_thread = server
        self._server: Server = server.server
        self._server.before_cut = self._note_hanging
        self._before: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
        self._hanging: dict[int, str] = {}
        self._coroutines: list[str] = []
        self._held = ""

    @property
    def _graceful_timeout(self) -> float:
        return self._server.config.graceful_timeout

    def begin(self) -> None:
        """Remember what was there before."""
        self._before.update(threading.enumerate())

    def look(self) -> None:
        """Look at requests and connections. The server still runs, or has been told to stop."""
        thread = self._server_thread
        loop = thread.started.result()
        seen: concurrent.futures.Future[list[Leak]] = concurrent.futures.Future()

        def begin(_: None) -> None:
            task = loop.create_task(self._look())
            task.add_done_callback(lambda done: _pass_on(done, seen))

        Mailbox(loop).post(begin, None)
        timeout = max(self._graceful_timeout, PATIENCE)
        either: set[concurrent.futures.Future[Any]] = {seen, thread.ended}
        done, _ = concurrent.futures.wait(either, timeout, FIRST_COMPLETED)
        if seen in done:
            self.leaks += seen.result()
        elif not done:
            self._held = self._stack_of_loop(timeout)

    def wait(self) -> None:
        """Wait for the server's thread, which was told to stop, and then look at threads.

        Raises:
            HungApplication: a request, or the server's loop, did not end.
        """
        thread = self._server_thread.thread
        thread.join(0 if self._held else self._graceful_timeout + STOP_TIMEOUT)
        if thread.is_alive() and not self._held:
            self._held = self._what_holds(self._graceful_timeout + STOP_TIMEOUT)
        if not thread.is_alive():
            self._note_running()
        hanging = [self._held] if self._held else [*self._hanging.values(), *self._coroutines]
        if hanging:
            raise HungApplication(self._describe(hanging[:MOST_NAMED]))
        config = self._server.config
        self.leaks += [
            Leak(
                f"the thread {left.name!r}, which runs {left.target} and stands at "
                f"{place_of(left.ident)}",
                "end and join it before the test is over, or name it in spared_threads",
            )
            for left in threads_of_nobody(self._before, config.executor, self._spared_threads)
        ]

    def report(self, policy: LeakPolicy) -> None:
        """Say what was left.

        Raises:
            LeakError: there is something, and the policy is ``error``.
        """
        if not self.leaks or policy == "ignore":
            return
        more = len(self.leaks) - MOST_NAMED
        lines = [f"{self.owner or 'the test'} left behind:", *map(str, self.leaks[:MOST_NAMED])]
        text = "\n  ".join(lines) + (f"\n  and {more} more" if more > 0 else "")
        if policy == "error":
            raise LeakError(text)
        # No line of the program is at fault; the file is the test's.
        path = self.owner.partition("::")[0] or "asyncwsgi"
        warnings.warn_explicit(LeakWarning(text), LeakWarning, path, 0)

    # On the loop.

    async def _look(self) -> list[Leak]:
        server = self._server
        if server.snapshot().requests:
            # A client may have read the last byte before the thread that sent it says so.
            idle = asyncio.ensure_future(server.wait_until_idle())
            await asyncio.wait({idle}, timeout=MOMENT)
            idle.cancel()
        snapshot = server.snapshot()
        requests = [
            _left_request(request)
            for request in snapshot.requests
            if not (request.was_cut or request.is_answered or request.has_disconnected)
        ]
        return requests + left_connections(server, snapshot)

    def _note_hanging(self) -> None:
        """Requests are about to be cut: say where those stand that hang in the application."""
        snapshot = self._server.snapshot(stacks=True)
        self._note(r for r in snapshot.requests if not (r.was_cut or r.waits_for_client))
        if self._hanging:  # before the cut cancels them
            self._coroutines = [
                f"a coroutine on the server's loop:\n{stack}" for stack in snapshot.coroutines
            ]

    # In the thread that closes.

    def _note_running(self) -> None:
        """Say where those stand that were cut and did not notice."""
        requests = self._server.snapshot(stacks=True).requests
        self._note(r for r in requests if r.thread and r.key not in self._hanging)

    def _note(self, requests: Iterable[RequestSnapshot]) -> None:
        for request in requests:
            where = "and waits for a worker thread"
            if request.state == "streaming":
                where = f"on the server's loop:\n{request.stack}"
            elif request.state == "parked":
                where = f"parked by the thread {request.thread}:\n{request.stack}"
            elif request.thread is not None:
                where = f"in the thread {request.thread}:\n{request.stack}"
            self._hanging[request.key] = f"{_name(request)}, for {request.age:.1f} s, {where}"

    def _what_holds(self, seconds: float) -> str:
        """What keeps the thread of a server from ending whose requests have ended."""
        stack = self._server.snapshot(stacks=True).lifespan
        if not stack:
            return self._stack_of_loop(seconds)
        return f"the lifespan, which has not been left within {seconds:g} s:\n{stack}"

    def _stack_of_loop(self, seconds: float) -> str:
        stack = stack_of(self._server_thread.thread.ident)
        return f"the server's loop, which has not answered for {seconds:g} s:\n{stack}"

    def _describe(self, hanging: list[str]) -> str:
        lines = "\n".join(hanging)
        return (
            f"what the server of {self.owner or 'this test'} runs did not end within "
            f"graceful_timeout of {self._graceful_timeout:g} s after the test:\n{lines}\n"
            "let the test end it, give it longer, or correct the application there"
        )


def _pass_on(task: asyncio.Task[Any], future: concurrent.futures.Future[Any]) -> None:
    if not task.cancelled():
        future.set_result(task.result())


def _name(request: RequestSnapshot) -> str:
    return f"{request.method} {request.target}"


def _left_request(request: RequestSnapshot) -> Leak:
    if request.has_taken_socket:
        return Leak(
            f"{_name(request)} is still open: the application has taken its socket",
            "close its WebSocket before the test is over",
        )
    return Leak(
        f"{_name(request)} is still being answered",
        "read or close its response before the test is over",
    )


_IN_REQUEST = frozenset({"head", "body"})
_NOT_WAITING = frozenset({"responding", "taken_over", "closing", "closed"})


def _state_of(connection: ConnectionSnapshot) -> str:
    if connection.state in _IN_REQUEST:
        return "in the middle of a request"
    if connection.state == UPGRADED:
        return "a WebSocket"
    return "kept open after its last response" if connection.had_request else "never used"


def left_connections(server: Server, snapshot: Snapshot) -> list[Leak]:
    """The connections to `server` that wait for their client, which is in this process."""
    open_ones = [c for c in snapshot.connections if c.state not in _NOT_WAITING]
    if not open_ones:
        return []
    ours = peers_in_this_process(server.addresses)
    found = []
    for connection in open_ones:
        if connection.peer in ours:
            ours.remove(connection.peer)
            found.append(
                Leak(
                    f"a connection from {connection.peer} to {server.url}, {_state_of(connection)}",
                    "close the client, session or socket before the server closes",
                )
            )
    return found
