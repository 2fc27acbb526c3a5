"""``wsgi.file_wrapper`` (PEP 3333, "Optional Platform-Specific File Handling")."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol


class Readable(Protocol):
    """All that PEP 3333 lets the wrapper expect of a file."""

    def read(self, size: int, /) -> bytes: ...


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
