"""The process that serves: it imports the application, reports, and obeys its supervisor.

While it imports, it cannot obey: the import has its only thread that may. If newer code makes it
superfluous then, it gets SIGTERM, of which `_Superseded` comes, wherever the import is. So it ends
as any program does that an exception ends: blocks are left and what is registered with `atexit`
runs, by which programs end what they have started (`subprocess.run` its command, too).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import faulthandler
import signal
import socket
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from asyncwsgi.config import Config
from asyncwsgi.development.debugger import for_trusted_hosts
from asyncwsgi.development.error_page import ErrorPage
from asyncwsgi.development.report import report_of
from asyncwsgi.errors import AsyncWSGIError, BindError, ConfigError
from asyncwsgi.event_loops import loop_factory
from asyncwsgi.inspection.door import with_door
from asyncwsgi.log_setup import configure_logging, flush_log
from asyncwsgi.own_process import own_process
from asyncwsgi.reloading.imports import LateImports, SourceRoots, files_of, with_causes
from asyncwsgi.server.server import Server
from asyncwsgi.start_line import name_of_loop
from asyncwsgi.supervision.channel import Channel, encode
from asyncwsgi.supervision.inheritance import Inheritance
from asyncwsgi.supervision.metrics import STATS_INTERVAL
from asyncwsgi.supervision.preloading import fork_workers
from asyncwsgi.supervision.recycling import Wear
from asyncwsgi.supervision.service import Service
from asyncwsgi.supervision.state import describe

if TYPE_CHECKING:
    from asyncwsgi.development.refresh import Refresh
    from asyncwsgi.inspection.recording import Recorder

WEAR_INTERVAL = 0.5
"""Seconds between looks at how many requests it has served, and at its memory."""


class _Superseded(BaseException):
    """This process is not wanted any more.

    No `Exception`, and no `SystemExit` either: what is imported may take both for a failure of
    something that it can do without, and go on.
    """


def _end_when_superseded() -> None:
    """Have SIGTERM end the import; once, so that nothing interrupts what is done at the end."""
    own_process.give_back(signal.SIGTERM, signal.signal(signal.SIGTERM, _supersede))


def _supersede(number: int, _: object) -> None:
    signal.signal(number, _stay_superseded)
    raise _Superseded


def _stay_superseded(*_: object) -> None:
    pass


class _EarlyEnd:
    """Remembers that SIGTERM came while the loop was being made.

    What a handler raises there would leave a loop that can neither run nor be closed.
    """

    def __init__(self) -> None:
        self.has_come = False
        if signal.getsignal(signal.SIGTERM) is _supersede:
            signal.signal(signal.SIGTERM, self._note)

    def _note(self, *_: object) -> None:
        self.has_come = True

    def is_handler(self, handler: object) -> bool:
        """Whether `handler` of SIGTERM is this one, and not one of the application's."""
        return handler == self._note


def _is_superseded() -> bool:
    """Whether the import was told to end; what it was told by, it may have caught."""
    return signal.getsignal(signal.SIGTERM) is _stay_superseded


def serve_for_supervisor(inheritance: Inheritance) -> int:
    """Import the application and serve it on the inherited listeners until told to stop.

    Raises:
        AsyncWSGIError: the application, or the options, cannot be served; the supervisor knows.
    """
    service, control = inheritance.service, inheritance.control
    _end_when_superseded()
    try:
        try:
            page = ErrorPage(service.load(), editor=service.development.editor_link)
        finally:
            if _is_superseded():
                raise _Superseded
        if inheritance.asking is not None:
            forked = fork_workers(control, inheritance.asking, inheritance.listeners)
            if forked is None:
                return 0
            control = _go_on_as_worker(forked, service)
        application = page.application
        if service.development.debugger:
            # Those who may debug see why newer code does not serve.
            application = for_trusted_hosts(page, application, service.config)
        refresh = None
        if service.development.refresh:
            # Here, since production does without it.
            from asyncwsgi.development.refresh import Refresh, hide_from_access_log

            application = refresh = Refresh(application)
            hide_from_access_log()
        config = _own_config(service.config, inheritance.binds)
        server = Server(with_door(application, service.inspector, config), config)
        server.on_serving = _leave_it_to_supervisor
        if service.processes.workers is not None:
            _make_one_of_several(server, service)
        early_end = _EarlyEnd()
        with asyncio.Runner(loop_factory=loop_factory(service.config.loop)) as runner:
            supervised = _SupervisedServer(
                server, service, page, refresh, inheritance.listeners, early_end
            )
            runner.run(supervised.serve(control))
    except AsyncWSGIError as error:
        _report_failure(control, error, watches=service.development.reload)
        raise
    except _Superseded:
        return 128 + signal.SIGTERM
    return 0


