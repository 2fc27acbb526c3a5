"""The worker: one server in a process that gunicorn has forked.

Signals. gunicorn's handlers are Python's, so that they are heard while a coroutine holds the loop:
SIGABRT has to end just such a worker. What they touch is no more than flags; a byte in gunicorn's
own pipe has the loop look at these. A reloader does the same from its thread.

Life. The loop tells the master now and then that it comes round, until the end of the process's
work; so a worker whose loop is held for ``timeout`` seconds is killed. A view that takes long is in
a thread of its own, and no reason to. When the worker is to stop - SIGTERM, ``max_requests``, new
code, a master that has died - it drains. Others serve the same listeners meanwhile, or will.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import signal
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from gunicorn import sock as gunicorn_sock
from gunicorn.workers import base

from asyncwsgi.errors import ConfigError
from asyncwsgi.event_loops import loop_factory
from asyncwsgi.frontends.frontend import Frontend
from asyncwsgi.frontends.http import HttpConnection
from asyncwsgi.frontends.uwsgi import UwsgiConnection
from asyncwsgi.gunicorn.exchange import HookedExchange, WorkerResponder
from asyncwsgi.gunicorn.settings import config_of, speaks_uwsgi
from asyncwsgi.own_process import own_process
from asyncwsgi.requests import forks
from asyncwsgi.server.server import Server

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from asyncwsgi.config import Config

LONGEST_BEAT = 1.0
"""Seconds between two looks at the master; fewer if ``timeout`` is short."""


class Worker(base.Worker):  # type: ignore[misc]
    """Name it as ``worker_class``; or a subclass with `options`."""

    options: ClassVar[Mapping[str, Any]] = {}
    """Options of the server (see `asyncwsgi.Config`); they count for more than settings."""

    alive: bool
    """Whether it shall go on; gunicorn's."""

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Called by the master before it forks.

        Raises:
            RuntimeError: which gunicorn shows without a traceback: a setting that is not served.
        """
        try:
            config_of(cfg, cls.options)
        except ConfigError as error:
            raise RuntimeError(str(error)) from None

    def init_process(self) -> None:
        # Nothing here may take long: until its signals are set, a worker hears of no stop.
        # As the user who may read keys; that is another one in a moment.
        self._ssl_context = gunicorn_sock.ssl_context(self.cfg) if self.cfg.is_ssl else None
        self._is_quick = False
        self._has_keepalive = self.cfg.keepalive > 0
        # What the master has forked are its workers, and none holds a client of this one.
        forks.have_begun = False
        super().init_process()

    def init_signals(self) -> None:
        super().init_signals()
        signal.set_wakeup_fd(-1)  # loops have one of their own
        for number in self.SIGNALS:
            own_process.give_back(number, signal.SIG_DFL)
        own_process.give_back(signal.SIGINT, signal.default_int_handler)
        own_process.keep(lambda: [listener.sock for listener in self.sockets])

    def load_wsgi(self) -> None:
        # What fails before the worker counts as booted ends the master, which would otherwise try
        # again and again. The settings may be others than `check_config` saw.
        form = "uwsgi+fd" if speaks_uwsgi(self.cfg) else "fd"
        self._config = config_of(
            self.cfg,
            self.options,
            bind=tuple(f"{form}://{listener.fileno()}" for listener in self.sockets),
            ssl_context=self._ssl_context,
        )
        super().load_wsgi()
        self._server = WorkerServer(self.wsgi, self._config, self)

    def run(self) -> None:
        """Serve until told to stop."""
        self._share_log()
        own_process.keep(lambda: self._server.sockets)
        with asyncio.Runner(loop_factory=loop_factory(self._config.loop)) as runner:
            runner.run(self._serve(self._server))

    def _share_log(self) -> None:
        """Have the server's log lines go where gunicorn's do, unless a configuration says where."""
        error_log, ours = getattr(self.log, "error_log", None), logging.getLogger("asyncwsgi")
        if error_log is not None and not ours.handlers:
            ours.handlers = error_log.handlers
            ours.propagate = error_log.propagate
            ours.setLevel(error_log.level)

    async def _serve(self, server: Server) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(self.PIPE[0], self._look, server)
        try:
            self._beat(server)  # a lifespan may take its time
            async with server:
                await server.serve_forever()
        finally:
            loop.remove_reader(self.PIPE[0])

    def _beat(self, server: Server) -> None:
        self.notify()
        if self.ppid != os.getppid() and self.alive:
            self.log.info("Parent changed, shutting down: %s", self)
            self.alive = False
        self._stop_if_asked(server)
        interval = min(LONGEST_BEAT, self.timeout / 2) if self.timeout else LONGEST_BEAT
        asyncio.get_running_loop().call_later(interval, self._beat, server)

    def _look(self, server: Server) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self.PIPE[0], 1024)
        self._stop_if_asked(server)

    def _stop_if_asked(self, server: Server) -> None:
        if not self.alive:
            server.begin_shutdown(has_successor=not self._is_quick)
        if self._is_quick:
            server.abort()

    @property
    def keeps_connections(self) -> bool:
        """Whether one may carry another request."""
        return self.alive and self._has_keepalive

    def request_arrived(self) -> None:
        """Count a request. On the loop."""
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False
            self._wake()

    # Handlers of signals, in the main thread between any two of its instructions.

    def handle_exit(self, sig: int, frame: Any) -> None:
        self.alive = False
        self._wake()

    def handle_quit(self, sig: int, frame: Any) -> None:
        if not self.booted:
            super().handle_quit(sig, frame)  # ends the import, wherever it is
        if not self._is_quick:
            self._is_quick = True
            self.alive = False
            self.cfg.worker_int(self)
            self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # it has enough to read
            os.write(self.PIPE[1], b"1")


class WorkerServer(Server):
    """The server of a worker, which has nothing but the requests to do.

    Args:
        application: what it serves.
        config: its options.
        worker: to be told of each request.
    """

    def __init__(self, application: WSGIApplication, config: Config, worker: Worker) -> None:
        super().__init__(application, config)
        self._worker = worker
        self.exchange_class = self._make_exchange
        self.responder_class = type("Responder", (WorkerResponder,), {"worker": worker})
        if not worker.cfg.sendfile:
            self.connection_class = _ReadingConnection
            self.uwsgi_connection_class = _ReadingUwsgiConnection

    def _make_exchange(self, *arguments: Any) -> HookedExchange:
        self._worker.request_arrived()
        return HookedExchange(self._worker, *arguments)

    def make_frontend(self) -> Frontend:
        frontend = super().make_frontend()
        environ = {**frontend.environ, "wsgi.multiprocess": self._worker.cfg.workers > 1}
        return dataclasses.replace(frontend, environ=environ)


class _ReadingConnection(HttpConnection):
    file_transport = None


class _ReadingUwsgiConnection(UwsgiConnection):
    file_transport = None
