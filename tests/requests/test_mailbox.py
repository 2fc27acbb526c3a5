"""The way from worker threads to the loop: in order, for one wake-up, without losses."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from contextvars import Context, ContextVar
from typing import Any, TypeVarTuple

import pytest

from asyncwsgi.config import Loop
from asyncwsgi.event_loops import loop_factory
from asyncwsgi.requests.mailbox import Mailbox
from tests.client import TIMEOUT
from tests.loops import LOOPS
from tests.requests.helpers import broken_logging

Ts = TypeVarTuple("Ts")

variable: ContextVar[str] = ContextVar("variable", default="unset")


@pytest.fixture
async def mailbox() -> Mailbox:
    return Mailbox(asyncio.get_running_loop())


async def a_round() -> None:
    """Let the loop do what is due."""
    await asyncio.sleep(0)


async def test_calls_run_on_the_loop_in_the_order_posted(mailbox: Mailbox) -> None:
    calls: list[tuple[int, threading.Thread]] = []
    done = asyncio.Event()

    def post_all() -> None:
        for number in range(1000):
            mailbox.post(lambda n: calls.append((n, threading.current_thread())), number)
        mailbox.post(lambda _: done.set(), None)

    thread = threading.Thread(target=post_all)
    thread.start()
    await done.wait()
    thread.join()
    assert calls == [(number, threading.current_thread()) for number in range(1000)]


async def test_the_calls_of_each_of_many_threads_stay_in_order(mailbox: Mailbox) -> None:
    received: list[tuple[int, int]] = []
    all_done = threading.Barrier(9)

    def post_all(thread: int) -> None:
        for number in range(500):
            mailbox.post(received.append, (thread, number))
        all_done.wait(TIMEOUT)

    threads = [threading.Thread(target=post_all, args=[n]) for n in range(8)]
    for thread in threads:
        thread.start()
    await asyncio.to_thread(all_done.wait, TIMEOUT)
    await a_round()
    for n, thread in enumerate(threads):
        thread.join()
        assert [number for poster, number in received if poster == n] == list(range(500))


class CountingLoop(asyncio.SelectorEventLoop):
    """A loop that counts how often threads wake it."""

    def __init__(self) -> None:
        super().__init__()
        self.wake_ups = 0

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        self.wake_ups += 1
        return super().call_soon_threadsafe(callback, *args, context=context)


def test_many_posts_cost_one_wake_up() -> None:
    received: list[int] = []

    async def post_twice_100(mailbox: Mailbox) -> None:
        for batch in (range(100), range(100, 200)):
            for number in batch:
                mailbox.post(received.append, number)
            await a_round()

    loop = CountingLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(post_twice_100(Mailbox(loop)))
        assert loop.wake_ups == 2
    assert received == list(range(200))


async def test_what_a_call_posts_has_its_turn_in_the_next_round(mailbox: Mailbox) -> None:
    # Busy workers must not keep the loop from its sockets.
    rounds: list[str] = []

    def again(count: int) -> None:
        rounds.append("call")
        if count:
            mailbox.post(again, count - 1)

    mailbox.post(again, 2)
    for _ in range(3):
        await a_round()
        rounds.append("round")
    assert rounds == ["call", "round"] * 3


async def test_a_call_that_fails_is_reported_and_loses_no_other(mailbox: Mailbox) -> None:
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, report: reports.append(report))
    received: list[int] = []
    failure = ValueError("spam")

    def fail(_: None) -> None:
        raise failure

    mailbox.post(received.append, 1)
    mailbox.post(fail, None)
    mailbox.post(received.append, 2)
    await a_round()
    mailbox.post(received.append, 3)
    await a_round()
    assert received == [1, 2, 3]
    assert [report["exception"] for report in reports] == [failure]
    assert "fail" in reports[0]["message"]


async def test_a_report_that_fails_loses_no_call(mailbox: Mailbox) -> None:
    def fail(_: None) -> None:
        raise ValueError("spam")

    received: list[int] = []
    for number in range(3):
        mailbox.post(fail, None)
        mailbox.post(received.append, number)
    with broken_logging("asyncio") as was_asked:
        await a_round()
    assert was_asked.is_set()
    assert received == [0, 1, 2]


async def test_calls_run_in_the_context_of_the_mailbox_and_in_no_posters() -> None:
    # That of whoever wakes the loop would be any request's, and what asyncio does in it, too.
    variable.set("of the server")
    mailbox = Mailbox(asyncio.get_running_loop())
    seen: list[str] = []
    done = asyncio.Event()

    def post() -> None:
        variable.set("of a request")
        mailbox.post(lambda _: seen.append(variable.get()), None)
        mailbox.post(lambda _: done.set(), None)

    thread = threading.Thread(target=post)
    thread.start()
    await done.wait()
    thread.join()
    assert seen == ["of the server"]


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_call_that_ends_the_loop_loses_no_other(name: Loop, error: type[BaseException]) -> None:
    # What has ended it, `asyncio.run` for one, has it run on until everything is tidied up.
    def fail(_: None) -> None:
        raise error

    loop = loop_factory(name)()
    mailbox = Mailbox(loop)
    received: list[int] = []
    mailbox.post(fail, None)
    mailbox.post(received.append, 1)
    with pytest.raises(error):
        loop.run_forever()
    loop.run_until_complete(a_round())
    loop.close()
    assert received == [1]


async def test_a_post_that_a_signal_interrupts_keeps_no_other_from_waking_the_loop(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    received: list[int] = []
    with monkeypatch.context() as patched:
        patched.setattr(asyncio.get_running_loop(), "call_soon_threadsafe", interrupt)
        with pytest.raises(KeyboardInterrupt):
            mailbox.post(received.append, 1)
    mailbox.post(received.append, 2)
    await a_round()
    assert received == [1, 2]


class Thing:
    """Something a weak reference can point to."""


@pytest.mark.parametrize("name", LOOPS)
def test_calls_to_a_closed_loop_are_dropped(name: Loop) -> None:
    # A worker thread that hung may come back when the server, and its loop, are long gone.
    loop = loop_factory(name)()
    mailbox = Mailbox(loop)
    loop.close()
    received: list[Thing] = []
    things = [Thing() for _ in range(3)]
    remains = [weakref.ref(thing) for thing in things]
    while things:
        mailbox.post(received.append, things.pop())
    gc.collect()
    assert received == []
    assert [remain() for remain in remains] == [None] * 3
