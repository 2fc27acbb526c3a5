"""Owns the listeners and replaces the process that serves them whenever its code changes.

New code is imported beside the old, and takes over when it accepts. Code that cannot be imported
never takes over.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from typing import TYPE_CHECKING

from asyncwsgi.reloading.process import EXIT_TIMEOUT, Child
from asyncwsgi.reloading.sources import Sources
from asyncwsgi.reloading.watching import Watcher
from asyncwsgi.server.listeners import Listener, open_listeners

if TYPE_CHECKING:
    from asyncwsgi.config import Config
    from asyncwsgi.reloading.options import Development

logger = logging.getLogger("asyncwsgi.server")


def supervise(config: Config, development: Development) -> int:
    """Serve, and reload on changes, until SIGINT or SIGTERM; a second signal cuts.

    Returns:
        The exit code: as `asyncwsgi.run`, or that of the first child if it could not serve.

    Raises:
        BindError: an address cannot be had.
        ConfigError: a ``bind`` that is none of the known forms.
    """
    listeners = open_listeners(config)
    sources = Sources(development.extra_files, development.exclude_patterns)
    try:
        # Not the loop of the option: that is for serving, and this one must know child processes.
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            return runner.run(Supervisor(listeners, sources, config.graceful_timeout).run())
    finally:
        for listener in listeners:
            listener.close()


class Supervisor:
    """One process that serves, perhaps one that is being imported, and old ones that drain.

    Args:
        listeners: what the children serve; they stay their owner's.
        sources: what is watched; children add where their code is.
        graceful_timeout: seconds that requests in flight get when a child is stopped.
    """

    def __init__(
        self, listeners: list[Listener], sources: Sources, graceful_timeout: float
    ) -> None:
        self._sockets = [listener.sock for listener in listeners]
        self._graceful_timeout = graceful_timeout
        self._watcher = Watcher(sources, self._reload)
        self._children: dict[Child, asyncio.Task[None]] = {}
        self._serving: Child | None = None
        self._importing: Child | None = None
        self._has_served = False
        self._is_stopping = False
        self._exit_code = 0
        self._is_over = asyncio.Event()

    async def run(self) -> int:
        """Serve until a signal; the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop, number)
        try:
            self._start()
            await self._is_over.wait()
        finally:
            self._watcher.close()
        return self._exit_code

    # Signals.

    def _stop(self, number: int) -> None:
        if self._is_stopping:
            self._exit_code = 128 + number
            for child in self._children:
                child.abort()
            return
        self._is_stopping = True
        self._watcher.close()
        for child in self._children:
            child.stop(has_successor=False)
        self._end_if_alone()

    def _end_if_alone(self) -> None:
        if not self._children:
            self._is_over.set()

    # Changes.

    def _reload(self, path: str) -> None:
        if self._is_stopping:
            return
        logger.info("reloading: %s changed", os.path.relpath(path))
        if self._importing is not None:
            self._importing.stop(has_successor=True)
        self._start()

    def _start(self) -> None:
        child = Child(self._graceful_timeout)
        self._importing = child
        self._children[child] = asyncio.get_running_loop().create_task(self._attend(child))

    async def _attend(self, child: Child) -> None:
        """The life of a child."""
        code = 1
        try:
            await child.start(self._sockets)
            listening = asyncio.create_task(self._listen(child))
            code = await child.wait()
            # Its last words are there already, unless what it started holds the channel, too.
            await asyncio.wait({listening}, timeout=EXIT_TIMEOUT)
            listening.cancel()
        except OSError as error:
            logger.error("no new process can be started: %s", error)
        finally:
            child.close()
            del self._children[child]
        self._ended(child, code)

    async def _listen(self, child: Child) -> None:
        async for event in child.events():
            if child is self._importing and event == "imported":
                child.serve()
            elif child is self._importing and event == "serving":
                self._take_over(child)

    def _take_over(self, child: Child) -> None:
        old, self._serving, self._importing = self._serving, child, None
        self._has_served = True
        if old is not None:
            old.stop(has_successor=True)
        self._watcher.watch(child.roots, child.started_at)

    def _ended(self, child: Child, code: int) -> None:
        if self._is_stopping:
            self._end_if_alone()
        elif child is self._importing:
            self._importing = None
            self._give_up(child, code)
        elif child is self._serving:
            self._serving = None
            logger.error("the process that served %s; waiting for a change", _words(code))

    def _give_up(self, child: Child, code: int) -> None:
        """Go on without a child that could not serve."""
        if child.traceback is None:
            logger.error("the new process %s before it served", _words(code))
        if not self._has_served:
            # It has said why, if it could; nothing else is left to be served.
            self._exit_code = _exit_code(code)
            self._is_over.set()
            return
        self._watcher.watch(child.roots, child.started_at)
        if self._serving is None:
            logger.error("the new code does not serve, and no other is left; waiting for a change")
            return
        logger.error("the new code does not serve; the code from before goes on")
        self._serving.tell_broken(child.traceback or f"The new process {_words(code)}.")


def _words(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    return f"was killed by {signal.Signals(-code).name}"


def _exit_code(code: int) -> int:
    # It was to serve: ending without a complaint is one, too.
    return 128 - code if code < 0 else code or 1
