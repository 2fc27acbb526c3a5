"""Whether gevent or eventlet has put greenlets in the place of threads, and what follows from it.

Both replace Python's functions where they stand ("monkey patching"): all of them, or some. All
greenlets share one thread of the system, so that whoever waits has to wait in the library's way.
What waits in C, such as the loop of libuv or a `queue.SimpleQueue` of Python's own, stops everyone.
It is the other way round where sockets were replaced and threads were not: gevent's `SimpleQueue`
wakes greenlets of its own thread, and no other thread.

What was replaced tells where it comes from; nothing is imported for it here, and nothing is asked
before it is needed: an application may patch the process when it is imported.
"""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable
from importlib.machinery import BuiltinImporter
from importlib.util import module_from_spec
from typing import Any

try:
    from _queue import SimpleQueue  # `queue.SimpleQueue` before anyone replaces it
except ImportError:
    from queue import SimpleQueue

__all__ = [
    "LIBRARIES",
    "SimpleQueue",
    "patching_library",
    "start_system_thread",
    "thread_queue",
]

LIBRARIES = ("gevent", "eventlet")


def patching_library() -> str | None:
    """Which library has replaced threads or sockets; None if none has."""
    for replaced in (threading.get_ident, socket.socket):
        home = _home(replaced)
        if home in LIBRARIES:
            return home
    return None


def thread_queue() -> SimpleQueue[Any] | queue.Queue[Any]:
    """A queue at which threads can wait, whatever they are."""
    if _home(threading.get_ident) in LIBRARIES:
        return queue.Queue()  # made of locks, which are replaced with threads
    return SimpleQueue()


def start_system_thread(function: Callable[[], object]) -> None:
    """Start a thread of the system: what waits there in C stops no greenlet.

    Greenlets have replaced the functions of the module that starts threads; a second copy of it,
    which Python makes as for a further interpreter, has its own. Nothing waits for it at the end.

    Raises:
        RuntimeError: there can be no more threads.
    """
    spec = BuiltinImporter.find_spec("_thread")
    assert spec is not None
    module = module_from_spec(spec)
    BuiltinImporter.exec_module(module)
    module.start_new_thread(function, ())


def _home(thing: Any) -> str:
    return str(getattr(thing, "__module__", "")).partition(".")[0]
