"""Owns the listeners and replaces the process that serves them whenever its code changes.

New code is imported beside the old, and takes over when it accepts. Code that cannot be imported
never takes over.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from asyncwsgi.reloading.process import EXIT_TIMEOUT, Child
from asyncwsgi.reloading.sources import Sources
from asyncwsgi.reloading.terminal import Terminal
from asyncwsgi.reloading.watching import Watcher
from asyncwsgi.server.listeners import Listener, open_listeners
from asyncwsgi.server_log import logger

if TYPE_CHECKING:
    from asyncwsgi.config import Config
    from asyncwsgi.reloading.options import Development


LONGEST_LOOP = 5
"""In how many imports in a row the same file may change; the last of them is kept."""


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
    """One child that serves, perhaps one that imports, and old ones that drain.

    Each child is one generation of the code. It begins as the importing one. When it has imported
    it is given leave to serve, and once it accepts clients it is the serving one: that is the
    moment in which its predecessor is told to drain, so that no client finds nobody. For a while
    both may accept on the same listeners. Any number of children may drain, each at its own pace.

    A change supersedes the importing child by another, however far it has come: even one that has
    leave to serve, and perhaps its first clients, is told to drain and never becomes the serving
    one. So reports of a child count only while it is the importing one, and its end calls for
    something only if it is the importing or the serving one.

    Importing may itself write a file that counts, such as one that tells the version. If that is
    another content each time, each import supersedes itself. So a file that has changed in several
    imports in a row supersedes none any more, until one of them serves. Somebody who saves it as
    often and as fast would have to change it once more behind that; the log says what has happened.
    To know what has changed in an import from what has changed behind it, there is a look at its
    end, and one when its lifespan has been entered.

    Args:
        listeners: what the children serve; they stay their owner's.
        sources: what is watched; children add where their code is.
        graceful_timeout: seconds that requests in flight get when a child is stopped.
    """

    def __init__(
        self, listeners: list[Listener], sources: Sources, graceful_timeout: float
    ) -> None:
        self._listeners = listeners
        # By name: when it is deleted and comes back, new code has to be looked for in the new one.
        self._directory = str(Path.cwd())
        self._graceful_timeout = graceful_timeout
        self._terminal = Terminal()
        self._watcher = Watcher(sources, self._reload)
        self._children: dict[Child, asyncio.Task[None]] = {}
        """All of them, with the task that attends to each."""
        self._serving: Child | None = None
        self._importing: Child | None = None
        self._has_served = False
        """Whether any child ever has: before that there is nothing to fall back to."""
        self._loops: Counter[str] = Counter()
        """In how many imports in a row each file has changed."""
        self._signals = 0
        """How many have asked it to stop."""
        self._exit_code = 0
        self._is_over = asyncio.Event()

    async def run(self) -> int:
        """Serve until a signal; the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        try:
            self._start()
            await self._is_over.wait()
        finally:
            self._watcher.close()
        return self._exit_code

    # Signals. A terminal sends SIGINT to its whole foreground group, and children stay in that
    # group, since a debugger in a view could not read from the terminal otherwise. What a signal
    # means is decided here alone: children ignore SIGINT and are told by their channels, at the
    # first signal to drain, at the second to cut. A third kills them: what keeps one alive behind
    # its cut, such as a thread of the application, is nothing to wait for. SIGTERM has a child
    # drain, too, because a service manager may send it to every process of a service; to be told so
    # twice does no harm.

    def _stop(self, number: int) -> None:
        self._signals += 1
        if self._signals > 1:
            self._exit_code = 128 + number
            for child in self._children:
                if self._signals == 2:
                    child.abort()
                else:
                    child.kill()
            return
        self._importing = None
        self._watcher.close()
        for child in self._children:
            child.stop(has_successor=False)
        self._end_if_alone()

    def _reap(self) -> None:
        for child in self._children:  # one signal may stand for several of them
            child.reap()

    def _end_if_alone(self) -> None:
        if not self._children:
            self._is_over.set()

    # Changes.

    def _reload(self, changed: set[str]) -> None:
        if self._signals:
            return
        if self._importing is None:
            self._loops.clear()
        elif not (changed := self._without_loops(changed)):
            return
        logger.info("reloading: %s changed", self._name(min(changed)))
        if self._importing is not None:
            self._importing.stop(has_successor=True)
        self._start()

    def _without_loops(self, changed: set[str]) -> set[str]:
        """Those of the files that have changed during an import that supersede it."""
        self._loops.update(changed)
        for path in sorted(changed):
            if self._loops[path] == LONGEST_LOOP:
                logger.error(
                    "%s has changed in each of %d imports, so importing seems to write it; the "
                    "import that is under way is kept; --exclude-patterns '*/%s' has --reload "
                    "ignore the file",
                    self._name(path),
                    LONGEST_LOOP,
                    Path(path).name,
                )
        return {path for path in changed if self._loops[path] < LONGEST_LOOP}

    def _name(self, path: str) -> str:
        return os.path.relpath(path, self._directory)

    def _start(self) -> None:
        self._importing = None
        try:
            child = Child(self._listeners, self._directory, self._graceful_timeout)
        except OSError as error:  # the limit of processes is reached, or the directory is gone
            logger.error("no new process can be started: %s", error)
            self._go_on_without(f"No new process can be started: {error}.", exit_code=1)
            return
        self._importing = child
        self._children[child] = asyncio.get_running_loop().create_task(self._attend(child))

    async def _attend(self, child: Child) -> None:
        """The life of a child."""
        listening = asyncio.create_task(self._listen(child))
        code = await child.wait()
        # Its last words are there already, unless what it started holds the channel, too.
        await asyncio.wait({listening}, timeout=EXIT_TIMEOUT)
        listening.cancel()
        child.close()
        self._terminal.restore()
        del self._children[child]
        self._ended(child, code)

    async def _listen(self, child: Child) -> None:
        async for event in child.events():
            if child is self._importing:
                await self._watcher.look()
            if child is self._importing and event == "imported":  # still
                child.serve()
            elif event == "imported":  # it handles SIGTERM itself, and was told by nothing else
                child.stop(has_successor=not self._signals)
            elif child is self._importing and event == "serving":
                self._take_over(child)
            elif child is self._serving and event == "found":
                self._watcher.watch(child.roots, child.found_at)

    def _take_over(self, child: Child) -> None:
        old, self._serving, self._importing = self._serving, child, None
        self._has_served = True
        self._loops.clear()
        if old is not None:
            old.stop(has_successor=True)
        self._watcher.watch(child.roots, child.started_at)

    def _ended(self, child: Child, code: int) -> None:
        if self._signals:
            self._end_if_alone()
        elif child is self._importing:
            self._importing = None
            self._give_up(child, code)
        elif child is self._serving:
            self._serving = None
            logger.error("the process that served %s; waiting for a change", _words(code))

    def _give_up(self, child: Child, code: int) -> None:
        """Go on without a child that has ended before it served."""
        if child.traceback is None:
            logger.error("the new process %s before it served", _words(code))
        if self._has_served:
            self._watcher.watch(child.roots, child.started_at)  # the cure may be a change there
        reason = child.traceback or f"The new process {_words(code)}."
        self._go_on_without(reason, exit_code=_exit_code(code))

    def _go_on_without(self, reason: str, *, exit_code: int) -> None:
        """Go on without new code, if any ever served; end otherwise."""
        if not self._has_served:
            self._exit_code = exit_code
            self._is_over.set()
        elif self._serving is None:
            logger.error("the new code does not serve, and no other is left; waiting for a change")
        else:
            logger.error("the new code does not serve; the code from before goes on")
            self._serving.tell_broken(reason)


def _words(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:  # one of the real-time signals, which have no names
        return f"was killed by signal {-code}"


def _exit_code(code: int) -> int:
    # It was to serve: ending without a complaint is one, too.
    return 128 - code if code < 0 else code or 1
