"""Blocking code in a coroutine is noticed, and named."""

from __future__ import annotations

import asyncio
import logging
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from asyncwsgi.coroutines.watch import LoopWatch
from asyncwsgi.requests.mailbox import Mailbox
from tests.client import TIMEOUT
from tests.requests.helpers import broken_logging


class Warned(logging.Handler):
    """Lets a test wait for a warning in the very moment in which nothing else runs.

    On a busy machine the test itself may seem to hold the loop; so it says whose name it awaits.
    """

    def __init__(self) -> None:
        super().__init__()
        self.awaited = ""
        self.lines: list[str] = []
        self.event = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.WARNING:
            self.lines.append(record.getMessage())
            if self.awaited in record.getMessage():
                self.event.set()


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> Iterator[Warned]:
    monkeypatch.setattr("asyncwsgi.coroutines.watch.PATIENCE", 0.05)
    monkeypatch.setattr("asyncwsgi.coroutines.watch.INTERVAL", 0.0)
    handler = Warned()
    logger = logging.getLogger("asyncwsgi.server")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.fixture
async def watch() -> LoopWatch:
    return LoopWatch(Mailbox(asyncio.get_running_loop()))


def watchers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "asyncwsgi-watch"]


def blocking_code(watch: LoopWatch, event: threading.Event) -> None:
    watch.task_began()  # here, where every place at which it may be seen is in the view's one line
    assert event.wait(TIMEOUT), "nobody was warned"


async def blocking_view(watch: LoopWatch, event: threading.Event) -> None:
    blocking_code(watch, event)


async def test_one_warning_names_the_coroutine_and_the_place(
    watch: LoopWatch, warned: Warned
) -> None:
    warned.awaited = "blocking_view"
    await asyncio.create_task(blocking_view(watch, warned.event))
    watch.task_ended()
    watch.stop()
    line = next(line for line in warned.lines if "blocking_view" in line)
    assert "test_watch" in line
    assert "has held the server's loop for more than 0.05 s" in line
    assert f"{__file__}:{blocking_view.__code__.co_firstlineno + 1}" in line


async def test_without_coroutines_there_is_no_thread(watch: LoopWatch) -> None:
    before = set(watchers())
    watch.stop()
    watch.task_began()  # too late to be told of
    assert watch._thread is None
    assert set(watchers()) <= before


async def test_its_thread_ends(watch: LoopWatch) -> None:
    before = set(watchers())
    watch.task_began()
    (thread,) = set(watchers()) - before
    watch.stop()
    watch.task_ended()  # it was cancelled by the stop
    await ended(thread)


async def ended(thread: threading.Thread) -> None:
    await asyncio.to_thread(thread.join, TIMEOUT)
    assert not thread.is_alive()


async def test_one_thread_looks_as_long_as_anything_runs(watch: LoopWatch) -> None:
    before = set(watchers())
    watch.task_began()
    watch.task_began()
    (thread,) = set(watchers()) - before
    watch.task_ended()
    assert watch._has_work.is_set()
    watch.task_ended()
    assert not watch._has_work.is_set()
    watch.stop()
    await ended(thread)
    watch.task_began()
    watch.task_ended()
    assert watch._has_work.is_set()  # nobody rests any more
    assert set(watchers()) <= before


