"""Which files are the application's, so that a change of one of them calls for new code."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from asyncwsgi.reloading.links import follow
from asyncwsgi.reloading.patterns import Pattern, Patterns
from asyncwsgi.reloading.versions import Stamp, stamp

SKIPPED_DIRECTORIES = frozenset({
    "__pycache__", ".git", ".hg", ".svn", ".tox", ".nox", ".venv", "node_modules", ".eggs",
    ".cache", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", ".ipynb_checkpoints",
})  # fmt: skip

_SMALL = frozenset({"__pycache__"})
"""Skipped directories that do no harm to a watch: every package has one, with nothing below."""
_SUFFIXES = (".py", ".PY")  # the command line takes either
_ENVIRONMENT_FILE = "pyvenv.cfg"
"""Marks a virtual environment (PEP 405)."""
_PREFIX = os.path.realpath(sys.prefix)
_NOTHING = Patterns((), "/")


def is_below(path: str, directory: str) -> bool:
    """Whether `path` is `directory` or in it."""
    return path == directory or path.startswith(directory.rstrip(os.sep) + os.sep)


def is_directory(path: str | Path) -> bool:
    """Whether `path` is a directory, and may be looked at."""
    return os.path.isdir(path)  # noqa: PTH112  Path.is_dir() raises PermissionError


def forget_bytecode(path: str) -> None:
    """Remove what Python has compiled of a source file that has changed.

    Python knows compiled code as current by the size and the second of its source: a change of the
    same size, soon after an import, would never be seen.
    """
    with contextlib.suppress(OSError):
        Path(importlib.util.cache_from_source(path)).unlink()


@dataclass(frozen=True)
class Places:
    """What the kernel has to be asked about, and what its answers mean."""

    trees: list[str]
    """Directories that are watched with all that is below them."""
    others: list[str]
    """Directories that are watched on their own."""
    links: frozenset[str]
    """Links on the way to what counts."""
    names: Mapping[str, list[str]]
    """Where links lead, with the names of what is there."""

    def names_of(self, path: str) -> Iterator[str]:
        """The names by which one gets to `path`."""
        yield path
        real = path
        while self.names and real != os.sep:
            for name in self.names.get(real, ()):
                yield name + path[len(real) :]
            real = os.path.dirname(real)  # noqa: PTH120


class Unmatched(NamedTuple):
    """What of the arguments of `Sources` means nothing that is there."""

    directories: list[str]
    include: list[str]
    exclude: list[str]


class Sources:
    """The Python files below some directories, the roots, and files that patterns name besides.

    All of them go by their names; see `links`. A path is judged in the order: what is below a
    directory that is skipped does not count, nor what is excluded; code below a root does, and what
    is included, below a root or elsewhere.

    Args:
        directories: the roots; if there are none, those count that are added.
        include: patterns of files that count, though they are no code.
        exclude: patterns of what does not count.
        directory: the working directory, to which all of these are relative.
        page_suffixes: of files that count as code does, but call for no new code (`page_files`).
        files: files that count, whatever they are called and wherever they are.

    Raises:
        ConfigError: a pattern that is none.
    """

    def __init__(
        self,
        directories: Iterable[str] = (),
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        directory: str | None = None,
        files: Iterable[str] = (),
        page_suffixes: tuple[str, ...] = (),
    ) -> None:
        directory = os.path.abspath(directory or "")  # noqa: PTH100
        self.roots = [os.path.normpath(os.path.join(directory, path)) for path in directories]  # noqa: PTH118
        self._page_suffixes = page_suffixes
        self._suffixes = _SUFFIXES + page_suffixes
        self._finds_roots = not self.roots
        self._include = Patterns(include, directory)
        self._exclude = Patterns(exclude, directory)
        # What is included without an anchor is expected where one works, wherever the code is.
        is_wanted = self._include.has_free and self._finds_roots
        self._named = frozenset(os.path.normpath(os.path.join(directory, path)) for path in files)  # noqa: PTH118
        self._others = [*self._include.bases, *([directory] if is_wanted else []), *self._named]
        self.tops = self._find_tops()
        """Where files may count: the roots, and where else some may be included."""

    def add_roots(self, roots: Iterable[str]) -> list[str]:
        """Count the Python files below `roots`, too; those of them that did not count before.

        A root may be a file, which counts though it is called as none of Python.
        """
        new: list[str] = []
        for root in sorted(set(roots)) if self._finds_roots else ():
            known = self.roots + new
            is_odd = not root.endswith(_SUFFIXES) and os.path.isfile(root)  # noqa: PTH113
            if root not in known and (is_odd or not any(_covers(each, root) for each in known)):
                new.append(root)
        # Other lists: threads go through those before.
        self.roots = self.roots + new
        self.tops = self._find_tops()
        return new

    def _find_tops(self) -> list[str]:
        roots = self.roots
        return [*roots, *(o for o in self._others if not any(_covers(root, o) for root in roots))]

    def counts(self, path: str) -> bool:
        """Whether a change of `path` calls for new code, or for pages to be loaded again."""
        return any(_is_open(path, top) and self._counts_below(top, path) for top in self.tops)

    def _counts_below(self, top: str, path: str) -> bool:
        if path in self._named:
            return True
        is_code = (path.endswith(self._suffixes) or path == top) and top in self.roots
        if not is_code and not self._include.match(path, top):
            return False
        return not self._exclude.match(path, top)

    def is_for_pages(self, path: str) -> bool:
        """Whether a file that counts calls for no new code, but for pages to be loaded again."""
        if not path.endswith(self._page_suffixes) or path in self.roots:
            return False
        # What is included calls for new code, whatever it is.
        return not any(is_below(path, t) and self._include.match(path, t) for t in self.tops)

    def has_files_in(self, directory: str) -> bool:
        """Whether `directory` is one, and files in it count, or a directory in it may hold such."""
        matters = any(self._may_count_in(directory, top) for top in self.tops)
        return matters and is_directory(directory)

    def _may_count_in(self, directory: str, top: str) -> bool:
        if is_below(top, directory):
            return True
        file = os.path.join(directory, "file")  # noqa: PTH118  as in `_is_open`
        return _is_open(file, top) and not self._exclude.match(directory, top)

    def unmatched(self) -> Unmatched:
        """What was given and is nothing of what is there now."""
        left = {*self._include.all, *self._exclude.all}
        for top in self.tops if left else ():
            for directory, names, files, skipped in _walk(top):
                for path in _in(directory, (*names, *files, *skipped)):
                    left -= {pattern for pattern in left if pattern.matches(path, top)}
            left -= {pattern for pattern in left if _is_named(pattern, top)}
        return Unmatched(
            [root for root in self.roots if not self._finds_roots and not is_directory(root)],
            [pattern.text for pattern in self._include.all if pattern in left],
            [pattern.text for pattern in self._exclude.all if pattern in left],
        )

    def places(self) -> Places:
        """What has to be watched: directories with all that is below them, and single ones.

        None of the former has a directory in it that is skipped: a virtual environment or the
        packages of Node have thousands, and the kernel would be asked to watch each.
        """
        whole: set[str] = set()
        single: set[str] = set()
        ways = [follow(top) for top in self.tops]
        ways += [follow(path) for path in self._paths() if os.path.islink(path)]  # noqa: PTH114
        names: dict[str, list[str]] = {}
        for way in ways:
            if is_directory(way.real):
                _divide(way.real, self._exclude, whole, single)
            else:
                # A file may be replaced by another one. What is not there may come (back), and
                # with it all the directories down to it.
                single.add(next(str(path) for path in Path(way.real).parents if is_directory(path)))
            single.update(os.path.dirname(link) for link in way.links)  # noqa: PTH120
            if way.links:
                names.setdefault(way.real, []).append(way.name)
        links = frozenset(link for way in ways for link in way.links)
        return Places(*_outermost(whole, single), links, names)

    def stamps(self) -> dict[str, Stamp]:
        """Every file that counts, as it is now."""
        return {path: current for path in self._paths() if (current := stamp(path))}

    def _paths(self) -> Iterator[str]:
        for top in self.tops:
            for path in _files(top, self._exclude):
                if self._counts_below(top, path):
                    yield path


def _is_named(pattern: Pattern, top: str) -> bool:
    """Whether an anchored pattern means `top` itself, or what it is in."""
    return bool(pattern.base) and os.path.exists(top) and pattern.matches(top, top)  # noqa: PTH110


def _covers(known: str, root: str) -> bool:
    """Whether the files below `root` count as some of those below `known`."""
    # What is imported from a directory that is skipped elsewhere counts nevertheless.
    if not _is_open(os.path.join(root, "file"), known):  # noqa: PTH118
        return False
    # So does what is behind a link, since no link to a directory is followed.
    rest = os.path.relpath(root, known)
    return os.path.realpath(root) == os.path.normpath(Path(os.path.realpath(known), rest))


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
    # Not Path.is_file(), which raises PermissionError.
    return os.path.isfile(f"{directory}{os.sep}{_ENVIRONMENT_FILE}")  # noqa: PTH113


def _walk(
    top: str, exclude: Patterns = _NOTHING
) -> Iterator[tuple[str, list[str], list[str], frozenset[str]]]:
    """As `os.walk` without what is skipped or excluded; besides, the names of what is."""
    # As `_is_skipped`, without a look at the disk for each directory: this is done once a second.
    for directory, names, files in os.walk(top):
        if directory != top and (directory == _PREFIX or _ENVIRONMENT_FILE in files):
            names.clear()
            continue
        skipped = SKIPPED_DIRECTORIES.intersection(names)
        if exclude.all:
            skipped |= {
                name for name, path in zip(names, _in(directory, names), strict=True)
                if exclude.match(path, top)
            }  # fmt: skip
        names[:] = [name for name in names if name not in skipped]
        yield directory, names, files, skipped


def _files(top: str, exclude: Patterns) -> Iterator[str]:
    if not is_directory(top):
        yield top
    for directory, _, files, _ in _walk(top, exclude):
        yield from _in(directory, files)


def _in(directory: str, names: Iterable[str]) -> Iterator[str]:
    return (f"{directory.rstrip(os.sep)}{os.sep}{name}" for name in names)


def _divide(top: str, exclude: Patterns, whole: set[str], single: set[str]) -> None:
    """Add each directory of `top` to those that are watched with all below them, or on their own.

    Links to directories are not followed, so their directories are single ones.
    """
    for directory, names, _, skipped in reversed(list(_walk(top, exclude))):
        below = set(_in(directory, names))
        if skipped <= _SMALL and below <= whole:
            whole -= below
            whole.add(directory)
        else:
            single.add(directory)


def _outermost(whole: set[str], single: set[str]) -> tuple[list[str], list[str]]:
    """Without those that are below one of `whole`, since each change is to be heard of once."""
    trees: list[str] = []
    others: list[str] = []
    # With a separator at their ends, directories stand right behind the one they are below.
    for directory in sorted(whole | single, key=lambda path: path.rstrip(os.sep) + os.sep):
        if trees and is_below(directory, trees[-1]):
            continue
        (trees if directory in whole else others).append(directory)
    return trees, others
