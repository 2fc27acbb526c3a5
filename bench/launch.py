"""Starts the peers whose own command line cannot be made fair: `launch.py SERVER APP PORT`.

Runs inside the server process, with the interpreter of the benchmark's environment.  Each function
lifts one default that would cap or slow its server here, and says which.
"""

from __future__ import annotations

import logging
import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from wsgiref.types import WSGIApplication

    from flask import Flask

HOST = "127.0.0.1"
THREADS = 8
BACKLOG = 2048
CONNECTIONS = 4096


def waitress(app: WSGIApplication, port: int) -> None:
    import waitress  # type: ignore[import-not-found,import-untyped,unused-ignore]

    # More busy connections than threads is what a load test is; waitress warns of it per request.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    waitress.serve(
        app,
        host=HOST,
        port=port,
        threads=THREADS,
        backlog=BACKLOG,
        connection_limit=CONNECTIONS,
        asyncore_use_poll=True,  # select() cannot watch a descriptor above 1023
    )


def cheroot(app: WSGIApplication, port: int) -> None:
    from cheroot.wsgi import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
        Server,
    )

    server = Server((HOST, port), app, numthreads=THREADS, max=THREADS, request_queue_size=BACKLOG)
    server.keep_alive_conn_limit = None  # the default keeps 10 connections and closes the others
    server.start()


def werkzeug(app: WSGIApplication, port: int) -> None:
    from werkzeug.serving import run_simple

    _run_simple(run_simple, app, port)


def drop_in(app: WSGIApplication, port: int) -> None:
    from asyncwsgi.serving import run_simple

    _run_simple(run_simple, app, port)


def override(app: Flask, port: int) -> None:
    """Async views without asgiref, by the override that Flask documents for it."""
    import asyncwsgi

    app.async_to_sync = asyncwsgi.async_to_sync  # type: ignore[method-assign,assignment]
    asyncwsgi.run(app, host=HOST, port=port, threads=THREADS, access_log=False)


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
    name, app_name, port_number = sys.argv[1:]
    SERVERS[name](getattr(import_module("apps"), app_name), int(port_number))
