"""Descriptors 0, 1 and 2, for processes that the server owns: the command line and `run`.

A daemon, or a program started with ``2>&-``, may have them closed. The system gives the least free
number to whatever is opened next, so that a socket of the server's would become standard error:
programs that the application starts take it for theirs, libraries in C write their messages to a
client, and libuv, below uvloop, aborts the process, because it takes closing such a number for a
mistake.
"""

from __future__ import annotations

import os


def hold_standard_descriptors() -> None:
    """Open the null device in the place of those that are closed, also for child processes."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The least that is free: those before it are open by now.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
