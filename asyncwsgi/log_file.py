"""A file that lines are appended to, opened anew when it was rotated.

Programs such as logrotate rename a file and expect that a new one is made in its place. So before
each write it is looked whether the file of that name is still the one that is open, as
`logging.handlers.WatchedFileHandler` does. What cannot be opened anew, because its directory is
gone or is closed, is no reason to lose a line: it goes where those before it went.

Several processes may append to the same file: O_APPEND has each write go to its end.
"""

from __future__ import annotations

import contextlib
import io
import os
from typing import TYPE_CHECKING

from asyncwsgi.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

MODE = 0o640
"""Of a file that is made: lines name clients and what they ask for."""
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)


class AppendedFile(io.RawIOBase):
    """The file at `path`, whichever that is.

    Raises:
        OSError: it cannot be opened, or is a directory.
    """

    def __init__(self, path: str) -> None:
        self._path = os.path.abspath(path)  # noqa: PTH100  the process may change its directory
        self._descriptor = os.open(self._path, _FLAGS, MODE)
        self._file = _identity(os.fstat(self._descriptor))

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data: ReadableBuffer, /) -> int:
        self._follow()
        return os.write(self._descriptor, data)

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()

    def _follow(self) -> None:
        """Open the file of this name, if it is another one than that which is open."""
        with contextlib.suppress(OSError):
            if _identity(os.stat(self._path)) == self._file:  # noqa: PTH116  for each write
                return
        with contextlib.suppress(OSError):
            descriptor = os.open(self._path, _FLAGS, MODE)
            os.close(self._descriptor)
            self._descriptor = descriptor
            self._file = _identity(os.fstat(descriptor))


def open_log_file(path: str, option: str) -> io.TextIOWrapper:
    """The file at `path` as a stream of text.

    Raises:
        ConfigError: it cannot be opened; `option` is the name of the option that gives it.
    """
    try:
        # Whose buffer stays empty: its stream writes through it.
        file = io.BufferedWriter(AppendedFile(path))
    except OSError as error:
        raise ConfigError(
            f"{option}: {path} cannot be opened: {error.strerror}; give a file that this user may "
            "write, in a directory that is there"
        ) from None
    return io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", write_through=True)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
