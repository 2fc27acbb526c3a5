"""Glob patterns of paths: which files ``--reload-include`` and ``--reload-exclude`` mean.

In a part of a path ``*`` stands for any characters, ``?`` for one and ``[...]`` for one of several;
a part that is ``**`` stands for any number of parts, none among them. A pattern that begins with a
slash, ``./`` or ``../`` is anchored: it is compared with a whole path, from the working directory
on. Any other is compared with the end of a path, as are those of `pathlib.PurePath.match` and of
uvicorn: ``*.toml``, ``*/migrations/*``. What matches a directory means all that is in it.

Pure: no disk is looked at.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from asyncwsgi.errors import ConfigError

_ANCHORS = ("/", "./", "../")
_PART = re.compile(r"\[!?\]?[^]]*\]|.", re.DOTALL)


class Patterns:
    """Some patterns.

    Args:
        patterns: as they were given.
        directory: the working directory.

    Raises:
        ConfigError: one of them is no pattern.
    """

    def __init__(self, patterns: Iterable[str], directory: str) -> None:
        self.all = tuple(Pattern(text, directory) for text in patterns)
        self.bases = [pattern.base for pattern in self.all if pattern.base]
        """Paths, without a wildcard in them, below which alone anchored ones mean something."""
        self.has_free = len(self.bases) < len(self.all)
        """Whether some are not anchored, and mean files wherever one looks."""

    def match(self, path: str, top: str) -> bool:
        """Whether one of them means `path`; see `Pattern.matches`."""
        return any(pattern.matches(path, top) for pattern in self.all)


class Pattern:
    """One of them."""

    def __init__(self, text: str, directory: str) -> None:
        self.text = text
        self.base = ""
        """If it is anchored: the path below which it means something, or that it names."""
        given = text.rstrip("/") or "/"
        if is_anchored := given.startswith(_ANCHORS) or given in (".", ".."):
            # Not os.path.join() alone: normpath() takes away what leads nowhere, as in `./a/../b`.
            given = os.path.normpath(os.path.join(directory, given))  # noqa: PTH118
            self.base = _without_wildcards(given)
        self._is_anchored = is_anchored
        try:
            self._regex = re.compile(_translated(given) + "(?:/.*)?" * is_anchored, re.DOTALL)
        except re.error as error:
            raise ConfigError(
                f"{text!r} is no pattern of paths: {error.msg}; expected one such as '*.toml', "
                "'templates/**' or './site[0-9].cfg'"
            ) from None

    def matches(self, path: str, top: str) -> bool:
        """Whether it means `path`, which is a file or a directory below `top`.

        Directories are looked at up to `top` alone: that a project is below ``/tmp`` does not make
        all of it match ``tmp``.
        """
        if self._is_anchored:
            return self._regex.fullmatch(path) is not None
        while len(path) > len(top):
            if self._regex.fullmatch(path):
                return True
            path = path.rpartition("/")[0]
        return False


def _without_wildcards(path: str) -> str:
    """The beginning of `path` up to the first part with a wildcard."""
    parts = path.split("/")
    plain = next((n for n, part in enumerate(parts) if re.search(r"[*?[]", part)), len(parts))
    return "/".join(parts[:plain]) or "/"


def _translated(pattern: str) -> str:
    """The regular expression of whole paths that end as `pattern` says."""
    *directories, last = pattern.split("/")
    regex = "".join(_ANY if part == "**" else f"{_of_part(part)}/" for part in directories)
    beginning = "" if pattern.startswith("/") else _ANY
    return f"{beginning}{regex}{_of_part(last)}"


_ANY = "(?:.*/)?"
"""Any number of directories."""


def _of_part(part: str) -> str:
    return "".join(_of_character(match[0]) for match in _PART.finditer(part))


def _of_character(character: str) -> str:
    if character == "*":
        return "[^/]*"
    if character == "?":
        return "[^/]"
    if len(character) == 1:
        return re.escape(character)
    is_negated = character[1] == "!"
    some = character[1 + is_negated : -1].replace("\\", r"\\").replace("[", r"\[")
    some = some.replace("]", r"\]").replace("^", r"\^")
    return f"[{'^/' * is_negated}{some}]"
