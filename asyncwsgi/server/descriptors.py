"""How many descriptors this process may have, and how many clients follow from it."""

from __future__ import annotations

import sys

if sys.platform != "win32":
    import resource  # here, because an import opens files

RESERVE = 64
"""Descriptors that a process needs whatever it serves: the loop, listeners, logs, modules that are
imported; half of them for clients that are refused (`MOST_LINGERING` of the registry)."""
RESERVE_FOR_THREAD = 2
"""Descriptors for the work of each: a connection to a database, say, and a file."""


def descriptor_limit() -> int:
    """Most files, sockets among them, that this process may have open; 0 is no limit."""
    if sys.platform == "win32":
        return 0
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 0 if limit == resource.RLIM_INFINITY else limit


def default_max_connections(threads: int) -> int:
    """Most clients that leave the application what it needs to serve them; 0 is no limit.

    Each takes a descriptor. If strangers could take all there are, those who are served would not
    get their answers: the application could open no file and connect to no database. But at least
    half of all are the clients', however many threads there are.
    """
    limit = descriptor_limit()
    return max(limit // 2, limit - RESERVE - RESERVE_FOR_THREAD * threads)
