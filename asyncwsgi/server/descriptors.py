"""How many files, sockets among them, this process may have open; how many clients follow from it."""

from __future__ import annotations

import sys

if sys.platform != "win32":
    import resource  # here, because an import opens files

RESERVE = 32
"""Descriptors for what a process has open anyway: the loop, listeners, logs, modules."""
RESERVE_FOR_THREAD = 2
"""Descriptors for the work of each: a connection to a database, say, and a file."""


def descriptor_limit() -> int:
    """Most descriptors of this process; 0 if the system sets no limit."""
    if sys.platform == "win32":
        return 0
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 0 if limit == resource.RLIM_INFINITY else limit


def default_max_connections(threads: int) -> int:
    """Most clients that leave the application what it needs to serve them; 0 is no limit.

    A client takes a descriptor. If strangers could take all of them, those who are served would not
    get their answers: the application could open no file, and connect to no database. At least half
    of all are the clients', whatever there are of threads.
    """
    limit = descriptor_limit()
    return max(limit // 2, limit - RESERVE - RESERVE_FOR_THREAD * threads)
