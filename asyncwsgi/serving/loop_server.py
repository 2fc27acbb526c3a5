"""The asyncio server under a Werkzeug server object, and the thread that may do its work.

How the threads of a Werkzeug server relate. Werkzeug's programs know one thread: the one that calls
``serve_forever()``. It hears Ctrl+C, it is where exceptions come out, and without ``threaded=True``
it runs the application, so that what is bound to a thread (a SQLite connection, a debugger) is
found there. A loop must not stand still while the application runs. So the loop gets a thread of
its own, for the length of ``serve_forever()``, and the caller's thread either waits for its end
(threaded: the application runs in the worker threads of `LoopServer`) or does the work itself: it
is the executor (`CallingThread`) to which the loop hands one request at a time.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import Executor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from asyncwsgi.config import Config
from asyncwsgi.server.server import Server
from asyncwsgi.serving.connection import WerkzeugConnection, timeouts
from asyncwsgi.serving.handler import WerkzeugServer

if TYPE_CHECKING:
    import socket

    from asyncwsgi.frontends.frontend import Frontend
    from asyncwsgi.server.listeners import Listener

MOST_THREADS = 1024
"""Werkzeug has a thread for each connection: a long poll or a WebSocket holds one for its life."""


class LoopServer(Server):
    """Serves a Werkzeug server's socket and application, by its handler class.

    Args:
        wsgi_server: bound and listening; its socket stays its own.
        executor: runs the application in place of worker threads.
    """

    def __init__(self, wsgi_server: WerkzeugServer, executor: Executor | None) -> None:
        super().__init__(wsgi_server.app, _config(wsgi_server, executor))
        self._wsgi_server = wsgi_server

    def make_connection(self) -> WerkzeugConnection:
        return WerkzeugConnection(self.frontend, self._wsgi_server)

    def make_frontend(self) -> Frontend:
        frontend = super().make_frontend()
        address = self._wsgi_server.server_address
        if isinstance(address, str):
            limits = replace(frontend.limits, own_name=os.fsencode(address))
            frontend = replace(frontend, limits=limits)
        return frontend


class OneRequestServer(LoopServer):
    """Answers one request of a client that was accepted already, and stops.

    Args:
        client: the accepted socket; the server's from now on.
    """

    def __init__(
        self, wsgi_server: WerkzeugServer, executor: Executor | None, client: socket.socket
    ) -> None:
        super().__init__(wsgi_server, executor)
        self._client = client

    async def start(self) -> None:
        await super().start()
        # Like socketserver: a client that leaves, or cannot speak TLS, was a request, too.
        self.adopt(self._client)
        loop = asyncio.get_running_loop()
        self._stopping_behind = loop.create_task(self._stop_behind_client())

    def make_connection(self) -> WerkzeugConnection:
        return WerkzeugConnection(self.frontend, self._wsgi_server, is_only_one=True)

    def open_listeners(self) -> list[Listener]:
        return []

    async def _stop_behind_client(self) -> None:
        await self.wait_until_disconnected()
        await self.shutdown()


def _config(wsgi_server: WerkzeugServer, executor: Executor | None) -> Config:
    options: dict[str, Any] = {}
    timeout = getattr(wsgi_server.RequestHandlerClass, "timeout", None)
    if timeout is not None:
        options.update(timeouts(timeout))
    return Config(
        bind=(f"fd://{wsgi_server.fileno()}",),
        backlog=wsgi_server.request_queue_size,
        ssl_context=wsgi_server.ssl_context,
        threads=MOST_THREADS,
        max_target_size=64 * 1024,  # http.server: a line may have 64 KiB, whatever is in it
        executor=executor,
        graceful_timeout=wsgi_server.graceful_timeout,
        access_log=False,  # the handler logs
        **options,
    )
