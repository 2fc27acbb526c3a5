"""Owns the listeners, and sees to it that as many processes serve them as shall, with new code.

New code is imported beside the old, and takes over when it accepts. Code that cannot be imported
never takes over.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from asyncwsgi.app_loading import directory_of
from asyncwsgi.clock import clock
from asyncwsgi.development.report import Report, report_of_text
from asyncwsgi.log_setup import flush_log
from asyncwsgi.reloading.page_files import PAGE_SUFFIXES, STYLESHEET_SUFFIX
from asyncwsgi.reloading.reloader import Reloader
from asyncwsgi.reloading.sources import Sources
from asyncwsgi.server.listeners import Listener, open_listeners
from asyncwsgi.server.ticker import Ticker
from asyncwsgi.server.tls import prepared
from asyncwsgi.server.urls import listening_on, schemes_of
from asyncwsgi.server_log import logger
from asyncwsgi.service_manager import ServiceManager
from asyncwsgi.start_line import say_start
from asyncwsgi.supervision.generations import Generations
from asyncwsgi.supervision.identity import Identity
from asyncwsgi.supervision.metrics import WorkerMetrics
from asyncwsgi.supervision.process import EXIT_TIMEOUT, Child, start_child
from asyncwsgi.supervision.service import Service
from asyncwsgi.supervision.sharing import SharedListeners, close_all, open_shared
from asyncwsgi.supervision.stand_in import StandIn
from asyncwsgi.supervision.terminal import Terminal
from asyncwsgi.words import counted

if TYPE_CHECKING:
    from asyncwsgi.inspection.inspector import Inspector

SHORTEST_LIFE = 1.0
"""Seconds that a worker has to serve; one that has ended earlier is not replaced at once."""
SHORTEST_PAUSE = 0.5
"""Seconds until a worker is started behind one that has failed; each further failure doubles it."""
LONGEST_PAUSE = 30.0
MOST_FAILURES = 5
"""Workers in a row that may fail to start while none serves."""
ANSWER_TIMEOUT = 1.0
"""Seconds that a worker gets to say what it does."""
LONGEST_LOOK = 1.0
"""Seconds between looks at workers that may hang; fewer if `worker_timeout` is short."""

NEWS = ("stats", "state", "inspected", "inspected-dropped", "inspected-now")
"""Events of a child that call for nothing but to be kept, or shown."""


def supervise(service: Service, identity: Identity | None = None) -> int:
    """Serve by children until SIGINT or SIGTERM; a second signal cuts.

    Args:
        service: what they serve.
        identity: as whom; None is as whom this process runs.

    Returns:
        The exit code: as `asyncwsgi.run`, or that of the first child if it could not serve.

    Raises:
        BindError: an address cannot be had.
        ConfigError: a ``bind`` that is none of the known forms, or an option that cannot be written
            as text.
    """
    # What cannot be told to a child, and what a child could not be asked, is an error of the start.
    service.as_json()
    service = dataclasses.replace(service, config=prepared(service.config))
    listeners = open_listeners(service.config)
    copies: list[list[Listener]] = []
    try:
        if identity is not None:
            identity.own(listeners)
        workers = service.processes.worker_count or 1
        copies = open_shared(listeners, workers, service.config.backlog)
        shared = SharedListeners.of(listeners, copies)
        # Not the loop of the option: that is for serving, and this one must know child processes.
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            return runner.run(Supervisor(service, shared, identity).run())
    finally:
        close_all([listeners, *copies])


class Supervisor:
    """Children that serve, one or several that import, and old ones that drain.

    Each child begins as an importing one. When it has imported it is given leave to serve, and once
    it accepts clients it is a serving one: that is the moment in which another, whose place it
    takes, is told to drain, so that no client finds nobody. For a while both may accept on the same
    listeners. Any number of children may drain, each at its own pace. `Generations` says whose
    place is taken, and who is missing.

    A change of the code, or a signal, begins a new generation. It supersedes children that import,
    however far they have come: even one that has leave to serve, and perhaps its first clients, is
    told to drain and never becomes a serving one. So reports of a child count only while it is an
    importing one, and its end calls for something only if it is an importing or a serving one.

    What becomes of a child that has ended depends on who may make it better. Where `workers` are
    wanted, another one is started, the later the more have failed; it ends all if none can be had.
    Where a reloader alone asks for a child, what has failed waits for a change of the code. So does
    what a reloader watches from the start on, if its first import fails. While nobody serves and a
    change is waited for, clients are answered here (see `stand_in`).

    Args:
        service: what the children serve.
        listeners: where; they are closed when it ends, and the rest is their owner's.
        identity: as whom the children run; None is as whom this process runs.
    """

    def __init__(
        self, service: Service, listeners: SharedListeners, identity: Identity | None = None
    ) -> None:
        self._service = service
        self._identity = identity
        self._listeners = listeners
        has_tls = service.config.has_tls
        self._listening_on = listening_on(schemes_of(listeners.listeners, has_tls=has_tls))
        # By name: when it is deleted and comes back, new code has to be looked for in the new one.
        self._directory = str(Path.cwd())
        self._source = directory_of(service.app, service.app_dir)
        """Where the application is, if no child could say."""
        self._terminal = Terminal()
        self._reloader = _reloader(
            service, self._directory, self._code_changed, self._page_files_changed
        )
        self._has_workers = service.processes.worker_count is not None
        self._manager = ServiceManager()
        self._metrics = self._make_metrics()
        self._inspector = self._make_inspector()
        self._children: dict[Child, asyncio.Task[None]] = {}
        """All of them, with the task that attends to each."""
        self._generations = Generations[Child](service.processes.worker_count or 1)
        self._code = 0
        """The newest code. Grows also from one supervisor to the next, which pages may outlive."""
        self._file_changes = 0
        """How often templates and static files have changed."""
        self._has_served = False
        """Whether any child ever has: before that there is nothing to fall back to."""
        self._forker: Child | None = None
        """The child of the newest generation that forks the others, if there shall be one."""
        self._forker_before: Child | None = None
        """That of the generation before, until the newest has served."""
        self._waits_for_change = False
        """Whether nothing is to be started before the code changes."""
        self._why_nobody_serves = report_of_text("")
        self._stand_in: StandIn | None = None
        if service.development.reload:
            self._stand_in = StandIn(service, listeners.listeners)
        self._failures = 0
        """How many children in a row have failed."""
        self._pause: asyncio.TimerHandle | None = None
        """Until the next one is started behind one that has failed."""
        self._signals = 0
        """How many have asked it to stop."""
        self._delay: asyncio.TimerHandle | None = None
        """Until children are told to stop, which know that they will be (``shutdown_delay``)."""
        self._is_ending = False
        self._exit_code = 0
        self._is_over = asyncio.Event()

    async def run(self) -> int:
        """Serve until a signal; the exit code."""
        self._handle_signals(asyncio.get_running_loop())
        ticker = self._watch_loops()
        telling = asyncio.create_task(self._manager.keep_telling())
        try:
            if self._metrics is not None:
                await self._metrics.start()
            if self._inspector is not None:
                await self._inspector.start()
                url = self._inspector.url
                self._service = dataclasses.replace(self._service, inspector=url)
            self._begin_generation()
            await self._is_over.wait()
        finally:
            telling.cancel()
            if self._metrics is not None:
                await self._metrics.close()
            if self._stand_in is not None:
                await self._stand_in.close()
            if self._inspector is not None:
                await self._inspector.close()
            if self._reloader is not None:
                self._reloader.close()
            if ticker is not None:
                ticker.stop()
        return self._exit_code

    # Signals. A terminal sends SIGINT to its whole foreground group, and children stay in that
    # group, since a debugger in a view could not read from the terminal otherwise. What a signal
    # means is decided here alone: children ignore SIGINT and are told by their channels, at the
    # first signal to drain, at the second to cut. A third kills them: what keeps one alive behind
    # its cut, such as a thread of the application, is nothing to wait for. SIGTERM has a child
    # drain, too, because a service manager may send it to every process of a service; to be told so
    # twice does no harm.

    def _handle_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        if self._has_workers:
            loop.add_signal_handler(signal.SIGHUP, self._hang_up)
            loop.add_signal_handler(signal.SIGTTIN, self._want, 1)
            loop.add_signal_handler(signal.SIGTTOU, self._want, -1)
            loop.add_signal_handler(signal.SIGUSR1, self._ask_for_states)

    def _stop(self, number: int) -> None:
        delay = self._service.config.shutdown_delay
        if delay and number == signal.SIGTERM and not self._is_ending:
            self._announce_end(delay)
            return
        if self._delay is not None:
            self._stop_children()  # who signals once more does not want to wait
            return
        self._signals += 1
        if self._signals > 1:
            self._exit_code = 128 + number
            for child in self._children:
                if self._signals == 2:
                    child.abort()
                else:
                    child.kill()
            return
        self._end()

    def _announce_end(self, delay: float) -> None:
        """Have children say that they are not ready any more, and end after `delay` seconds."""
        self._begin_to_end()
        for child in self._children:
            child.announce_end()
        self._delay = asyncio.get_running_loop().call_later(delay, self._stop_children)

    def _end(self) -> None:
        """Have all children drain, and end behind them."""
        self._begin_to_end()
        self._stop_children()

    def _begin_to_end(self) -> None:
        """Start no children any more."""
        self._manager.stopping()
        self._is_ending = True
        self._generations.importing.clear()
        if self._reloader is not None:
            self._reloader.close()
        self._end_pause()

    def _stop_children(self) -> None:
        if self._delay is not None:
            self._signals += 1
            self._delay.cancel()
            self._delay = None
        self._generations.serving.clear()  # all of them drain, and have a time for that
        if self._stand_in is not None:
            self._stand_in.leave(has_successor=False)
        # Whoever connects from now on is refused, and does not wait for somebody who never comes.
        for listener in self._listeners.listeners:
            listener.sock.close()
        for child in self._children:
            if child.can_fork and child.has_imported:
                child.retire()
            else:
                child.stop(has_successor=False)
        self._end_if_alone()

    def _reap(self) -> None:
        for child in self._children:  # one signal may stand for several of them
            child.reap()

    def _end_if_alone(self) -> None:
        if not self._children:
            self._is_over.set()

    def _hang_up(self) -> None:
        if self._terminal.has_hung_up():
            self._stop(signal.SIGHUP)
        elif not self._is_ending:
            logger.info("replacing all workers")
            self._waits_for_change = False
            self._begin_generation()

    def _want(self, more: int) -> None:
        if self._is_ending:
            return
        generations = self._generations
        if self._inspector is not None and generations.wanted + more > 1:
            logger.warning("stays at 1 worker: --inspect shows the requests of one; --no-inspect")
            return
        generations.wanted = max(1, generations.wanted + more)
        logger.info("now %s", counted(generations.wanted, "worker"))
        self._balance()

    # Generations.

    def _code_changed(self) -> None:
        self._waits_for_change = False
        self._begin_generation()

    def _page_files_changed(self, paths: set[str]) -> None:
        names = {os.path.basename(path) for path in paths}  # noqa: PTH119  strings suffice
        are_stylesheets = all(name.endswith(STYLESHEET_SUFFIX) for name in names)
        self._refresh_pages(sorted(names) if are_stylesheets else [])

    def _refresh_pages(self, stylesheets: list[str]) -> None:
        self._file_changes += 1
        for child in self._children:
            if child.may_serve:
                child.refresh(self._file_changes, stylesheets)

    def _begin_generation(self) -> None:
        self._code = max(self._code + 1, int(time.time() * 1000))
        self._failures = 0
        self._end_pause()
        self._change_forkers()
        for child in self._generations.begin():
            child.stop(has_successor=True)
        self._balance()

    def _balance(self) -> None:
        """Start and stop children, until there are as many as there shall be."""
        if self._is_ending:
            return
        generations = self._generations
        for child in generations.surplus():
            generations.ended(child)
            child.stop(has_successor=True)
        if self._pause is None and not self._waits_for_change:
            for _ in range(generations.missing()):
                if not self._start() or self._waits_for_forker:
                    break
        for number, child in enumerate(generations.serving):
            child.accept_from(self._listeners.places(number, len(generations.serving)))
        if self._reloader is not None:
            self._reloader.is_importing = bool(generations.importing)
        self._stand_in_for_children()

    def _stand_in_for_children(self) -> None:
        if self._stand_in is None:
            return
        generations = self._generations
        if self._waits_for_change and not generations.serving and not generations.importing:
            self._stand_in.answer(self._why_nobody_serves)
        else:
            self._stand_in.leave(has_successor=True)

    def _start(self) -> bool:
        try:
            child = self._make_child()
        except OSError as error:  # the limit of processes is reached, or the directory is gone
            logger.error("no new process can be started: %s", error)
            report = report_of_text(f"No new process can be started: {error}.")
            self._go_on_without(report, exit_code=1)
            return False
        self._generations.started(child)
        self._children[child] = asyncio.get_running_loop().create_task(self._attend(child))
        return True

    def _make_child(self) -> Child:
        if self._forker is not None:
            return self._forker.fork()
        return start_child(
            self._service,
            self._listeners.listeners,
            self._directory,
            identity=self._identity,
            forks=self._service.processes.preload,
        )

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
        if self._metrics is not None:
            self._metrics.ended(child.pid)
        if self._inspector is not None:
            self._inspector.worker_ended(child.pid)
        self._ended(child, code)

    async def _listen(self, child: Child) -> None:
        async for event in child.events():
            if self._reloader is not None and child in self._generations.importing:
                await self._reloader.look()
            importing = self._generations.importing
            wanted = self._generations.wanted
            if event in NEWS:
                self._take_news(child, event)
            elif child in importing and event == "imported" and child.can_fork:
                self._fork_from(child)
            elif child in importing and event == "imported":  # still
                child.serve(
                    self._listeners.places(len(self._generations.serving), wanted),
                    code=self._code,
                    files=self._file_changes,
                )
            elif event == "imported":  # it handles SIGTERM itself, and was told by nothing else
                child.stop(has_successor=not self._is_ending)
            elif child in importing and event == "serving":
                self._take_over(child)
            elif event == "found":
                self._watch(child, child.found_at)
            elif event == "recycle" and child in self._generations.serving:
                self._recycle(child)

    def _take_news(self, child: Child, event: str) -> None:
        if event == "state":
            logger.info("worker %d: %s", child.pid, child.state)
        elif event == "stats" and self._metrics is not None:
            self._metrics.told(child.pid, child.stats)
        elif self._inspector is not None:
            self._inspector.told(child.pid, child.message)

    def _take_over(self, child: Child) -> None:
        self._generations.serves(child)
        self._say_that_it_serves(child)
        if not self._has_served:
            self._manager.ready()
        self._has_served = True
        asyncio.get_running_loop().call_later(SHORTEST_LIFE, self._has_lived, child)
        self._let_go(self._forker_before)
        self._forker_before = None
        if self._reloader is not None:
            self._reloader.served()
        self._balance()
        self._watch(child, child.started_at)

    def _say_that_it_serves(self, child: Child) -> None:
        service = self._service
        if not self._has_served:
            say_start(
                service.app,
                service.config,
                self._listening_on,
                loop=child.loop,
                workers=service.processes.worker_count,
            )
            if self._inspector is not None:
                self._inspector.say_where()
        elif not self._has_workers:
            logger.info("the new code serves, %s", self._listening_on)
        if self._has_workers:
            logger.info("worker %d serves", child.pid)
        flush_log()  # what other processes have to say of it comes behind that

    def _has_lived(self, child: Child) -> None:
        if child in self._generations.serving:
            self._failures = 0

    # Where the application is imported once, each generation has a child that forks the others. It
    # begins as the importing one, and what it forks takes its place. The one of the generation
    # before is kept until the newest has served, since it is needed again if that is given up.

    @property
    def _waits_for_forker(self) -> bool:
        return any(child.can_fork for child in self._generations.importing)

    def _fork_from(self, child: Child) -> None:
        self._generations.ended(child)
        self._forker = child
        self._balance()

    def _change_forkers(self) -> None:
        if self._forker_before is None:
            self._forker_before = self._forker
        else:
            self._let_go(self._forker)
        self._forker = None

    def _let_go(self, forker: Child | None) -> None:
        """Have one that forks end behind those that it has forked."""
        if forker is not None:
            forker.retire()

    def _watch(self, child: Child, since: float) -> None:
        if self._reloader is not None and child in self._generations.serving:
            self._reloader.watch(child.roots, since)

    def _recycle(self, child: Child) -> None:
        logger.info("worker %d is replaced: %s", child.pid, child.reason)
        self._generations.outdates(child)
        self._count_restart()
        self._balance()

    # Ends.

    def _ended(self, child: Child, code: int) -> None:
        for fork in child.forks.values():
            fork.lose_parent()
        if self._is_ending:
            self._end_if_alone()
        elif child is self._forker_before:
            self._forker_before = None
        elif child is self._forker:
            logger.error("process %d, which forks workers, %s", child.pid, _words(code))
            self._forker = None
            self._start_later()
        elif child in self._generations.importing:
            self._give_up(child, code)
        elif child in self._generations.serving:
            self._generations.ended(child)
            self._go_on_behind(child, code)

    def _go_on_behind(self, child: Child, code: int) -> None:
        """Go on without a child that has served, and ended of its own."""
        if not self._has_workers and self._reloader is None:
            # It is there for the inspector alone: the program is this child, and ends as it does.
            self._exit_code = 128 - code if code < 0 else code
            self._end()
            return
        if not self._has_workers or self._waits_for_change:
            logger.error("the process that served %s; waiting for a change", _words(code))
            if not self._waits_for_change:  # else it is known what is wrong with newer code
                self._why_nobody_serves = report_of_text(f"The process that served {_words(code)}.")
            self._waits_for_change = True
        else:
            logger.error("worker %d %s", child.pid, _words(code))
            self._count_restart()
            if clock.monotonic() - child.served_at < SHORTEST_LIFE:
                self._start_later()
        self._balance()

    def _give_up(self, child: Child, code: int) -> None:
        """Go on without a child that has ended before it served."""
        self._generations.ended(child)
        if child.report is None:
            logger.error("the new process %s before it served", _words(code))
        if self._reloader is not None and (self._has_served or not child.is_final):
            # The cure may be a change there, or a module that is missing.
            self._reloader.watch([self._source, *child.roots], child.started_at)
            if child.may_install:
                self._reloader.watch_installs()
        report = child.report or report_of_text(f"The new process {_words(code)}.")
        self._go_on_without(report, exit_code=_exit_code(code), is_final=child.is_final)
        if not self._is_over.is_set():
            self._balance()

    def _go_on_without(self, report: Report, *, exit_code: int, is_final: bool = False) -> None:
        """Go on without new code, if any ever served or a change may make it better."""
        generations = self._generations
        if not self._has_served and (self._reloader is None or is_final):
            self._exit_code = exit_code
            self._is_over.set()
            return
        if not generations.is_proven:
            self._give_up_generation(report)
        if self._waits_for_change or not generations.missing():
            return
        if not generations.serving and self._failures + 1 >= MOST_FAILURES:
            if self._reloader is not None:
                self._wait_for_change(report)
                return
            logger.error("no worker can be started, and none is left; giving up")
            self._exit_code = exit_code
            self._end()
            return
        self._start_later()

    def _give_up_generation(self, report: Report) -> None:
        generations = self._generations
        generations.give_up()
        self._let_go(self._forker)
        self._forker, self._forker_before = self._forker_before, None
        if generations.serving:
            logger.error("the new code does not serve; the code from before goes on")
        if self._reloader is not None:
            self._wait_for_change(report)

    def _wait_for_change(self, report: Report) -> None:
        self._waits_for_change = True
        self._why_nobody_serves = report
        for child in self._generations.serving:
            child.tell_broken(report)
        if self._generations.serving:
            if self._service.development.debugger:
                self._refresh_pages([])  # those that are open show it, too
            return
        other = ", and no other is left" if self._has_served else ""
        logger.error("the code does not serve%s; waiting for a change", other)

    def _start_later(self) -> None:
        pause = min(SHORTEST_PAUSE * 2**self._failures, LONGEST_PAUSE)
        self._failures += 1
        if self._pause is None:
            logger.info("another worker is started in %g s", pause)
            self._pause = asyncio.get_running_loop().call_later(pause, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        self._balance()

    def _end_pause(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None

    # What they do.

    def _make_metrics(self) -> WorkerMetrics | None:
        bind = self._service.config.metrics_bind
        return WorkerMetrics(bind) if bind else None

    def _make_inspector(self) -> Inspector | None:
        if not self._service.development.inspect:
            return None
        # Here, since production does without it.
        from asyncwsgi.inspection.inspector import Inspector

        return Inspector(self._service, self._listeners.listeners, self._ask_for_requests)

    def _ask_for_requests(self, pid: int | None) -> None:
        """Have one child, or those that serve, say what their requests do."""
        for child in self._children:
            if child.pid == pid or (pid is None and child in self._generations.serving):
                child.ask_for_requests()

    def _count_restart(self) -> None:
        if self._metrics is not None:
            self._metrics.restarted()

    def _ask_for_states(self) -> None:
        now = clock.monotonic()
        for child in self._children:
            if child.may_serve:
                child.ask_for_state()
            elif not child.has_imported:
                logger.info("worker %d has imported for %.1f s", child.pid, now - child.began_at)
        asyncio.get_running_loop().call_later(ANSWER_TIMEOUT, self._name_silent_ones, now)

    def _name_silent_ones(self, since: float) -> None:
        for child in self._children:
            if child.may_serve and child.heard_at < since:
                silence = clock.monotonic() - child.heard_at
                logger.warning("worker %d has not answered for %.1f s", child.pid, silence)

    def _watch_loops(self) -> Ticker | None:
        timeout = self._service.processes.worker_timeout
        if not timeout:
            return None
        interval = min(LONGEST_LOOK, timeout / 4)
        ticker = Ticker(asyncio.get_running_loop(), interval, self._end_hanging)
        ticker.start()
        return ticker

    def _end_hanging(self, now: float) -> None:
        """End those whose loops do not answer. One that imports has no loop yet, and one that
        drains has a time for that."""
        timeout = self._service.processes.worker_timeout
        for child in self._generations.serving:
            if not child.is_hanging and now - child.heard_at > timeout:
                logger.error(
                    "the loop of worker %d has not answered for worker_timeout of %g s; killed",
                    child.pid,
                    timeout,
                )
                flush_log()  # what it has to say itself comes behind that
                child.abort_hanging()


def _reloader(
    service: Service,
    directory: str,
    changed: Callable[[], None],
    pages_changed: Callable[[set[str]], None],
) -> Reloader | None:
    development = service.development
    if not development.reload:
        return None
    sources = Sources(
        development.reload_dir,
        development.reload_include,
        development.reload_exclude,
        directory,
        files=service.env_files.watched,
        page_suffixes=PAGE_SUFFIXES if development.refresh else (),
    )
    return Reloader(sources, directory, changed, pages_changed)


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
