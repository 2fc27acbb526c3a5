"""Descriptors 0, 1 and 2, for processes that the server owns: the command line and `run`.

A daemon, or a program started with ``2>&-``, may have them closed. The system gives the least free
number to whatever is opened next, so that a socket of the server's would become standard error:
programs that the application starts take it for theirs, libraries in C write their messages to a
client, and libuv, below uvloop, aborts the process, because it takes closing such a number for a
mistake.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Container


def hold_standard_descriptors() -> None:
    """Open the null device in the place of those that are closed, also for child processes."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The least that is free: those before it are open by now.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def free_writers(descriptor: int) -> None:
    """Have the null device take whatever threads are waiting to write to `descriptor`.

    For the end of a process. A thread that waits in a `print` to a pipe which nobody reads has the
    lock of the stream, and perhaps that of a handler of the application's log. The interpreter
    takes both before it ends, and would wait for ever, or abort. Such a thread is freed in two
    steps. The descriptor is made to mean the null device, which changes nothing for others that
    have the pipe. Then a signal interrupts the write, which Python repeats (PEP 475), by the number
    of the descriptor.
    """
    if not hasattr(signal, "pthread_kill"):  # Windows, where the first step would wait as well
        return
    same = {descriptor}
    for number in (1, 2):  # after 2>&1, a `print` to either waits for the same pipe
        with contextlib.suppress(OSError):
            if os.path.sameopenfile(number, descriptor):
                same.add(number)
    null = os.open(os.devnull, os.O_WRONLY)
    for number in same:
        os.dup2(null, number)
    os.close(null)
    with contextlib.suppress(ValueError):  # not the main thread
        # With a handler, since what is ignored interrupts nobody. SIGURG means nothing to programs.
        signal.signal(signal.SIGURG, lambda *_: None)
        threads = sys._current_frames().keys() - {threading.get_ident()}
        for thread in threads:
            signal.pthread_kill(thread, signal.SIGURG)
        for _ in threads:  # as many may wait for a lock, one behind the other
            _wait_for_locks(same)


def _wait_for_locks(descriptors: Container[int]) -> None:
    # Those who were interrupted have to come round to it: threads are stopped for good when the
    # interpreter ends, and it aborts the process if one of them has the lock of a stream then.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # None, or without a file
            if stream.fileno() in descriptors:
                stream.flush()
    time.sleep(0.001)
