"""Hints by the kernel, by way of `watchfiles`, without which this module cannot be imported."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import closing, suppress

from watchfiles import Change, awatch

from asyncwsgi.reloading.notifiers import NotifierError
from asyncwsgi.reloading.sources import Places, Sources

STEP = 100
"""Milliseconds between looks of `watchfiles` at what the kernel has told it."""
IDLE_TIMEOUT = 5.0
"""Seconds of silence behind which a hint is given though the kernel has told nothing.

It never tells of some changes: of those on many network file systems and on mounts of virtual
machines, of those that its full queue had no room for, and of a directory above the watched ones
that was renamed.
"""


class Watchfiles:
    """Gives hints when the kernel tells of a change in the directories of `sources`."""

    announcement = "watching for changes with watchfiles"

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    async def hints(self) -> AsyncGenerator[None, None]:
        while True:
            places = await asyncio.to_thread(self._sources.places)
            with closing(_Watch(self._sources, places)) as watch:
                await asyncio.sleep(0)  # its tasks take their first steps: now it stands
                if places != await asyncio.to_thread(self._sources.places):
                    watch.is_outdated = True  # some came, or went, before it stood
                yield
                while not watch.is_outdated:
                    await watch.wait()
                    yield


class _Watch:
    """A watch over some places, until others have to be watched.

    `watchfiles` watches either directories with all below them or single ones; hence two of its
    watches here. Each stands once its task has taken its first step.

    Args:
        sources: which changes matter.
        places: what is watched.
    """

    def __init__(self, sources: Sources, places: Places) -> None:
        self.is_outdated = False
        """Whether other directories have to be watched."""
        self._sources = sources
        self._places = places
        self._directories = frozenset(places.trees + places.others)
        self._is_told = asyncio.Event()
        self._failure: str | None = None
        self._tasks = [
            asyncio.create_task(self._listen(directories, recursive=directories is places.trees))
            for directories in (places.trees, places.others)
            if directories
        ]
        for task in self._tasks:
            task.add_done_callback(self._ended)

    async def wait(self) -> None:
        """Wait until something may have changed.

        Raises:
            NotifierError: `watchfiles` has failed.
        """
        # Not by a timeout of `watchfiles`, for which changes that do not matter are no silence.
        with suppress(TimeoutError):
            async with asyncio.timeout(IDLE_TIMEOUT):
                await self._is_told.wait()
        self._is_told.clear()
        if self._failure is not None:
            raise NotifierError(f"watchfiles failed ({self._failure})")

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _listen(self, directories: list[str], *, recursive: bool) -> None:
        async for changes in awatch(
            *directories,
            watch_filter=self._matters,
            step=STEP,
            recursive=recursive,
            ignore_permission_denied=True,
        ):
            if any(self._outdates(change, path, recursive=recursive) for change, path in changes):
                self.is_outdated = True
            self._is_told.set()

    def _matters(self, change: Change, path: str) -> bool:
        return (
            any(map(self._sources.counts, self._places.names_of(path)))
            or path in self._places.links
            or self._is_of_directory(change, path)
        )

    def _outdates(self, change: Change, path: str, *, recursive: bool) -> bool:
        """Whether other directories have to be watched behind a change that matters."""
        if path in self._places.links or os.path.islink(path):  # noqa: PTH114
            return True
        # The kernel itself goes on to watch what comes below a tree; but every watch ends with its
        # directory, though there be another one of that name the moment after.
        is_watched = recursive and path not in self._directories
        return self._is_of_directory(change, path) and not is_watched

    def _is_of_directory(self, change: Change, path: str) -> bool:
        """Whether a directory has come that may hold files, or one has gone that was watched."""
        if change is Change.modified:
            return False
        if path in self._directories:
            return True
        return any(map(self._sources.has_files_in, self._places.names_of(path)))

    def _ended(self, task: asyncio.Task[None]) -> None:
        # Not by an `except` in the task: a panic of the Rust in `watchfiles` is no `Exception`.
        if not task.cancelled():
            self._failure = str(task.exception())
            self._is_told.set()
