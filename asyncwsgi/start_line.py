"""What a process of the command line's says once, when the application is served."""

from __future__ import annotations

import asyncio

from asyncwsgi.config import Config
from asyncwsgi.server_log import logger
from asyncwsgi.version import __version__
from asyncwsgi.words import counted


def say_start(
    app: str, config: Config, listening_on: str, *, loop: str, workers: int | None = None
) -> None:
    """Log it.

    Args:
        app: the application, as it was named.
        config: its server's, or that of each worker.
        listening_on: where, in the words of `asyncwsgi.server.urls`.
        loop: the kind of event loop that serves (see `name_of_loop`).
        workers: how many processes serve; None if it was not said.
    """
    parts = [loop]
    if workers is not None:
        parts.insert(0, counted(workers, "worker"))
    if config.executor is None:
        parts.append(counted(config.threads, "thread") + (" each" if workers is not None else ""))
    logger.info(
        "asyncwsgi %s serves %s (%s; Ctrl+C to stop), %s",
        __version__,
        app,
        ", ".join(parts),
        listening_on,
    )


def name_of_loop() -> str:
    """The kind of the loop that runs here."""
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]
