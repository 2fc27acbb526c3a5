"""The doors for programs: in a process of its own, in a running loop, in a thread."""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from asyncwsgi.config import Config, octal
from asyncwsgi.errors import ConfigError
from asyncwsgi.event_loops import loop_factory
from asyncwsgi.log_setup import configure_logging, flush_log, is_logging_configured
from asyncwsgi.requests.mailbox import Mailbox
from asyncwsgi.server.listeners import open_listeners
from asyncwsgi.server.server import Server
from asyncwsgi.service_manager import ServiceManager
from asyncwsgi.signals import StopSignals
from asyncwsgi.standard_streams import hold_standard_descriptors
from asyncwsgi.start_line import name_of_loop, say_start

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from asyncwsgi.server.listeners import Address
    from asyncwsgi.supervision.identity import Identity
    from asyncwsgi.supervision.service import Service

# What only several processes need is imported where they are: every live server of a test imports
# this module, and would take 10 ms longer to be there.

SIGNAL_INTERVAL = 0.5
"""Seconds after which a wait of the main thread begins anew. Python looks for signals between two
instructions; one that comes when the last look is over and the wait has not begun (Ctrl+C) would
be seen when the wait is over, which may be never."""


def run(application: WSGIApplication | str, config: Config | None = None, **options: Any) -> int:
    """Serve until SIGINT or SIGTERM, then drain; a second signal cuts what is still in flight.

    Owns the process: it makes the loop, handles the signals (in the main thread) and, unless the
    program has configured logging, writes the log to standard error.

    Args:
        application: the WSGI application; or its name, such as ``"module:app"``, as the command
            line takes it.
        config: all options at once; or give them by name (see `Config`). With the name of an
            application there are besides those of processes (see `ProcessOptions`), such as
            `workers`, and `reload`. Processes import the application for themselves, so their
            options have to be such as can be written as text.

    Returns:
        The exit code: 0 after a graceful stop, 128 plus the signal's number after a forced one.

    Raises:
        BindError: an address cannot be had.
        ConfigError: options that cannot be served.
        AppImportError: the application that is named cannot be imported.
    """
    if isinstance(application, str):
        from asyncwsgi.supervision.service import named_service

        return run_service(named_service(application, config, options))
    _refuse_options_of_processes(options)
    return run_server(Server(application, config, **options))


def run_service(service: Service) -> int:
    """Serve an application by its name and all options; in one process or in several.

    Returns, and errors, are those of `run`.
    """
    from asyncwsgi.supervision.identity import Identity, pid_file
    from asyncwsgi.supervision.supervisor import supervise

    options = service.processes
    _begin_log(service.config)
    if options.umask is not None:
        os.umask(octal(options.umask, "umask"))
    identity = Identity.of(options.user, options.group)
    if identity is not None and service.config.access_log_file is not None:
        identity.own_file(service.config.access_log_file)
    with pid_file(options.pid):
        if service.has_supervisor:
            return supervise(service, identity)
        if identity is None:
            return run_server(_introduced(Server(service.load(), service.config), service))
        return _run_as(identity, service)


def _run_as(identity: Identity, service: Service) -> int:
    """Open the listeners, and be somebody else before anything of the application is imported."""
    listeners = open_listeners(service.config)
    try:
        identity.own(listeners)
        identity.assume()
        binds = tuple(listener.bind for listener in listeners)
        config = dataclasses.replace(service.config, bind=binds)
        return run_server(_introduced(Server(service.load(), config), service))
    finally:
        for listener in listeners:
            listener.close()


def _introduced(server: Server, service: Service) -> Server:
    """`server`, which will say what it serves, too."""
    server.on_serving = lambda: say_start(
        service.app, server.config, server.listening_on, loop=name_of_loop()
    )
    return server


def _refuse_options_of_processes(options: Mapping[str, Any]) -> None:
    unknown = options.keys() - {field.name for field in dataclasses.fields(Config)}
    if not unknown:
        return
    from asyncwsgi.supervision.service import SERVICE_OPTIONS

    for name in SERVICE_OPTIONS:
        if name in unknown:
            raise ConfigError(
                f"{name} is for processes that import the application: name it as on the command "
                f"line, asyncwsgi.run('module:app', {name}=...)"
            )


def _begin_log(config: Config) -> None:
    hold_standard_descriptors()
    if not is_logging_configured(config):
        configure_logging(config)


def run_server(server: Server) -> int:
    """As `run`, with a server that has not started."""
    _begin_log(server.config)
    runner = asyncio.Runner(loop_factory=loop_factory(server.config.loop))
    # Before the server starts: whoever reads that it listens may send a signal at once. Until the
    # loop is closed: that waits for the threads of `asyncio.to_thread`.
    with StopSignals(server, runner.get_loop()) as signals:
        try:
            with runner:
                try:
                    runner.run(_serve_process(server))
                finally:
                    signals.has_served = True
        except RuntimeError as error:
            # A signal that interrupts uvloop as it begins to close leaves a loop that cannot be.
            if isinstance(error.__context__, SystemExit):
                raise error.__context__ from None
            raise
        finally:
            flush_log()  # what the program prints next, or a traceback, comes behind it
    return signals.exit_code


async def serve(application: WSGIApplication, **options: Any) -> None:
    """Serve in the running loop until cancelled, then drain; cancelled again, cut.

    Args and errors are those of `Server`.
    """
    await _serve(Server(application, **options))


