"""Starts what no command line can make fair: `launch.py SERVER APP PORT THREADS [CERT KEY]`.

Runs inside the server process, with the interpreter of the benchmark's environment.  Each function
lifts one default that would cap or slow its server here, and says which.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from wsgiref.types import WSGIApplication

    from flask import Flask

HOST = "127.0.0.1"
THREADS = 8
BACKLOG = 4096
CONNECTIONS = 12_000


@dataclass(frozen=True, slots=True)
class Settings:
    port: int
    threads: int
    certificate: tuple[str, str] | None = None
    """The files of chain and key."""


def waitress(app: WSGIApplication, settings: Settings) -> None:
    import waitress  # type: ignore[import-not-found,import-untyped,unused-ignore]

    # More busy connections than threads is what a load test is; waitress warns of it per request.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    waitress.serve(
        app,
        host=HOST,
        port=settings.port,
        threads=settings.threads,
        backlog=BACKLOG,
        connection_limit=CONNECTIONS,
        asyncore_use_poll=True,  # select() cannot watch a descriptor above 1023
    )


def cheroot(app: WSGIApplication, settings: Settings) -> None:
    from cheroot.ssl.builtin import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
        BuiltinSSLAdapter,
    )
    from cheroot.wsgi import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
        Server,
    )

    threads = settings.threads
    address = (HOST, settings.port)
    server = Server(address, app, numthreads=threads, max=threads, request_queue_size=BACKLOG)
    server.keep_alive_conn_limit = None  # the default keeps 10 connections and closes the others
    server.timeout = 75  # the default closes a connection that has been idle for 10 seconds
    if settings.certificate is not None:
        server.ssl_adapter = BuiltinSSLAdapter(*settings.certificate)
    server.start()


def werkzeug(app: WSGIApplication, settings: Settings) -> None:
    from werkzeug.serving import run_simple

    _run_simple(run_simple, app, settings.port)


def drop_in(app: WSGIApplication, settings: Settings) -> None:
    from asyncwsgi.serving import run_simple

    _run_simple(run_simple, app, settings.port)


def override(app: Flask, settings: Settings) -> None:
    """Async views without asgiref, by the override that Flask documents for it."""
    import asyncwsgi

    app.async_to_sync = asyncwsgi.async_to_sync  # type: ignore[method-assign,assignment]
    asyncwsgi.run(app, host=HOST, port=settings.port, threads=settings.threads, access_log=False)


def _run_simple(run_simple: Callable[..., None], app: WSGIApplication, port: int) -> None:
    from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler

    class SilentHandler(WSGIRequestHandler):
        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Access logs are off everywhere; run_simple() has no switch for its own."""

    BaseWSGIServer.request_queue_size = BACKLOG  # the default of 128 drops connections at 1,000
    run_simple(HOST, port, app, threaded=True, request_handler=SilentHandler)


SERVERS = {
    "waitress": waitress,
    "cheroot": cheroot,
    "werkzeug": werkzeug,
    "drop-in": drop_in,
    "override": override,
}

if __name__ == "__main__":
    name, app_name, port_number, thread_number, *files = sys.argv[1:]
    chain_and_key = (files[0], files[1]) if files else None
    given = Settings(int(port_number), int(thread_number), chain_and_key)
    SERVERS[name](getattr(import_module("apps"), app_name), given)