class Rest(threading.Event):
    """Tells how it was waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: queue.SimpleQueue[float | None] = queue.SimpleQueue()

    def wait(self, timeout: float | None = None) -> bool:
        if not self.is_set():
            self.waits.put(timeout)
        return super().wait(timeout)


async def test_its_thread_rests_between_looks_and_while_nothing_runs(
    watch: LoopWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncwsgi.coroutines.watch.INTERVAL", 0.001)
    watch._has_work, watch._was_stopped = resting, pausing = Rest(), Rest()
    before = set(watchers())
    watch.task_began()
    (thread,) = set(watchers()) - before
    assert await asyncio.to_thread(pausing.waits.get, timeout=TIMEOUT) == 0.001
    watch.task_ended()
    assert await asyncio.to_thread(resting.waits.get, timeout=TIMEOUT) is None
    watch.stop()
    await ended(thread)


async def test_without_a_thread_to_be_had_coroutines_run_all_the_same(
    watch: LoopWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    watch.task_began()
    watch.task_ended()
    monkeypatch.undo()
    watch.task_began()  # perhaps there is one now
    watch.task_ended()
    watch.stop()
    assert watch._thread is not None
    await ended(watch._thread)


async def test_nobody_looks_where_frames_of_other_threads_are_not_safe_to_look_at(
    watch: LoopWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on a free-threaded build of Python.
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    before = set(watchers())
    watch.task_began()
    assert watch._thread is None
    assert set(watchers()) <= before
    watch.task_ended()
    watch.stop()


def test_its_thread_ends_with_the_loop() -> None:
    before = set(watchers())

    async def main() -> None:
        LoopWatch(Mailbox(asyncio.get_running_loop())).task_began()

    asyncio.run(main())
    for thread in set(watchers()) - before:
        thread.join(TIMEOUT)
        assert not thread.is_alive()


class Holding:
    """What holds the loop until the watch has told, or has found nothing to tell."""

    def __init__(self, watch: LoopWatch, monkeypatch: pytest.MonkeyPatch) -> None:
        self._is_held = self._was_held = False
        self._looks = threading.Semaphore(0)
        warn, wait = watch._warn, watch._wait

        def look(beat: threading.Event, began: float) -> None:
            self._was_held = self._is_held
            warn(beat, began)

        def wait_if_held(beat: threading.Event) -> None:
            # It may have looked before this held the loop, when the machine was busy; then what it
            # would wait for may be behind this, which waits for another look.
            if self._was_held:
                self._looks.release()
                wait(beat)

        monkeypatch.setattr(watch, "_warn", look)
        monkeypatch.setattr(watch, "_wait", wait_if_held)
        watch.task_began()

    def hold(self) -> None:
        self._is_held = True
        assert self._looks.acquire(timeout=TIMEOUT), "the watch does not look at the loop"
        self._is_held = False

    async def view(self) -> None:
        self.hold()

    async def other_view(self) -> None:
        await self.view()


@pytest.fixture
def holding(watch: LoopWatch, warned: Warned, monkeypatch: pytest.MonkeyPatch) -> Iterator[Holding]:
    yield Holding(watch, monkeypatch)
    watch.stop()


async def test_each_coroutine_is_named_once_by_the_outermost(
    holding: Holding, warned: Warned
) -> None:
    for view in (holding.view, holding.other_view, holding.view, holding.other_view):
        await asyncio.create_task(view())
    names = [line.partition(" ")[0].rpartition(".")[2] for line in warned.lines]
    assert [name for name in names if "view" in name] == ["view", "other_view"]


async def test_a_warning_that_cannot_be_written_is_not_the_last(
    holding: Holding, warned: Warned
) -> None:
    with broken_logging("asyncwsgi.server") as was_asked:
        await asyncio.create_task(holding.view())
    assert was_asked.is_set()
    await asyncio.create_task(holding.other_view())
    assert any("other_view has held" in line for line in warned.lines)


async def test_how_long_it_was_is_told_afterwards(
    holding: Holding, caplog: pytest.LogCaptureFixture
) -> None:
    told = threading.Event()

    class Telling(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            if "view held the loop for" in record.getMessage():
                told.set()
            return True

    logger, telling = logging.getLogger("asyncwsgi.server"), Telling()
    logger.addFilter(telling)
    try:
        with caplog.at_level(logging.INFO):
            await asyncio.create_task(holding.view())
            assert await asyncio.to_thread(told.wait, TIMEOUT)
    finally:
        logger.removeFilter(telling)


async def test_what_is_no_coroutine_is_not_named(holding: Holding, warned: Warned) -> None:
    held: list[str] = []

    def hold() -> None:
        holding.hold()
        held.append("until the watch had looked")

    asyncio.get_running_loop().call_soon(hold)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert held
    assert [line for line in warned.lines if "is_not_named has" not in line] == []


async def test_what_is_remembered_is_bounded(
    holding: Holding, watch: LoopWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncwsgi.coroutines.watch.MOST_REMEMBERED", 1)
    for view in (holding.view, holding.other_view):
        await asyncio.create_task(view())
    assert len(watch._warned) <= 1


async def test_it_waits_no_longer_than_it_is_needed(holding: Holding, watch: LoopWatch) -> None:
    async def view() -> None:
        holding.hold()
        watch.stop()
        assert watch._thread is not None
        watch._thread.join(TIMEOUT)
        assert not watch._thread.is_alive()

    await asyncio.create_task(view())


async def test_a_watch_that_was_stopped_warns_of_nothing(warned: Warned) -> None:
    class Stopping(Mailbox):
        def post(self, call: Callable[[Any], object], argument: Any) -> None:
            super().post(call, argument)
            stopped.stop()

    stopped = LoopWatch(Stopping(asyncio.get_running_loop()))

    async def view() -> None:
        stopped.task_began()
        assert stopped._thread is not None
        stopped._thread.join(TIMEOUT)

    await asyncio.create_task(view())
    assert [line for line in warned.lines if "view has" in line] == []


async def test_the_place_is_told_once_where_the_coroutine_itself_blocks(
    watch: LoopWatch, warned: Warned
) -> None:
    lock = threading.Lock()
    lock.acquire()

    class Releasing(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            if "view has held" in record.getMessage():
                lock.release()
            return True

    async def view() -> None:
        assert lock.acquire(timeout=TIMEOUT)

    place = (view.__code__, view.__code__.co_firstlineno + 1)

    def begin(loop_thread: int) -> None:
        # Not before it blocks: it would be seen, and named, on its way there.
        frame = None
        while frame is None or (frame.f_code, frame.f_lineno) != place:
            frame = sys._current_frames().get(loop_thread)
        watch.task_began()

    releasing = Releasing()
    warned.addFilter(releasing)
    beginning = threading.Thread(target=begin, args=[threading.get_ident()], daemon=True)
    beginning.start()
    await asyncio.create_task(view())
    beginning.join(TIMEOUT)
    watch.stop()
    (line,) = [line for line in warned.lines if "view has held" in line]
    assert f"it stood at {__file__}:{view.__code__.co_firstlineno + 1}; await" in line