def _leave_it_to_supervisor() -> None:
    """Say nothing: the supervisor says once what is served, and where."""


def _own_config(config: Config, binds: tuple[str, ...]) -> Config:
    """`config` for one of the processes: the supervisor serves the figures of all."""
    counts = config.count_requests or bool(config.metrics_bind)
    return dataclasses.replace(config, bind=binds, metrics_bind="", count_requests=counts)


def _go_on_as_worker(control: socket.socket, service: Service) -> socket.socket:
    """Be a process that serves, and not the one that has forked it."""
    own_process.keep(lambda: [control])
    configure_logging(service.config, names_process=True)
    return control


def _make_one_of_several(server: Server, service: Service) -> None:
    server.is_multiprocess = True
    if not service.development.reload:
        # A proxy may send the next request by any connection that it keeps, and would answer 502 if
        # that were closed in this moment. So it hears by an answer that a connection will be.
        server.idle_timeout_with_successor = service.config.graceful_timeout
    if service.processes.worker_timeout and sys.__stderr__ is not None:
        # The supervisor ends a worker that hangs by SIGABRT; then it says where it stands.
        faulthandler.enable(sys.__stderr__)


def _report_failure(control: socket.socket, error: AsyncWSGIError, *, watches: bool) -> None:
    errors = with_causes(error)
    watched = [*SourceRoots().new(), *files_of(errors)] if watches else []
    event = {
        "event": "failed",
        "report": report_of(error),
        "watch": watched,
        # No change of the code makes these better.
        "is_final": isinstance(error, (BindError, ConfigError)),
        # What was not found, or is too old, may be installed.
        "may_install": any(isinstance(each, ImportError) for each in errors),
    }
    control.setblocking(True)  # a loop may have had it, and has ended
    with contextlib.suppress(OSError):  # the supervisor has died: it is for the log alone
        control.sendall(encode(event))


def _report_new(roots: SourceRoots, channel: Channel, since: float) -> None:
    if new := roots.new():
        channel.send(event="found", watch=new, since=since)


