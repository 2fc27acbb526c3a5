"""Tells when a source file changes: looks at every hint, compares, and survives what fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import aclosing

from asyncwsgi.reloading.notifiers import Notifier, NotifierError, Polling
from asyncwsgi.reloading.snapshot import Snapshot
from asyncwsgi.reloading.sources import Sources, forget_bytecode
from asyncwsgi.reloading.versions import Version
from asyncwsgi.server_log import logger

RETRY_INTERVAL = 1.0
"""Seconds until a watch that has failed is set up again."""


class Watcher:
    """Calls back on the loop for a change of what `sources` counts.

    One task waits for hints and looks; looks come one after the other. A change is known from the
    moment in which it has been told, so whatever ends that task, because it failed or because other
    directories are to be watched, can be begun anew at any time: the first look of the next one
    finds what has changed meanwhile, once.

    Args:
        sources: what to watch; roots are added by `watch`.
        changed: called with the paths of files that have changed, one or more.
    """

    def __init__(self, sources: Sources, changed: Callable[[set[str]], None]) -> None:
        self._sources = sources
        self._changed = changed
        self._snapshot = Snapshot()
        self._notifier = _make_notifier(sources)
        self._task: asyncio.Task[None] | None = None
        self._looking = asyncio.Lock()
        self._is_closed = False
        self._last_failure = ""

    def watch(self, roots: Iterable[str], since: float) -> None:
        """Watch `roots`, too; and what is included, from the first call on.

        Args:
            roots: directories; those that are watched already make no difference.
            since: when files in them were last known to be as they are (`time.time`).
        """
        if self._is_closed:
            return
        new = self._sources.add_roots(roots)
        if self._task is None:
            logger.info(self._notifier.announcement)
            new = self._sources.tops
        elif new:
            self._task.cancel()
        else:
            return
        self._snapshot.expect(new, since)
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def look(self) -> None:
        """Have told by now what has changed up to now, if anything is watched."""
        if self._task is None or self._is_closed:
            return
        try:
            await self._look()
        except Exception as error:
            self._log_failure(error)

    def close(self) -> None:
        """Watch nothing from now on."""
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()

    async def _watch(self) -> None:
        while True:
            try:
                await self._look_at_hints()
            except NotifierError as error:
                logger.warning("%s; looking for changes once a second", error)
                self._notifier = Polling()
            except Exception as error:
                self._log_failure(error)
                await asyncio.sleep(RETRY_INTERVAL)

    async def _look_at_hints(self) -> None:
        async with aclosing(self._notifier.hints()) as hints:
            async for _ in hints:
                await self._look()
                self._last_failure = ""

    async def _look(self) -> None:
        async with self._looking:
            roots: list[str] = []
            while roots is not self._sources.roots:  # else it has not been where the new ones are
                roots = self._sources.roots
                found = await asyncio.to_thread(self._find)
            # No `await` from here on: to tell and to know that it was told are one.
            if changed := self._snapshot.changes(found):
                for path in changed:
                    forget_bytecode(path)
                self._changed(changed)
            self._snapshot.remember(found)

    def _find(self) -> dict[str, Version]:
        return self._snapshot.read(self._sources.stamps())

    def _log_failure(self, error: Exception) -> None:
        # What fails at every try is said once.
        if repr(error) != self._last_failure:
            self._last_failure = repr(error)
            logger.error("the watch for changes failed and is set up again", exc_info=error)


def _make_notifier(sources: Sources) -> Notifier:
    try:
        from asyncwsgi.reloading.kernel_watch import Watchfiles
    except ImportError:
        return Polling()
    return Watchfiles(sources)
