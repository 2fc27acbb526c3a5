"""Tells that the code has changed, of those changes that call for new processes."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from asyncwsgi.reloading.installs import Installs
from asyncwsgi.reloading.page_files import PageFiles
from asyncwsgi.reloading.sources import Sources
from asyncwsgi.reloading.watching import Watcher
from asyncwsgi.server_log import logger

LONGEST_LOOP = 5
"""In how many imports in a row the same file may change; the last of them is kept."""


class Reloader:
    """Watches the code, and calls back when it has changed. In a running loop.

    Importing may itself write a file that counts, such as one that tells the version. If that is
    another content each time, each import supersedes itself. So a file that has changed in several
    imports in a row supersedes none any more, until one of them serves. Somebody who saves it as
    often and as fast would have to change it once more behind that; the log says what has happened.
    To know what has changed in an import from what has changed behind it, there has to be a look at
    its end, and one when its lifespan has been entered.

    Args:
        sources: what is watched; children add where their code is.
        directory: that by which files are named in the log.
        changed: called when new code is to be imported.
        pages_changed: called with the files that pages show, if some have changed and no code has.
    """

    def __init__(
        self,
        sources: Sources,
        directory: str,
        changed: Callable[[], None],
        pages_changed: Callable[[set[str]], None] = lambda _: None,
    ) -> None:
        self._sources = sources
        self._page_files = PageFiles(pages_changed, self._name)
        self._watcher = Watcher(sources, self._files_changed)
        self._directory = directory
        self._changed = changed
        self._loops: Counter[str] = Counter()
        """In how many imports in a row each file has changed."""
        self._installs = Installs(self._installed)
        self._warning: asyncio.Task[None] | None = None
        self.is_importing = False
        """Whether an import is under way that a change supersedes; to be set by the owner."""

    def watch(self, roots: Iterable[str], since: float) -> None:
        """See `Watcher.watch`."""
        self._watcher.watch(roots, since)
        if self._warning is None:  # now it is known where the code is
            self._warning = asyncio.create_task(self._warn_of_unmatched())

    async def _warn_of_unmatched(self) -> None:
        directories, include, exclude = await asyncio.to_thread(self._sources.unmatched)
        said = [f"--reload-dir {self._name(path)} is no directory" for path in directories]
        said += [f"--reload-include {text} matches nothing" for text in include]
        said += [f"--reload-exclude {text} matches nothing" for text in exclude]
        if said:
            logger.warning("%s; what is made later counts nevertheless", ", ".join(said))

    def watch_installs(self) -> None:
        """Call back, too, when something was installed, until something has changed."""
        self._installs.watch()

    async def look(self) -> None:
        """See `Watcher.look`."""
        await self._watcher.look()

    def close(self) -> None:
        """Watch nothing from now on."""
        self._watcher.close()
        self._installs.stop()
        if self._warning is not None:
            self._warning.cancel()

    def served(self) -> None:
        """Know that what was imported serves."""
        self._loops.clear()
        self._installs.stop()

    def _installed(self) -> None:
        logger.info("reloading: something was installed")
        self._changed()

    def _files_changed(self, changed: set[str]) -> None:
        code = {path for path in changed if not self._sources.is_for_pages(path)}
        if code:
            self._code_changed(code)  # new code is news for pages anyway
        else:
            self._page_files.tell(changed)

    def _code_changed(self, changed: set[str]) -> None:
        if not self.is_importing:
            self._loops.clear()
        elif not (changed := self._without_loops(changed)):
            return
        logger.info("reloading: %s changed", self._name(min(changed)))
        self._installs.stop()
        self._changed()

    def _without_loops(self, changed: set[str]) -> set[str]:
        """Those of the files that have changed during an import that supersede it."""
        self._loops.update(changed)
        for path in sorted(changed):
            if self._loops[path] == LONGEST_LOOP:
                logger.error(
                    "%s has changed in each of %d imports, so importing seems to write it; the "
                    "import that is under way is kept; --reload-exclude '*/%s' has --reload ignore "
                    "the file",
                    self._name(path),
                    LONGEST_LOOP,
                    Path(path).name,
                )
        return {path for path in changed if self._loops[path] < LONGEST_LOOP}

    def _name(self, path: str) -> str:
        return os.path.relpath(path, self._directory)
