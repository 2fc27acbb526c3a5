"""Whether requests can be parked here: what that needs, and what it cannot go with."""

from __future__ import annotations

from asyncwsgi.config import Config
from asyncwsgi.coroutines.asgiref_loop import AsgirefLoop
from asyncwsgi.errors import ConfigError
from asyncwsgi.greenlets import patching_library
from asyncwsgi.requests.mailbox import Mailbox
from asyncwsgi.requests.worker_threads import WorkerThreads


def parking_threads(mailbox: Mailbox, config: Config, asgiref_loop: AsgirefLoop) -> WorkerThreads:
    """Worker threads that park requests.

    Raises:
        ConfigError: greenlet is not installed, or keeps no Context for each greenlet (as that of
            PyPy), or threads are greenlets already.
    """
    if library := patching_library():
        raise ConfigError(
            f"park_async_views parks requests in greenlets of real threads, and {library} has "
            "replaced those of this process; turn it off, or do not patch"
        )
    try:
        # PyPy's own module of that name has no such constant.
        from greenlet import GREENLET_USE_CONTEXT_VARS

        from asyncwsgi.requests.parking import ParkingThreads
    except ImportError as error:
        raise ConfigError(
            "park_async_views parks requests in greenlets, and the package greenlet cannot be "
            f"imported ({error}); install it: pip install greenlet (the extra `park` does)"
        ) from error
    if not GREENLET_USE_CONTEXT_VARS:
        raise ConfigError(
            "park_async_views needs a greenlet that keeps a Context for each greenlet, and this "
            "one was built without; install its wheel from PyPI"
        )
    return ParkingThreads(
        mailbox,
        limit=config.threads,
        queue_size=config.queue_size,
        idle_timeout=config.thread_idle_timeout,
        asgiref_loop=asgiref_loop,
        max_parked=config.max_parked,
    )
