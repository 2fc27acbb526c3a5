"""The clock by which deadlines are looked at: it goes on, and blames nobody for a standstill."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any, cast

import pytest

from asyncwsgi import Server
from asyncwsgi.clock import clock as server_clock
from asyncwsgi.errors import RequestRefused
from asyncwsgi.frontends.http import HttpConnection
from asyncwsgi.server.ticker import Ticker
from tests.apps import echo
from tests.client import TIMEOUT
from tests.conftest import Serve
from tests.http.conftest import clock as clock
from tests.http.helpers import ClientOf, Clock, come_round

INTERVAL = 1.0
SMALL = 0.1


class Timer:
    """What `FakeLoop.call_later` returns."""

    def __init__(self, due: float, call: Callable[[], object]) -> None:
        self.due = due
        self.call = call
        self.was_cancelled = False

    def cancel(self) -> None:
        self.was_cancelled = True


class FakeLoop:
    """A loop whose time is the test's, and that stands still when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[Timer] = []
        self.told: list[dict[str, Any]] = []

    def call_later(self, delay: float, call: Callable[[], object]) -> Timer:
        self.timers.append(Timer(self.now + delay, call))
        return self.timers[-1]

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.told.append(context)

    def run(self, seconds: float) -> None:
        """Run for `seconds`, each timer at its time."""
        end = self.now + seconds
        while (timer := self._next()) is not None and timer.due <= end:
            self.now = max(self.now, timer.due)
            self._run(timer)
        self.now = end

    def stand_still(self, seconds: float) -> None:
        """Run nothing for `seconds`, and then what was due."""
        self.now += seconds
        for timer in [timer for timer in self.timers if timer.due <= self.now]:
            self._run(timer)

    def _next(self) -> Timer | None:
        waiting = [timer for timer in self.timers if not timer.was_cancelled]
        return min(waiting, key=lambda timer: timer.due, default=None)

    def _run(self, timer: Timer) -> None:
        self.timers.remove(timer)
        timer.call()


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> FakeLoop:
    loop = FakeLoop()
    monkeypatch.setattr(server_clock, "monotonic", lambda: loop.now)
    return loop


def started(loop: FakeLoop, tick: Callable[[float], object]) -> Ticker:
    ticker = Ticker(cast("asyncio.AbstractEventLoop", loop), INTERVAL, tick)
    ticker.start()
    return ticker


def test_it_ticks_with_the_time_until_it_is_stopped(loop: FakeLoop) -> None:
    ticks: list[float] = []
    ticker = started(loop, ticks.append)
    loop.run(3.5)
    assert ticks == [1001.0, 1002.0, 1003.0]
    ticker.stop()
    loop.run(3.5)
    assert len(ticks) == 3


def test_one_that_was_never_started_can_be_stopped(loop: FakeLoop) -> None:
    Ticker(cast("asyncio.AbstractEventLoop", loop), INTERVAL, print).stop()


def test_what_a_tick_raises_is_told_and_does_not_end_it(loop: FakeLoop) -> None:
    ticks: list[float] = []
    failure = ValueError("of one tick")

    def tick(now: float) -> None:
        ticks.append(now)
        raise failure

    started(loop, tick)
    loop.run(3.0)
    assert len(ticks) == 3
    assert [context["exception"] for context in loop.told] == [failure] * 3


def test_what_ends_loops_does_not_end_it_either(loop: FakeLoop) -> None:
    # The loop's own affair, which may go on: a debugger's, a notebook's.
    ticks: list[float] = []

    def tick(now: float) -> None:
        ticks.append(now)
        raise KeyboardInterrupt

    started(loop, tick)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            loop.run(1.0)
    assert len(ticks) == 2


def test_behind_a_standstill_nobody_is_judged_before_the_next_tick(loop: FakeLoop) -> None:
    ticks: list[float] = []
    started(loop, ticks.append)
    loop.stand_still(5.0)
    assert ticks == []
    loop.run(1.0)
    assert ticks == [1006.0]


def test_a_delay_of_a_moment_is_no_standstill(loop: FakeLoop) -> None:
    ticks: list[float] = []
    started(loop, ticks.append)
    loop.stand_still(1.9)
    assert ticks == [1001.9]


def test_a_server_that_is_always_late_judges_every_other_time(loop: FakeLoop) -> None:
    ticks: list[float] = []
    started(loop, ticks.append)
    for _ in range(6):
        loop.stand_still(5.0)
    assert ticks == [1010.0, 1020.0, 1030.0]


class Hold:
    """Holds the loop until a look at deadlines is due, and the test says so."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()
        self.release = threading.Event()

    def __call__(self) -> None:
        began = time.monotonic()
        self.has_begun.set()
        assert self.release.wait(TIMEOUT)
        while time.monotonic() - began < SMALL:
            """The machine is faster than the test wants it to be."""


@pytest.mark.parametrize("by_coroutine", [True, False], ids=["by a coroutine", "by a callback"])
def test_what_a_client_sent_while_the_loop_was_held_is_in_time(
    serve: Serve, client_of: ClientOf, clock: Clock, by_coroutine: bool
) -> None:
    # Both loops read before they look at timers; but if it is a read that holds uvloop, what has
    # come meanwhile is read in the next round only.
    hold = Hold()

    async def holding() -> None:
        hold()

    class HeldConnection(HttpConnection):
        def request_refused(self, refused: RequestRefused) -> None:
            hold()

    class HeldServer(Server):
        connection_class = HeldConnection

    server = serve(echo, server_class=HeldServer, body_timeout=SMALL)
    client, other = client_of(server), client_of(server)
    client.request("POST", Content_Length="8")
    client.send(b"spam")
    come_round(server)
    if by_coroutine:
        asyncio.run_coroutine_threadsafe(holding(), server.started.result())
    else:
        other.send(b"no HTTP\r\n\r\n")
    assert hold.has_begun.wait(TIMEOUT)
    client.send(b"eggs")
    clock.let_pass(2 * SMALL)
    hold.release.set()
    assert client.reply().body == b"spameggs"
