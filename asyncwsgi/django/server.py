"""What Django's ``runserver`` serves with: the class that stands in its attribute ``server_cls``.

Django's command does all the rest: addresses, checks, the banner, autoreload, the messages of what
fails. It makes a server, which binds; tells it the application; and calls `serve_forever` in the
main thread or, below the autoreloader, in a thread that it leaves behind when it ends the process
by `sys.exit` in the main one. So the loop has a thread of its own, as below Werkzeug's servers, and
signals are left to Django.
"""

from __future__ import annotations

import atexit
import concurrent.futures
import dataclasses
import logging
import socket
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

from asyncwsgi.access_log import AccessEntry, AccessLogger
from asyncwsgi.calling_thread import CallingThread
from asyncwsgi.config import Config
from asyncwsgi.errors import BindError, ConfigError
from asyncwsgi.log_setup import enable_loggers
from asyncwsgi.requests.exchange import Exchange
from asyncwsgi.running import SIGNAL_INTERVAL, ServerThread
from asyncwsgi.server.listeners import Listener, open_listeners
from asyncwsgi.server.server import Server
from asyncwsgi.server.tls import server_context

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from asyncwsgi.wsgi.response import Response

DEFAULTS: Mapping[str, Any] = {
    # Django has a thread for each connection: a stream or a long poll holds one for its life.
    "threads": 1024,
    # Who has saved a file waits for the new code.
    "graceful_timeout": 1.0,
}
"""Options that have other defaults here."""
CUT_TIMEOUT = 2.0
"""Seconds that the loop gets to end when its requests were cut."""
_ARGUMENTS = {
    **dict.fromkeys(("host", "port", "bind"), "ADDR:PORT"),
    **{name: f"--{name}" for name in ("certfile", "keyfile")},
    "executor": "--nothreading",
}
"""Options of a server for which the command has arguments."""


def server_class(
    options: Mapping[str, Any], *, certfile: str | None, keyfile: str | None, is_threaded: bool
) -> type[DevelopmentServer]:
    """The class of a server with these options.

    Args:
        options: the setting ``ASYNCWSGI``: fields of `Config`.
        certfile: see `Config`, as `keyfile`.
        keyfile: None if the key is in the same file.
        is_threaded: whether worker threads run the application; else it is the thread that calls
            `serve_forever`, one request at a time.

    Raises:
        ConfigError: options that cannot be served, or files that cannot be used.
    """
    for name in options:
        if name in _ARGUMENTS:
            raise ConfigError(f"{name} is said on the command line, by {_ARGUMENTS[name]}")
    config = Config.from_options({**DEFAULTS, **options, "certfile": certfile, "keyfile": keyfile})
    # Read here, where whoever has named the files is told.
    context = server_context(config)
    config = dataclasses.replace(
        config, certfile=None, keyfile=None, ca_certs=None, ssl_context=context,
        executor=None if is_threaded else CallingThread(),
    )  # fmt: skip
    return type("WSGIServer", (DevelopmentServer,), {"config": config})


class DevelopmentServer:
    """One server, made as `django.core.servers.basehttp.run` makes Django's own.

    Args:
        server_address: host and port.
        request_handler: Django's, which parses what h11 parses here.
        ipv6: whether a name stands for an address of IPv6, and not of IPv4.

    Raises:
        OSError: the address cannot be had. Its `errno` tells Django which message to show.
    """

    config = Config()

    def __init__(
        self, server_address: tuple[str, int], request_handler: object, *, ipv6: bool = False
    ) -> None:
        self._listeners = _open(*server_address, self.config, ipv6=ipv6)
        self.server_port = self._listeners[0].address[1]
        """As ``http.server`` calls it; Django's banner says it."""

    def set_app(self, application: WSGIApplication) -> None:
        """Say what is served."""
        self._application = application

    def serve_forever(self) -> None:
        """Serve until Ctrl+C, which comes to the main thread alone, or until the process ends."""
        enable_loggers()  # the project's LOGGING may have switched them off
        thread = ServerThread(_Server(self._application, self.config, self._listeners))
        atexit.register(_drain_at_exit, thread)
        try:
            thread.start()
            _wait(thread)
        finally:
            atexit.unregister(_drain_at_exit)
            _stop(thread)