class _SupervisedServer:
    """A server that its supervisor tells when to serve and when to stop.

    It does not serve as soon as it could, but reports that it has imported and waits for leave: the
    code may have changed once more, and a child that surely has no clients can be killed at once.
    From that leave on it may have some, so that it has to be told to drain.
    """

    def __init__(
        self,
        server: Server,
        service: Service,
        page: ErrorPage,
        refresh: Refresh | None,
        listeners: Sequence[socket.socket],
        early_end: _EarlyEnd,
    ) -> None:
        self._early_end = early_end
        self._server = server
        self._listeners = listeners
        self._watches = service.development.reload
        self._inspects = service.development.inspect
        self._keeps_secrets = service.development.inspect_secrets
        self._recorder: Recorder | None = None
        self._processes = service.processes
        self._tells_stats = bool(service.config.metrics_bind)
        self._wear = Wear(service.processes)
        self._page = page
        self._refresh = refresh
        self._has_announced = False
        """Whether it was told that it will stop."""
        self._stopping: asyncio.Task[None] | None = None
        self._has_leave = asyncio.Event()
        """To serve; or, if it is stopping, to end without having served."""

    async def serve(self, control: socket.socket) -> None:
        handler = signal.getsignal(signal.SIGTERM)
        if not self._early_end.is_handler(handler):
            own_process.give_back(signal.SIGTERM, handler)  # it is the application's
        own_process.keep(lambda: self._server.sockets)
        # A service manager may signal every process of its service.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._announce_end)
        if self._early_end.has_come:
            self._announce_end()
        end = control.dup()
        own_process.keep(lambda: [end])
        channel = await Channel.open(end)
        with contextlib.ExitStack() as stack:
            channel.send(event="imported", watch=self._watch(channel, stack))
            obeying = asyncio.create_task(self._obey(channel))
            await self._has_leave.wait()
            if self._stopping is None:
                await self._serve(channel)
            obeying.cancel()

    def _watch(self, channel: Channel, stack: contextlib.ExitStack) -> list[str]:
        """Where the code is, if that is watched; what is found later is reported."""
        if not self._watches:
            return []
        roots = SourceRoots()
        late = LateImports(partial(_report_new, roots, channel))
        stack.enter_context(contextlib.closing(late))
        return roots.new()

    async def _serve(self, channel: Channel) -> None:
        reports = [asyncio.create_task(self._say_alive(channel))]
        if self._inspects:
            # Here, since production does without it.
            from asyncwsgi.inspection.recording import record

            self._recorder = record(self._server, channel, keeps_secrets=self._keeps_secrets)
        async with self._server:
            for listener in self._listeners:
                listener.close()  # the server has its own copies, and closes them when it stops
            if self._stopping is None:  # else its lifespan was given up
                flush_log()  # what other processes have to say of it comes behind that
                channel.send(event="serving", loop=name_of_loop())
                reports.append(asyncio.create_task(self._look_at_wear(channel)))
                reports.append(asyncio.create_task(self._keep_telling_stats(channel)))
            await self._server.serve_forever()
        for report in reports:
            report.cancel()
        if self._recorder is not None:
            self._recorder.close()
        self._send_stats(channel)

    async def _say_alive(self, channel: Channel) -> None:
        """Tell the supervisor that the loop comes round."""
        timeout = self._processes.worker_timeout
        while timeout:
            channel.send(event="alive")
            await asyncio.sleep(timeout / 4)

    async def _keep_telling_stats(self, channel: Channel) -> None:
        while self._tells_stats:
            self._send_stats(channel)
            await asyncio.sleep(STATS_INTERVAL)

    def _send_stats(self, channel: Channel) -> None:
        if self._tells_stats:
            channel.send(event="stats", stats=self._server.stats().as_json())

    async def _look_at_wear(self, channel: Channel) -> None:
        reason = ""
        while self._wear.has_limits and not reason:
            await asyncio.sleep(WEAR_INTERVAL)
            reason = self._wear.why_over(self._server.snapshot().submitted_count)
        if reason:
            channel.send(event="recycle", reason=reason)

    async def _obey(self, channel: Channel) -> None:
        async for message in channel.messages():
            await self._do(message, channel)
        # The channel ends when the supervisor has died, and nobody else would stop this process.
        self._stop()

    async def _do(self, message: dict[str, Any], channel: Channel) -> None:
        match message["command"]:
            case "serve":
                if self._refresh is not None:
                    self._refresh.begin(message["code"], message["files"])
                self._server.accept_from(message["places"])
                self._has_leave.set()
            case "announce-end":
                self._announce_end()
            case "accept":
                self._server.accept_from(message["places"])
            case "stop":
                self._stop(has_successor=message["has_successor"])
            case "abort":
                self._stop()
                self._server.begin_shutdown()  # it may still wait for the browsers' streams
                await asyncio.sleep(0)  # first it stops, then what it waits for is cut
                self._server.abort()
            case "state":
                channel.send(event="state", state=describe(self._server.snapshot(stacks=True)))
            case _:
                self._do_for_development(message, channel)

    def _do_for_development(self, message: dict[str, Any], channel: Channel) -> None:
        match message["command"]:
            case "refresh" if self._refresh is not None:
                self._refresh.files_changed(message["files"], message["stylesheets"])
            case "inspect-now" if self._recorder is not None:
                channel.send(event="inspected-now", **self._recorder.now())
            case "broken":
                self._page.report = message["report"]

    def _announce_end(self) -> None:
        """Stop, after the time that whoever sends clients needs to learn of it; once."""
        delay = self._server.config.shutdown_delay
        if not delay or not self._has_leave.is_set():
            self._stop()
        elif not self._has_announced:
            self._has_announced = True
            self._server.begin_shutdown(delay=delay)

    def _stop(self, *, has_successor: bool = False) -> None:
        self._has_leave.set()
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._shut_down(has_successor=has_successor))

    async def _shut_down(self, *, has_successor: bool) -> None:
        if self._refresh is not None:
            await self._refresh.close()
        await self._server.shutdown(has_successor=has_successor)
