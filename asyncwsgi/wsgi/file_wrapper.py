"""``wsgi.file_wrapper`` (PEP 3333, "Optional Platform-Specific File Handling").

PEP 3333 lets a server send a wrapped file by other means than its blocks, if that makes no
difference to the client. Here the kernel may send it (``sendfile``), and then a file is a
`FilePart`: what the descriptor holds from where the file stands. That the two are the same is only
known of files as `open` makes them. The descriptor of others may hold something else than ``read``
returns, as that of a gzip file does; and whoever has replaced the ``read`` of a file, to show how
far it has come, wants it called.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from typing import Any, Protocol


class Readable(Protocol):
    """All that PEP 3333 lets the wrapper expect of a file."""

    def read(self, size: int, /) -> bytes: ...


open_parts: set[FilePart] = set()
"""Those whose descriptors are open, of all servers: the process has the descriptors."""


class FilePart:
    """A part of a regular file, by a descriptor of its own: the application may close its file.

    Args:
        descriptor: of the file.
        offset: where the part begins.
        size: bytes that it has.

    Raises:
        OSError: the process has no descriptor left.
    """

    __slots__ = ("descriptor", "offset", "sent_size", "size")

    def __init__(self, descriptor: int, offset: int, size: int) -> None:
        self.descriptor = os.dup(descriptor)
        self.offset = offset
        self.size = size
        self.sent_size = 0
        """Bytes of it that were sent; kept by whoever sends."""
        open_parts.add(self)

    def close(self) -> None:
        """Give the descriptor back; once."""
        os.close(self.descriptor)
        open_parts.discard(self)


class FileWrapper:
    """Iterates over a file in blocks, from where it stands to its end.

    It has ``close``, ``seek``, ``tell``, ``seekable`` exactly if the file has: PEP 3333 demands the
    first, and Werkzeug's range responses look for the others.
    """

    _PASSED_ON = frozenset({"close", "seek", "tell", "seekable"})

    def __init__(self, file: Readable, block_size: int = 64 * 1024) -> None:
        self.file = file
        self.block_size = block_size

    def __getattr__(self, name: str) -> Any:
        if name in self._PASSED_ON:
            return getattr(self.file, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    # Its own iterator: Werkzeug seeks in what iter() gives it.
    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        block = self.file.read(self.block_size)
        if not block:
            raise StopIteration
        return block

    def remaining_size(self) -> int:
        """Bytes from where the file stands to its end; 0 if only reading it tells."""
        descriptor = self._descriptor()
        if descriptor is None:
            return 0
        status = os.fstat(descriptor)
        # Of other kinds, and of what lies in /proc, the size says nothing.
        return status.st_size - self.tell() if stat.S_ISREG(status.st_mode) else 0

    def part(self, size: int) -> FilePart | None:
        """The next `size` bytes of a file whose size is known; None if no descriptor is left."""
        descriptor = self._descriptor()
        assert descriptor is not None, "its size is known"
        try:
            return FilePart(descriptor, self.tell(), size)
        except OSError:
            return None

    def skip(self, size: int) -> None:
        """Go on `size` bytes further."""
        self.seek(size, os.SEEK_CUR)

    def _descriptor(self) -> int | None:
        file: Any = self.file
        raw = file.raw if type(file) is io.BufferedReader else file
        if type(raw) is not io.FileIO or raw.closed or not raw.readable() or "read" in vars(file):
            return None
        return raw.fileno()
