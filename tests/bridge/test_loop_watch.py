"""Blocking code in a coroutine is noticed, and named."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator

import pytest

from asyncwsgi.bridge.loop_watch import LoopWatch
from asyncwsgi.bridge.mailbox import Mailbox
from tests.client import TIMEOUT


class Warned(logging.Handler):
    """Lets a test wait for a log line in the very moment in which nothing else runs."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.event = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.WARNING:
            self.lines.append(record.getMessage())
            self.event.set()


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> Iterator[Warned]:
    monkeypatch.setattr("asyncwsgi.bridge.loop_watch.PATIENCE", 0.01)
    monkeypatch.setattr("asyncwsgi.bridge.loop_watch.INTERVAL", 0.0)
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


def blocking_code(event: threading.Event) -> None:
    assert event.wait(TIMEOUT), "nobody was warned"


async def blocking_view(event: threading.Event) -> None:
    blocking_code(event)


async def test_one_warning_names_the_coroutine_and_the_place(
    watch: LoopWatch, warned: Warned
) -> None:
    watch.task_began()
    await asyncio.create_task(blocking_view(warned.event))
    watch.task_ended()
    watch.stop()
    line = next(line for line in warned.lines if "blocking_view" in line)
    assert "test_loop_watch" in line
    assert "has held the server's loop for more than 0.01 s" in line
    assert f"{__file__}:{blocking_view.__code__.co_firstlineno + 1}" in line


async def test_without_coroutines_there_is_no_thread(watch: LoopWatch) -> None:
    before = len(watchers())
    watch.stop()
    assert len(watchers()) == before


async def test_its_thread_ends(watch: LoopWatch) -> None:
    before = set(watchers())
    watch.task_began()
    (thread,) = set(watchers()) - before
    watch.stop()
    watch.task_ended()  # it was cancelled by the stop
    await asyncio.to_thread(thread.join, TIMEOUT)
    assert not thread.is_alive()
