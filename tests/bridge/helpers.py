"""What the bridge tests share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from importlib.util import find_spec
from typing import TypeVar

from asyncwsgi.config import Loop

LOOPS: list[Loop] = ["asyncio", "uvloop"] if find_spec("uvloop") else ["asyncio"]

T = TypeVar("T")


def in_thread(call: Callable[[], T]) -> Future[T]:
    """Run `call` in a thread of its own."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="test-reader", daemon=True).start()
    return future


def worker_threads() -> set[threading.Thread]:
    """The worker threads of this process that are alive."""
    return {
        thread for thread in threading.enumerate() if thread.name.startswith("asyncwsgi-worker-")
    }