def serve_in_thread(application: WSGIApplication, **options: Any) -> ServerThread:
    """Serve from a thread with a loop of its own: a context manager, ready on entry.

    Args and errors are those of `Server`; errors are raised on entry.
    """
    return ServerThread(Server(application, **options))


async def _serve_process(server: Server) -> None:
    """Serve, and tell the service manager, whose process this is."""
    manager = ServiceManager()
    server.on_shutdown = manager.stopping
    telling = asyncio.create_task(manager.keep_telling())
    try:
        async with server:
            manager.ready()
            await server.serve_forever()
    finally:
        telling.cancel()


async def _serve(server: Server) -> None:
    async with server:
        await server.serve_forever()


class ServerThread:
    """A server in a thread with its own loop (see `serve_in_thread`).

    A subclass may override `start_thread`, and use `thread`, `started` and `was_started`.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.thread = threading.Thread(target=self._run, name="asyncwsgi-server", daemon=True)
        """That of the loop."""
        self._loop: concurrent.futures.Future[asyncio.AbstractEventLoop] = (
            concurrent.futures.Future()
        )
        # Apart from the loop: a lifespan may take its time to be entered, and to stop meanwhile is
        # a call to the loop.
        self.started: concurrent.futures.Future[asyncio.AbstractEventLoop] = (
            concurrent.futures.Future()
        )
        """Done when clients are served, with the loop; or with what prevented it."""
        self.ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        """Done when the server has stopped, for whatever reason."""
        self._failure: BaseException | None = None
        self._has_served = False

    # Before a start there is no address, and no loop to be told anything: RuntimeError.

    @property
    def url(self) -> str:
        """See `Server.url`."""
        self._require_start()
        return self.server.url

    @property
    def port(self) -> int:
        """See `Server.port`."""
        self._require_start()
        return self.server.port

    @property
    def addresses(self) -> tuple[Address, ...]:
        """See `Server.addresses`."""
        self._require_start()
        return self.server.addresses

    def start(self) -> None:
        """Start the thread; return when clients are served, or raise what prevented it."""
        is_first = not self.was_started
        try:
            self.start_thread()
            while not self.started.done():
                concurrent.futures.wait({self.started}, timeout=SIGNAL_INTERVAL)
            self.started.result()
        except BaseException:
            # It failed to start, or (Ctrl+C) is about to start and shall not go on.
            if is_first and self.was_started:
                self._stop()
            raise

    def close(self) -> None:
        """Drain, and wait for the thread. Raises what ended the loop, if it was not this.

        Whoever interrupts it (Ctrl+C) cuts what is still in flight.
        """
        if self.was_started:
            self._stop()
        if self._failure is not None:
            raise self._failure

    def _stop(self) -> None:
        try:
            self.shutdown()
            while self.thread.is_alive():
                self.thread.join(SIGNAL_INTERVAL)
        except BaseException:
            self.abort()
            raise

    def stop_accepting(self) -> None:
        """Close the listeners, and wait for that; what is connected stays served."""
        self._require_start()
        loop = self.started.result()
        closed: concurrent.futures.Future[None] = concurrent.futures.Future()

        def begin(_: None) -> None:
            # A loop that is about to end would leave a task where it is.
            if not self._has_served:
                task = loop.create_task(self.server.stop_accepting())
                task.add_done_callback(lambda _: closed.set_result(None))

        Mailbox(loop).post(begin, None)
        # A loop that is about to end may never come round to it.
        concurrent.futures.wait({closed, self.ended}, return_when=FIRST_COMPLETED)

    def shutdown(self, *, has_successor: bool = False) -> None:
        """Begin to drain, without waiting for it (see `Server.shutdown`).

        A lifespan that is still being entered is given up.
        """
        self._post(lambda _: self.server.begin_shutdown(has_successor=has_successor))

    def abort(self) -> None:
        """Cut every connection, without waiting for it (see `Server.abort`)."""
        self._post(lambda _: self.server.abort())

    def _post(self, call: Callable[[None], object]) -> None:
        self._require_start()
        if self._loop.exception() is None:
            # A loop that has ended already takes no more calls, and needs none.
            Mailbox(self._loop.result()).post(call, None)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def start_thread(self) -> None:
        """Start the thread, without waiting for the server; `started` tells of that."""
        if self.was_started:
            raise RuntimeError(
                "this server was started before; if it still serves, use it as it is, without "
                "start() and `with`; else make a new one"
            )
        self.thread.start()

    @property
    def was_started(self) -> bool:
        """Whether its thread was started."""
        return self.thread.ident is not None

    def _require_start(self) -> None:
        if not self.was_started:
            raise RuntimeError("this server was not started; enter it by `with`, or call start()")

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=loop_factory(self.server.config.loop)) as runner:
                self._loop.set_result(runner.get_loop())
                runner.run(self._serve())
        except BaseException as error:
            if not self._loop.done():
                self._loop.set_exception(error)
            if self.started.done():
                self._failure = error
            else:
                self.started.set_exception(error)
        finally:
            self.ended.set_result(None)

    async def _serve(self) -> None:
        try:
            async with self.server:
                self.started.set_result(asyncio.get_running_loop())
                await self.server.serve_forever()
        finally:
            self._has_served = True
