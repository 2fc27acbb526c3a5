"""Where this process imports from; also what it imports when it serves already."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

from asyncwsgi.reloading.sources import is_below, is_directory

DELAY = 1.0
"""Seconds from the search for a module to the look at where it was found."""


class SourceRoots:
    """The directories from which this process imports what is not installed.

    The first entry of the path is the application's own, wherever it is; other directories do not
    count if they belong to the interpreter or to its virtual environment. They go by the names by
    which modules are imported, though there be links on the way to them.
    """

    def __init__(self) -> None:
        self._known: set[str] = set()

    def new(self) -> list[str]:
        """Those that have come since the last call."""
        entries = [path or str(Path.cwd()) for path in sys.path]
        files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
        found = set(entries)
        found.update(os.path.dirname(file) for file in files if isinstance(file, str))  # noqa: PTH120
        new = {path for path in found - self._known if is_directory(path)}
        self._known |= new
        first = entries[:1]
        return sorted({
            os.path.abspath(path)  # noqa: PTH100
            for path in new
            if path in first or not _is_installed(os.path.realpath(path))
        })  # fmt: skip


def files_of(errors: Iterable[BaseException]) -> list[str]:
    """The files in which exceptions were raised; but for what is installed.

    They need not be modules: some programs run the files of their configuration as code.
    """
    files: set[str] = set()
    for error in errors:
        files.update(frame.filename for frame in traceback.extract_tb(error.__traceback__))
        if isinstance(error, SyntaxError) and error.filename:
            files.add(error.filename)
    paths = {os.path.abspath(file) for file in files if os.path.isfile(file)}  # noqa: PTH100, PTH113
    return sorted(path for path in paths if not _is_installed(os.path.realpath(path)))


def with_causes(error: BaseException | None) -> list[BaseException]:
    """An exception, and what it came of."""
    errors: list[BaseException] = []
    while error is not None and error not in errors:
        errors.append(error)
        error = error.__cause__ or error.__context__
    return errors


def _is_installed(path: str) -> bool:
    prefixes = (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix)
    return any(is_below(path, os.path.realpath(prefix)) for prefix in prefixes)


class LateImports:
    """Has somebody look for new roots behind each import, at no cost for any request.

    Python asks the finders of `sys.meta_path` for a module that it does not know yet, and for no
    other. The first of them here finds nothing and tells the loop that something is searched. The
    loop looks a moment later: once a module is found it is among `sys.modules` before its code is
    run, however long that takes.

    Args:
        look: called on the loop, with the time when the import began (`time.time`).
    """

    def __init__(self, look: Callable[[float], None]) -> None:
        self._look = look
        self._loop = asyncio.get_running_loop()
        self._process = os.getpid()
        self._is_waiting = False
        """For the moment of a look. Two threads may find that it is not; then there are two."""
        self._has_more = False
        """Whether something was searched while it waited."""
        sys.meta_path.insert(0, self)

    def close(self) -> None:
        """Hear of nothing any more."""
        with contextlib.suppress(ValueError):  # somebody else has removed it
            sys.meta_path.remove(self)

    def find_spec(self, *_: object) -> None:
        """Find nothing (importlib.abc.MetaPathFinder)."""
        self._has_more = True
        # The loop of a process that was forked is its parent's.
        if self._is_waiting or os.getpid() != self._process:
            return
        self._is_waiting = True
        waiting = self._wait(time.time())
        try:
            asyncio.run_coroutine_threadsafe(waiting, self._loop)
        except RuntimeError:  # it has been closed
            waiting.close()

    async def _wait(self, since: float) -> None:
        self._has_more = False
        await asyncio.sleep(DELAY)
        self._is_waiting = False
        if self._has_more:  # it may be too early for that
            self.find_spec()
        self._look(since)
