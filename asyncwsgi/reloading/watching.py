"""Tells when a source file changes: by `watchfiles` where it is installed, by polling elsewhere."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from asyncwsgi.reloading.sources import Sources, Stamp, forget_bytecode, is_below, stamp

logger = logging.getLogger("asyncwsgi.server")

POLL_INTERVAL = 1.0
STEP = 100
"""Milliseconds between looks of `watchfiles` at what the kernel has told it."""


class Watcher:
    """Calls back on the loop for a change of what `sources` counts.

    Args:
        sources: what to watch; roots are added by `watch`.
        changed: called with the path of a file that has changed, one of several at a time.
    """

    def __init__(self, sources: Sources, changed: Callable[[str], None]) -> None:
        self._sources = sources
        self._changed = changed
        self._task: asyncio.Task[None] | None = None
        self._is_polling = not _has_watchfiles()
        self._has_more = asyncio.Event()
        """Other directories have to be watched than those that are."""
        self._unseen: list[tuple[list[str], float]] = []
        """Of what no look has been had, and since when changes in it count."""
        self._seen: dict[str, Stamp] = {}
        """What the last look has found."""
        self._heard: dict[str, Stamp | None] = {}
        """What has changed since it began, as `watchfiles` told."""

    def watch(self, roots: Iterable[str], since: float) -> None:
        """Watch `roots`, too.

        Args:
            roots: directories; those that are watched already make no difference.
            since: when files in them were last known to be as they are (`time.time`).
        """
        new = self._sources.add_roots(roots)
        if self._task is None:
            self._announce()
            self._unseen.append((self._sources.tops, since))
            work = self._poll() if self._is_polling else self._listen()
            self._task = asyncio.get_running_loop().create_task(work)
        elif new:
            self._unseen.append((new, since))
            self._has_more.set()

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _announce(self) -> None:
        if self._is_polling:
            logger.info(
                "looking for changes once a second, because watchfiles is not installed; "
                "install watchfiles to be told of them"
            )
        else:
            logger.info("watching for changes with watchfiles")

    # With watchfiles.

    async def _listen(self) -> None:
        while not self._is_polling:
            self._has_more.clear()
            directories = await asyncio.to_thread(self._sources.directories)
            trees, others = directories
            async with asyncio.TaskGroup() as group:
                group.create_task(self._hear(trees, recursive=True))
                group.create_task(self._hear(others, recursive=False))
                await asyncio.sleep(0)  # both stand when they have run once
                # Behind that, so that no change falls between the look and the watch.
                await self._look()
                if directories != await asyncio.to_thread(self._sources.directories):
                    self._has_more.set()
        await self._poll()

    async def _hear(self, directories: list[str], *, recursive: bool) -> None:
        """Report changes in `directories`, until there are others."""
        if not directories:
            await self._has_more.wait()
            return
        from watchfiles import Change, awatch

        def is_news(change: Change, path: str) -> bool:
            if self._sources.counts(path):
                return True
            return change == Change.added and self._sources.has_files_in(path)

        try:
            async for changes in awatch(
                *directories,
                watch_filter=is_news,
                step=STEP,
                recursive=recursive,
                ignore_permission_denied=True,
                stop_event=self._has_more,
            ):
                news = {path for _, path in changes}
                files = {path for path in news if self._sources.counts(path)}
                await self._take(files, news - files, recursive=recursive)
        except (OSError, RuntimeError, UnicodeError) as error:  # such as the kernel's limit
            if not self._is_polling and _are_there(directories):  # still
                self._is_polling = True
                logger.warning("watchfiles failed (%s); looking for changes once a second", error)
            self._has_more.set()

    async def _take(self, files: set[str], directories: set[str], *, recursive: bool) -> None:
        """Report files, and those of new directories, which came before they were watched."""
        stamps: dict[str, Stamp | None] = {}
        if directories and recursive:
            stamps |= await asyncio.to_thread(self._sources.stamps, directories)
        elif directories:
            self._has_more.set()  # the next look finds them
        stamps |= {path: stamp(path) for path in files}
        known = self._seen | self._heard
        news = {path: current for path, current in stamps.items() if current != known.get(path)}
        self._heard |= news
        self._report(set(news))

    # Without.

    async def _poll(self) -> None:
        while True:
            await self._look()
            await asyncio.sleep(POLL_INTERVAL)

    # Both.

    async def _look(self) -> None:
        """Report what is not as it was, without what `watchfiles` tells meanwhile."""
        unseen, self._unseen = self._unseen, []
        before, self._heard = self._seen | self._heard, {}
        roots = list(self._sources.roots)
        found = self._seen = await asyncio.to_thread(self._sources.stamps, roots)
        now = time.time()

        def is_change(path: str) -> bool:
            for tops, since in unseen:
                if any(is_below(path, top) for top in tops):
                    # Clocks differ: what was written in the future has not changed since.
                    return path in found and since < found[path][0] / 1e9 <= now
            return True

        different = {p for p in before.keys() | found.keys() if before.get(p) != found.get(p)}
        self._report({path for path in different - self._heard.keys() if is_change(path)})

    def _report(self, changed: set[str]) -> None:
        for path in changed:
            forget_bytecode(path)
        if changed:
            self._changed(min(changed))


def _are_there(directories: list[str]) -> bool:
    return all(Path(path).is_dir() for path in directories)


def _has_watchfiles() -> bool:
    try:
        import watchfiles  # noqa: F401
    except ImportError:
        return False
    return True
