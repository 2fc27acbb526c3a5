"""The settings of the terminal, restored when a child has left it changed."""

from __future__ import annotations

import contextlib
import os
from typing import Any

STANDARD_INPUT = 0


class Terminal:
    """The terminal at standard input, if there is one, with the settings that it has now.

    A child that ends inside `breakpoint()`, by Ctrl+C or since a reload gave it no more time,
    leaves the terminal as the debugger's line editor needs it: without an echo, and key by key.
    The user of the shell would then see nothing of what is typed.

    Settings are read and written in the foreground of the terminal only. In the background they
    are those of somebody else, such as the line editor of the shell, and who writes them is
    stopped by SIGTTOU (POSIX, tcsetattr).
    """

    def __init__(self) -> None:
        self._settings = _settings()

    def restore(self) -> None:
        """Undo what was changed since."""
        import termios  # where there is none, neither is there a reloader: see `Development`

        if self._settings is None or _settings() in (None, self._settings):
            return
        with contextlib.suppress(termios.error):  # it was closed this moment
            termios.tcsetattr(STANDARD_INPUT, termios.TCSANOW, self._settings)


def _settings() -> list[Any] | None:
    """The settings of the terminal in whose foreground this process is; None if in none."""
    import termios

    try:
        if os.tcgetpgrp(STANDARD_INPUT) == os.getpgrp():
            return termios.tcgetattr(STANDARD_INPUT)
    except (OSError, termios.error):
        pass  # no terminal, not that of this session, or no more
    return None
