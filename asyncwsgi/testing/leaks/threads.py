"""Threads that a test has started and left running."""

from __future__ import annotations

import sys
import threading
from collections.abc import Container, Iterable, Iterator
from concurrent.futures import Executor
from typing import Any, NamedTuple

from asyncwsgi.clock import clock

JOIN_TIMEOUT = 0.25
"""Seconds that threads get, all together, which are about to end."""

# What ends with the loop it belongs to, with the process, or when it has been idle for a while.
_OF_OTHERS = (
    "asyncwsgi-",  # each server looks at its own
    "asyncio_",  # a loop's default executor: shut down when the test's loop closes
    "asyncio-waitpid-",
    "AnyIO worker thread",
    "Trio thread",
    "pytest_timeout",
    "pydevd.",
)


class LeftThread(NamedTuple):
    """A thread that still runs."""

    name: str
    ident: int | None
    target: str


def threads_of_nobody(
    before: Container[threading.Thread], executor: Executor | None, spared_names: Iterable[str]
) -> list[LeftThread]:
    """The threads that were not there `before` and still run.

    Args:
        before: those that do not count.
        executor: one whose threads do not count either.
        spared_names: how the names of others begin that do not count.
    """
    deadline = clock.monotonic() + JOIN_TIMEOUT
    pools = [pool for pool in (executor, *_shared_executors()) if pool is not None]
    spared = {thread for pool in pools for thread in getattr(pool, "_threads", ())}
    found = []
    for thread in _candidates(before, (*_OF_OTHERS, *spared_names)):
        if thread not in spared:
            thread.join(max(0.0, deadline - clock.monotonic()))
            if thread.is_alive():
                found.append(LeftThread(thread.name, thread.ident, _target(thread)))
    return found


def _candidates(
    before: Container[threading.Thread], of_others: tuple[str, ...]
) -> Iterator[threading.Thread]:
    for thread in threading.enumerate():
        is_foreign = isinstance(thread, threading._DummyThread)  # not Python's to join
        is_of_others = is_foreign or thread.name.startswith(of_others)
        if not (is_of_others or thread in before or thread is threading.current_thread()):
            yield thread


def _shared_executors() -> Iterator[Any]:
    """Executors of libraries that are made once for a process."""
    asgiref = sys.modules.get("asgiref.sync")
    if asgiref is not None:
        yield getattr(asgiref.SyncToAsync, "single_thread_executor", None)


def _target(thread: threading.Thread) -> str:
    target = getattr(thread, "_target", None)
    name = getattr(target, "__qualname__", None) or type(thread).__qualname__
    module = getattr(target, "__module__", None) or type(thread).__module__
    return f"{module}.{name}"
