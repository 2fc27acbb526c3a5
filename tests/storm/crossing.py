"""Where requests wait for each other, so that each is left in the middle while others run."""

from __future__ import annotations

import asyncio
import threading

GROUP = 8
"""So many requests meet before any of them goes on. No more worker threads than twice this wait."""


class Crossing:
    """Requests meet in groups, those in threads and those on the loop apart.

    A group may lack requests for ever once few clients are left: then somebody has to `open` it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_open = False
        self._threads: list[threading.Event] = []
        self._tasks: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def cross(self) -> None:
        """In a worker thread: wait until the group is complete."""
        mine = threading.Event()
        with self._lock:
            self._threads.append(mine)
            if len(self._threads) >= GROUP or self._is_open:
                self._release_threads()
        assert mine.wait(250), "the group was never complete"

    async def cross_on_loop(self) -> None:
        """On a loop: wait until the group is complete."""
        mine = asyncio.Event()
        with self._lock:
            self._tasks.append((asyncio.get_running_loop(), mine))
            if len(self._tasks) >= GROUP or self._is_open:
                self._release_tasks()
        await asyncio.sleep(0)  # others of the group run first, also when this one completed it
        await mine.wait()

    def open(self) -> None:
        """Let everybody pass from now on."""
        with self._lock:
            self._is_open = True
            self._release_threads()
            self._release_tasks()

    def _release_threads(self) -> None:
        for event in self._threads:
            event.set()
        self._threads.clear()

    def _release_tasks(self) -> None:
        for loop, event in self._tasks:
            loop.call_soon_threadsafe(event.set)
        self._tasks.clear()
