"""Tells when a source file changes: by `watchfiles` where it is installed, by polling elsewhere."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

from asyncwsgi.reloading.sources import Sources, Stamp, forget_bytecode, is_below

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
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_polling = not _has_watchfiles()

    def watch(self, roots: Iterable[str], since: float) -> None:
        """Watch `roots`, too.

        Args:
            roots: directories; those that are watched already make no difference.
            since: when files in them were last known to be as they are (`time.time`).
        """
        is_first = not self._tasks
        new = self._sources.add_roots(roots)
        if is_first:
            self._announce()
            if self._is_polling:
                self._run(self._poll())
            else:
                self._run(self._listen(self._parents_of_extra_files(), recursive=False))
                self._run(self._listen(self._extra_directories(), recursive=True))
        if new and not self._is_polling:
            self._run(self._listen(new, recursive=True))
        if new or is_first:
            # Behind the start of the watch, so that no change falls between the two.
            self._run(self._look_back(new, since))

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)

    def _announce(self) -> None:
        if self._is_polling:
            logger.info(
                "looking for changes once a second, because watchfiles is not installed; "
                "install watchfiles to be told of them"
            )
        else:
            logger.info("watching for changes with watchfiles")

    def _parents_of_extra_files(self) -> list[str]:
        # A file may be replaced by another one, or made later; its directory stays.
        files = [Path(path) for path in self._sources.extra_files if not Path(path).is_dir()]
        return self._not_below_roots(str(file.parent) for file in files if file.parent.is_dir())

    def _extra_directories(self) -> list[str]:
        return self._not_below_roots(p for p in self._sources.extra_files if Path(p).is_dir())

    def _not_below_roots(self, directories: Iterable[str]) -> list[str]:
        roots = self._sources.roots
        return [d for d in dict.fromkeys(directories) if not any(is_below(d, r) for r in roots)]

    async def _listen(self, directories: list[str], *, recursive: bool) -> None:
        if not directories:
            return
        from watchfiles import awatch

        try:
            async for changes in awatch(
                *directories,
                watch_filter=lambda _, path: self._sources.counts(path),
                step=STEP,
                recursive=recursive,
                ignore_permission_denied=True,
            ):
                self._report({path for _, path in changes})
        except (OSError, RuntimeError) as error:  # such as the kernel's limit of watches
            if not self._is_polling:
                self._is_polling = True
                logger.warning("watchfiles failed (%s); looking for changes once a second", error)
                await self._poll()

    async def _poll(self) -> None:
        sources = self._sources
        tops: list[str] = []
        known: dict[str, Stamp] = {}
        while True:
            # The files of a root that has come meanwhile are not new.
            seen, tops = tops, [*sources.roots, *sources.extra_files]
            found = await asyncio.to_thread(sources.stamps)
            different = {p for p in known.keys() | found.keys() if known.get(p) != found.get(p)}
            self._report({p for p in different if any(is_below(p, top) for top in seen)})
            known = found
            await asyncio.sleep(POLL_INTERVAL)

    async def _look_back(self, roots: list[str], since: float) -> None:
        stamps = await asyncio.to_thread(self._sources.stamps)
        tops = [*roots, *self._sources.extra_files]
        now = time.time()
        self._report({
            path for path, (modified, _, _) in stamps.items()
            # Clocks differ: what was written in the future has not changed since.
            if since < modified / 1e9 <= now and any(is_below(path, top) for top in tops)
        })  # fmt: skip

    def _report(self, changed: set[str]) -> None:
        for path in changed:
            forget_bytecode(path)
        if changed:
            self._changed(min(changed))


def _has_watchfiles() -> bool:
    try:
        import watchfiles  # noqa: F401
    except ImportError:
        return False
    return True
