"""Servers that misbehave as a test tells them: what a client does then is what is tested.

`Faults` says which requests meet what; how it is done is `asyncwsgi.testing.faults.connection`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, NoReturn, Self

from asyncwsgi.errors import ConfigError
from asyncwsgi.testing.faults.connection import (
    Answer,
    Cut,
    FaultyConnection,
    FaultyExchange,
    MakeFaultyExchange,
    Refusal,
    Stall,
    Trickle,
)
from asyncwsgi.testing.live.condition import AwaitableCondition
from asyncwsgi.testing.live.records import WAIT_TIMEOUT
from asyncwsgi.words import counted


class Fault:
    """What the next requests of a path, or of all paths, meet. From any thread.

    A context manager: when it is left, the fault is over (see `release`).
    """

    def __init__(
        self,
        kind: str,
        path: str | None,
        method: str | None,
        times: int | None,
        make: MakeFaultyExchange,
        change: AwaitableCondition,
    ) -> None:
        if path is not None and not path.startswith("/"):
            raise ConfigError(f"path {path!r} does not begin with a slash; expected one like '/a'")
        if times is not None and times < 1:
            raise ConfigError(f"times must be at least 1, or None for no end, got {times}")
        self._kind = kind
        self._path = path
        self._method = method and method.upper()
        self._make = make
        self._change = change
        self._held: set[FaultyExchange] = set()
        self.remaining: int | None = times
        """Requests that are still to meet it; None: all, until it is cancelled."""
        self.hits = 0
        """Requests that have met it."""

    def wait(self, hits: int = 1, timeout: float = WAIT_TIMEOUT) -> None:
        """Wait until as many requests as `hits` have met it, all in all.

        Raises:
            TimeoutError: they have not within `timeout` seconds.
        """
        if self._change.wait_until(self._looks_for(hits), timeout) is None:
            self._time_out(hits, timeout)

    async def await_hits(self, hits: int = 1, timeout: float = WAIT_TIMEOUT) -> None:
        """As `wait`, without blocking the asyncio loop that runs the test."""
        if await self._change.await_until(self._looks_for(hits), timeout) is None:
            self._time_out(hits, timeout)

    def _looks_for(self, hits: int) -> Callable[[], int | None]:
        return lambda: self.hits if self.hits >= hits else None

    def _time_out(self, hits: int, timeout: float) -> NoReturn:
        raise TimeoutError(
            f"{counted(self.hits, 'request')} met {self!r} within {timeout:g} s; expected {hits}"
        )

    def cancel(self) -> None:
        """Let no further request meet it. Those that have met it are not spared."""
        with self._change:
            self.remaining = 0

    def release(self) -> None:
        """End it: besides, what it holds back goes on at once, as if nothing had been.

        A stalled request is answered, the rest of a response that trickles leaves.
        """
        with self._change:
            self.remaining = 0
            held = list(self._held)
        for faulty in held:
            faulty.connection.dispatcher.mailbox.post(self._let_go, faulty)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def __repr__(self) -> str:
        method = f"{self._method} " if self._method else ""
        return f"<{self._kind} of {method}{self._path or 'any path'}>"

    # On the loop.

    def takes(self, method: str, path: str) -> bool:
        """Whether a request is meant. With the lock of `change` held."""
        is_meant = self._path in (None, path) and self._method in (None, method)
        return is_meant and self.remaining != 0

    def meet(self, connection: FaultyConnection) -> FaultyExchange:
        """What a request that is meant gets. With the lock of `change` held."""
        if self.remaining is not None:
            self.remaining -= 1
        self.hits += 1
        faulty = self._make(connection)
        self._held.add(faulty)
        return faulty

    def is_over(self, faulty: FaultyExchange) -> None:
        """Forget a request that has ended. With the lock of `change` held."""
        self._held.discard(faulty)

    def _let_go(self, faulty: FaultyExchange) -> None:
        if faulty in self._held:  # else it has ended meanwhile
            faulty.let_go()


class Faults:
    """The faults of one server. From any thread.

    A request meets one fault at most: of those that are meant for it the first that was set. So
    ``stall()`` and then ``refuse()`` stall one request and refuse the next.

    What all methods share:

    Args:
        path: the decoded path of the requests that are meant, without the query; None: all.
        method: their method; None: all.
        times: how many of them; None: all, until the fault is cancelled.

    Raises:
        ConfigError: a value that makes no sense.
    """

    def __init__(self) -> None:
        self._change = AwaitableCondition()
        self._faults: list[Fault] = []
        self._fault_of: dict[FaultyExchange, Fault] = {}

    def stall(
        self, path: str | None = None, *, method: str | None = None, times: int | None = 1
    ) -> Fault:
        """Answer nothing until the fault is released; then as usual.

        A client that closes its connection, or shuts its side of it, is let go, and the application
        never called; so it is when the server stops.
        """
        return self._add("stall", path, method, times, Stall)

    def trickle(
        self,
        path: str | None = None,
        *,
        size: int = 1,
        interval: float = 0.05,
        method: str | None = None,
        times: int | None = 1,
    ) -> Fault:
        """Send the response `size` bytes at a time, head included, `interval` seconds apart.

        When the server stops, the rest leaves at once.
        """
        if size < 1:
            raise ConfigError(f"size must be at least 1 byte, got {size}")
        if interval < 0:
            raise ConfigError(f"interval must be 0 seconds or more, got {interval}")
        return self._add("trickle", path, method, times, partial(Trickle, size, interval))

    def cut_head(
        self,
        path: str | None = None,
        *,
        after: int = 10,
        reset: bool = False,
        method: str | None = None,
        times: int | None = 1,
    ) -> Fault:
        """Close the connection when `after` bytes of the response's head have left, at most all.

        Args:
            reset: with a reset, in which what the client has not read yet may be lost; without,
                the end is in order, over TLS with its goodbye (close_notify).
        """
        _check_after(after)
        return self._add("cut_head", path, method, times, partial(Cut, after, False, reset))

    def cut_body(
        self,
        path: str | None = None,
        *,
        after: int = 0,
        reset: bool = False,
        method: str | None = None,
        times: int | None = 1,
    ) -> Fault:
        """Close the connection when the head and `after` bytes behind it have left.

        They are counted as they are sent: the sizes in a chunked body count, too. A response that
        is shorter leaves whole, and then the connection is closed.

        Args:
            reset: with a reset, in which what the client has not read yet may be lost; without,
                the end is in order, over TLS with its goodbye (close_notify).
        """
        _check_after(after)
        return self._add("cut_body", path, method, times, partial(Cut, after, True, reset))

    def refuse(
        self, path: str | None = None, *, method: str | None = None, times: int | None = 1
    ) -> Fault:
        """Reset the connection when the request has arrived, before a byte is answered.

        The application is not called. Connections as such are accepted; for a server that takes
        none there is `LiveServer.stop_accepting`.
        """
        return self._add("refuse", path, method, times, Refusal)

    def answer(
        self,
        path: str | None = None,
        *,
        status: int = 503,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        method: str | None = None,
        times: int | None = 1,
    ) -> Fault:
        """Answer in the application's place."""
        if not 200 <= status <= 599:
            raise ConfigError(f"status must be from 200 to 599, got {status}")
        make = partial(Answer, status, dict(headers or {}), body)
        return self._add("answer", path, method, times, make)

    def clear(self) -> None:
        """End all of them (see `Fault.release`)."""
        with self._change:
            faults = {*self._faults, *self._fault_of.values()}
        for fault in faults:
            fault.release()

    def _add(
        self,
        kind: str,
        path: str | None,
        method: str | None,
        times: int | None,
        make: MakeFaultyExchange,
    ) -> Fault:
        fault = Fault(kind, path, method, times, make, self._change)
        with self._change:
            self._faults.append(fault)
        return fault

    # On the loop: what connections ask.

    def meet(self, connection: FaultyConnection, environ: dict[str, Any]) -> FaultyExchange | None:
        """What a request that has arrived meets, if anything."""
        if not self._faults:
            return None
        # PEP 3333: strings are bytes in disguise.
        path = f"{environ['SCRIPT_NAME']}{environ['PATH_INFO']}".encode("latin-1")
        method, decoded = environ["REQUEST_METHOD"], path.decode("utf-8", "replace")
        with self._change:
            for fault in self._faults:
                if fault.takes(method, decoded):
                    faulty = fault.meet(connection)
                    self._fault_of[faulty] = fault
                    self._change.notify_all()
                    break
            else:
                faulty = None
            self._faults = [fault for fault in self._faults if fault.remaining != 0]
        return faulty

    def is_over(self, faulty: FaultyExchange) -> None:
        """Forget what a request that has ended has met."""
        with self._change:
            self._fault_of.pop(faulty).is_over(faulty)


def _check_after(after: int) -> None:
    if after < 0:
        raise ConfigError(f"after must be 0 bytes or more, got {after}")