def _wait(thread: ServerThread) -> None:
    """Wait until it has served, or run its requests."""
    executor = thread.server.config.executor
    if isinstance(executor, CallingThread):
        thread.ended.add_done_callback(lambda _: executor.wake())
        executor.work(thread.ended.done, SIGNAL_INTERVAL)
    while not thread.ended.done():
        concurrent.futures.wait({thread.ended}, timeout=SIGNAL_INTERVAL)


def _stop(thread: ServerThread) -> None:
    executor = thread.server.config.executor
    if executor is not None and thread.was_started and not thread.ended.done():
        # Nobody is left to run what waits.
        thread.shutdown()
        thread.abort()
        executor.shutdown(cancel_futures=True)
    thread.close()


def _drain_at_exit(thread: ServerThread) -> None:
    """Let clients have what is on its way to them before the interpreter freezes all threads.

    The autoreloader ends a process so, and Ctrl+C below it: both come out of the main thread.
    """
    if thread.was_started:
        thread.shutdown()
        timeout = thread.server.config.graceful_timeout + CUT_TIMEOUT
        concurrent.futures.wait({thread.ended}, timeout=timeout)


def _open(host: str, port: int, config: Config, *, ipv6: bool) -> list[Listener]:
    if ipv6 or host != "localhost":  # of which clients try the address of IPv6 first
        # As Django's server does: the first address of the family that was asked for.
        family = socket.AF_INET6 if ipv6 else socket.AF_INET
        [*_, address] = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)[0]
        host = str(address[0])
    try:
        return open_listeners(dataclasses.replace(config, host=host, port=port))
    except BindError as error:
        raise error.__cause__ or error from None


class ServerLines(AccessLogger):
    """Access lines as Django's server writes them: logger, level, format and arguments.

    So the project's LOGGING goes on to be right: its handlers, filters and colours. Besides, the
    record has all fields of this server's access lines as attributes.
    """

    def __init__(self, line_format: str) -> None:
        super().__init__(line_format)
        self._logger = logging.getLogger("django.server")

    def is_enabled(self) -> bool:
        return self._logger.isEnabledFor(logging.ERROR)

    def log(self, entry: AccessEntry) -> None:
        fields = entry.fields()
        request = f"{fields['method']} {fields['target']} {fields['protocol']}"
        extra = {**fields, "status_code": entry.status, "server_time": _server_time()}
        arguments = (request, str(entry.status), str(entry.size))
        self._logger.log(_level(entry.status), '"%s" %s %s', *arguments, extra=extra)


def _level(status: int) -> int:
    if status >= 500:
        return logging.ERROR
    return logging.WARNING if status >= 400 else logging.INFO


def _server_time() -> str:
    """The time as ``http.server`` writes it, with English names of months, whatever the locale."""
    now = time.localtime()
    month = BaseHTTPRequestHandler.monthname[now.tm_mon]
    return time.strftime(f"%d/{month}/%Y %H:%M:%S", now)


class _Exchange(Exchange):
    """A request that Ctrl+C interrupts, if the main thread runs it."""

    def fail(self, response: Response, error: BaseException) -> None:
        executor = self.dispatcher.config.executor
        if isinstance(executor, CallingThread) and not isinstance(error, Exception):
            executor.leave(error)
        else:
            super().fail(response, error)


class _Server(Server):
    """Serves listeners that are open already."""

    access_logger_class = ServerLines
    exchange_class = _Exchange

    def __init__(
        self, application: WSGIApplication, config: Config, listeners: list[Listener]
    ) -> None:
        super().__init__(application, config)
        self._given = listeners

    def open_listeners(self) -> list[Listener]:
        return self._given
