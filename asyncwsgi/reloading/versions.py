"""What is known of one file: when it was written, and what it held then."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import NamedTuple

LARGEST_SIZE = 4 * 1024 * 1024
"""Of larger files only the stamp is known: among the extra files may be any."""

PICTURES = (
    ".png", ".jpg", ".jpeg", ".gif", ".webp", ".avif", ".ico", ".woff", ".woff2", ".ttf", ".otf",
)  # fmt: skip
"""Suffixes of files, of fonts too, that are not read: there may be very many, and none is code."""

Stamp = tuple[int, int, int]
"""Last write, size, inode: editors write over files, or put others in their place."""


class Version(NamedTuple):
    """A file as it was at one look."""

    stamp: Stamp
    digest: bytes | None
    """Of its contents; None if they are not known."""

    def differs(self, other: Version) -> bool:
        """Whether the contents differ, or may."""
        if self.stamp == other.stamp:
            return False
        return None in (self.digest, other.digest) or self.digest != other.digest


def stamp(path: str) -> Stamp | None:
    """What changes when the file `path` is written; None if there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116  for every file once a second: strings suffice
    except OSError:
        return None
    return _stamp(status)


def read(path: str, stamp: Stamp) -> Version:
    """The version of `path` whose stamp was `stamp` a moment ago."""
    is_read = stamp[1] <= LARGEST_SIZE and not path.endswith(PICTURES)
    contents = _contents(path, stamp) if is_read else None
    if contents is None:
        return Version(stamp, None)
    return Version(stamp, hashlib.blake2b(contents, digest_size=16).digest())


def _contents(path: str, stamp: Stamp) -> bytes | None:
    """What `path` held when its stamp was `stamp`; None if that cannot be known any more.

    If the file is being written, its contents may be newer than its stamp. Taken for those of that
    stamp, they would be known before anybody was told of them.
    """
    try:
        with open(path, "rb", buffering=0, opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return None
            contents = file.read(stamp[1])
            is_current = _stamp(os.fstat(file.fileno())) == stamp
    except OSError:
        return None
    return contents if is_current and len(contents) == stamp[1] else None


def _open_at_once(path: str, flags: int) -> int:
    # A pipe, of which there may be some among the extra files, would wait for who writes to it.
    return os.open(path, flags | os.O_NONBLOCK)


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_mtime_ns, status.st_size, status.st_ino
