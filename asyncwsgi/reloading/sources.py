"""Which files are the application's, so that a change of one of them calls for new code."""

from __future__ import annotations

import fnmatch
import itertools
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

SKIPPED_DIRECTORIES = frozenset({
    "__pycache__", ".git", ".hg", ".svn", ".tox", ".nox", ".venv", "node_modules", ".eggs",
    ".cache", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", ".ipynb_checkpoints",
})  # fmt: skip

_ENVIRONMENT_FILE = "pyvenv.cfg"
"""Marks a virtual environment (PEP 405)."""
_PREFIX = os.path.realpath(sys.prefix)

Stamp = tuple[int, int, int]
"""Last write, size, inode: editors write over files, or put others in their place."""


def source_roots() -> list[str]:
    """The directories from which this process imports what is not installed.

    The first entry of the path is the application's own, wherever it is; other directories do not
    count if they belong to the interpreter or to its virtual environment.
    """
    entries = [path or str(Path.cwd()) for path in sys.path]
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    entries += [str(Path(file).parent) for file in files if isinstance(file, str)]
    found = {os.path.realpath(path) for path in entries if Path(path).is_dir()}
    roots = {path for path in found if not _is_installed(path)}
    return sorted(roots | {path for path in found if path == os.path.realpath(entries[0])})


def is_below(path: str, directory: str) -> bool:
    """Whether `path` is `directory` or in it."""
    return path == directory or path.startswith(directory.rstrip(os.sep) + os.sep)


def _is_installed(path: str) -> bool:
    prefixes = (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix)
    return any(is_below(path, os.path.realpath(prefix)) for prefix in prefixes)


class Sources:
    """The Python files below some directories, and files that were named besides.

    Args:
        extra_files: files, and directories of which every file counts.
        exclude_patterns: `fnmatch` patterns of whole paths that do not count.
    """

    def __init__(
        self, extra_files: Iterable[str] = (), exclude_patterns: Iterable[str] = ()
    ) -> None:
        self.roots: list[str] = []
        self.extra_files = [os.path.realpath(path) for path in extra_files]
        self._exclude_patterns = tuple(exclude_patterns)

    def add_roots(self, roots: Iterable[str]) -> list[str]:
        """Count the Python files below `roots`, too; those of them that are below no other."""
        outermost = []
        for root in sorted(set(roots)):
            if not any(is_below(root, known) for known in self.roots):
                outermost.append(root)
            # What is imported from a directory that is skipped elsewhere counts nevertheless.
            if not any(_is_open(str(Path(root, "file")), known) for known in self.roots):
                self.roots.append(root)
        return outermost

    def counts(self, path: str) -> bool:
        """Whether a change of `path` calls for new code."""
        if self._is_excluded(path):
            return False
        is_extra = any(is_below(path, e) and _is_open(path, e) for e in self.extra_files)
        return is_extra or (path.endswith(".py") and any(_is_open(path, r) for r in self.roots))

    def stamps(self) -> dict[str, Stamp]:
        """Every file that counts, with what changes when it is written."""
        code = (path for root in self.roots for path in _files(root) if path.endswith(".py"))
        extra = (path for top in self.extra_files for path in _files(top))
        found = {}
        for path in itertools.chain(code, extra):
            if not self._is_excluded(path) and (stamp := _stamp(path)):
                found[path] = stamp
        return found

    def _is_excluded(self, path: str) -> bool:
        return any(fnmatch.fnmatch(path, pattern) for pattern in self._exclude_patterns)


def _is_open(path: str, top: str) -> bool:
    """Whether `path` is below `top` and no directory between them is skipped."""
    if not is_below(path, top):
        return False
    directory = os.path.dirname(path)  # noqa: PTH120  called for every event; strings suffice
    while is_below(directory, top) and directory != top:
        if _is_skipped(directory):
            return False
        directory = os.path.dirname(directory)  # noqa: PTH120
    return True


def _is_skipped(directory: str) -> bool:
    name = directory.rpartition(os.sep)[2]
    if name in SKIPPED_DIRECTORIES or directory == _PREFIX:
        return True
    return Path(directory, _ENVIRONMENT_FILE).is_file()


def _files(top: str) -> Iterator[str]:
    if not Path(top).is_dir():
        yield top
    # As `_is_skipped`, without a look at the disk for each directory: this is done once a second.
    for directory, names, files in os.walk(top):
        if directory != top and (directory == _PREFIX or _ENVIRONMENT_FILE in files):
            names.clear()
            continue
        names[:] = [name for name in names if name not in SKIPPED_DIRECTORIES]
        yield from (f"{directory.rstrip(os.sep)}{os.sep}{name}" for name in files)


def _stamp(path: str) -> Stamp | None:
    try:
        status = os.stat(path)  # noqa: PTH116  for every file once a second: strings suffice
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
