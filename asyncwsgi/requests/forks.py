"""What becomes of the child when a view forks.

``os.fork()`` copies the thread that calls it and no other. In the child the worker thread is all
there is, so it is the main thread; the loop is the parent's, and so are the client and the requests
that wait. A view that forks is expected to end the child: by ``os._exit()``, of which nobody hears,
or by ``sys.exit()``. The latter is an exception, and elsewhere the application's exceptions are
answered for and the thread goes on to its next job; here that would leave a process behind which
waits for ever for a job, and holds the listening sockets open.

So wherever the server would go on after what the application raised, it asks whether it still is in
its own process, and ends the child if not. How: Python itself forgets a SystemExit that leaves a
thread, and a child whose last thread ends has status 0, whatever was asked for. But whoever wrote
``sys.exit(3)`` in a child wants the status 3, as it would be if the main thread of a program had
forked; and so it is here. What an interpreter does besides when it ends - ``atexit`` functions,
joining threads - is not done: these were set up by the parent, for things that the parent goes on
using. That is what `multiprocessing` does with its children, for the same reasons.

A child that does not end in the view, but returns a response, would answer its parent's client a
second time if it could. It cannot, since its mailbox raises, and that ends it with a traceback.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import NoReturn

count = 0
"""Forks between the process that imported this and the one that runs it.

To be kept, and compared later. A hook counts, because to ask for the process's number each time
would be a system call for each request.
"""


have_begun = False
"""Whether this process may have children that it has forked, and that hold copies of its sockets.

Not by `subprocess`, whose programs inherit no socket.
"""


def _begin() -> None:
    global have_begun
    have_begun = True


def _count() -> None:
    global count
    count += 1


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(before=_begin, after_in_child=_count)


def end_child(error: BaseException) -> NoReturn:
    """End this process, a child, as a program ends that raises `error` and handles it nowhere."""
    status = 1
    with contextlib.suppress(BaseException):
        if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
            status = error.code or 0
        elif isinstance(error, SystemExit):
            print(error.code, file=sys.stderr)
        else:
            sys.excepthook(type(error), error, error.__traceback__)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):
            stream.flush()
    os._exit(status & 0xFF)
