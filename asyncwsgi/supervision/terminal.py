"""The settings of the terminal, restored when a child has left it changed."""

from __future__ import annotations

import contextlib
import os
import signal
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
        # Who has SIGHUP ignored (nohup) wants what it starts to outlive the terminal.
        is_nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        self._ends_with_own = not is_nohup and _has_controlling_terminal()

    def has_hung_up(self) -> bool:
        """Whether the terminal that it had is gone, which is what SIGHUP says otherwise."""
        return self._ends_with_own and not _has_controlling_terminal()

    def restore(self) -> None:
        """Undo what was changed since."""
        import termios  # where there is none, neither is there a reloader: see `Development`

        if self._settings is None or _settings() in (None, self._settings):
            return
        with contextlib.suppress(termios.error):  # it was closed this moment
            termios.tcsetattr(STANDARD_INPUT, termios.TCSANOW, self._settings)


def _has_controlling_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _settings() -> list[Any] | None:
    """The settings of the terminal in whose foreground this process is; None if in none."""
    import termios

    try:
        if os.tcgetpgrp(STANDARD_INPUT) == os.getpgrp():
            return termios.tcgetattr(STANDARD_INPUT)
    except (OSError, termios.error):
        pass  # no terminal, not that of this session, or no more
    return None
