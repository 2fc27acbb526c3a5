"""Answers clients while there is no code that could.

Clients whose server waits for somebody to mend the code would wait with it, and a browser would
show nothing of what is wrong. So there is a server in the process of the supervisor, on the same
listeners, and it knows nothing of the application but why that does not serve.

A child and this one never accept at the same time: it leaves as soon as a child begins to import.
Who connects from then on waits for the new code, and not for a second look at the old error. Who
was accepted before is answered, since a server that stops with a successor waits for a request that
is on its way. Nothing here waits for a client or for a thread, so that the supervisor goes on
whatever clients do.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from asyncwsgi.development.debugger import for_trusted_hosts
from asyncwsgi.development.error_page import FIRST_CODE, ErrorPage
from asyncwsgi.development.report import Report
from asyncwsgi.errors import AsyncWSGIError
from asyncwsgi.server.listeners import Listener
from asyncwsgi.server.server import Server, closing_server
from asyncwsgi.server.tls import server_context
from asyncwsgi.server_log import logger
from asyncwsgi.supervision.service import Service

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication

    from asyncwsgi.config import Config

GRACEFUL_TIMEOUT = 1.0
"""Seconds that its requests in flight get. They ask nobody for anything."""
RETRY_AFTER = 1
"""Seconds behind which a client may try again."""


class StandIn:
    """A server that says that nobody serves, from time to time. In a running loop.

    Args:
        service: what is not served.
        listeners: where; they stay their owner's.
    """

    def __init__(self, service: Service, listeners: Sequence[Listener]) -> None:
        self._service = service
        self._listeners = listeners
        self._page = ErrorPage(_refuse, FIRST_CODE, service.development.editor_link)
        self._server: Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        """One, and those that have left and have not stopped yet."""

    def answer(self, report: Report) -> None:
        """Answer clients from now on.

        Args:
            report: why nobody serves, for those who may see it.
        """
        self._page.report = report
        if self._server is not None:
            return
        try:
            self._server = self._make_server()
        except AsyncWSGIError as error:
            logger.error("clients wait meanwhile: %s", error)
            return
        task = asyncio.get_running_loop().create_task(self._serve(self._server))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    def leave(self, *, has_successor: bool) -> None:
        """Accept nobody from now on.

        Args:
            has_successor: who has connected and was not accepted yet is left to a child.
        """
        server, self._server = self._server, None
        if server is not None:
            server.begin_shutdown(has_successor=has_successor)

    async def close(self) -> None:
        """Leave for good, and wait until those are answered who were accepted."""
        self.leave(has_successor=False)
        if self._serving:
            await asyncio.wait(self._serving)

    async def _serve(self, server: Server) -> None:
        try:
            async with server:
                if server is self._server:  # else it was told to leave meanwhile
                    logger.info("answering with 503 on %s", ", ".join(server.urls))
                await server.serve_forever()
        except (AsyncWSGIError, OSError) as error:  # such as that no descriptor is left
            logger.error("clients wait meanwhile: %s", error)

    def _make_server(self) -> Server:
        """Raises ConfigError: the files of TLS cannot be used."""
        config = self._service.config
        application: WSGIApplication = _refuse
        if self._service.development.debugger:
            application = for_trusted_hosts(self._page, _refuse, config)
        return closing_server(application, _own_config(config, self._listeners))


def _own_config(config: Config, listeners: Sequence[Listener]) -> Config:
    """What `config` says of clients, and nothing of what it says of the application."""
    return dataclasses.replace(
        config,
        bind=tuple(listener.bind for listener in listeners),
        # Nobody is asked for a passphrase, which would hold up the loop: it is known by now.
        ssl_context=server_context(config),
        certfile=None,
        keyfile=None,
        keyfile_password=None,
        ca_certs=None,
        threads=1,
        park_async_views=False,
        lifespan=None,
        metrics_bind="",
        ready_path="",  # that is answered as all else
        shutdown_delay=0.0,
        graceful_timeout=GRACEFUL_TIMEOUT,
        # Pages that look whether the code was mended would take the terminal from its traceback.
        access_log=False,
    )


def _refuse(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    body = b"503 Service Unavailable\n"
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Retry-After", str(RETRY_AFTER)),
        ("Cache-Control", "no-store"),
    ]
    start_response("503 Service Unavailable", headers)
    return [body]
