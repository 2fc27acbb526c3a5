"""Imported by every process of the virtual environment: puts ours in place, counts servers.

Does nothing unless the runner asked for it. Each server that begins to serve is one line of the
file that CONFORMANCE_SERVERS names: whose loop it runs on, and the test that it serves. So is each
request that a server of asyncwsgi takes.
"""

from __future__ import annotations

import os
import socketserver
from functools import wraps
from typing import Any


def count_servers() -> None:
    """Count what begins to serve on the standard library's loop, as Werkzeug's servers do."""
    serve_forever = socketserver.BaseServer.serve_forever

    @wraps(serve_forever)
    def counted(self: socketserver.BaseServer, *args: Any, **kwargs: Any) -> None:
        write("werkzeug")
        serve_forever(self, *args, **kwargs)

    socketserver.BaseServer.serve_forever = counted  # type: ignore[method-assign]


def count_own_servers() -> None:
    """Count servers of asyncwsgi once they accept connections."""
    from asyncwsgi.server.server import Server

    start = Server.start

    @wraps(start)
    async def counted(self: Server) -> None:
        await start(self)
        write("asyncwsgi")

    Server.start = counted  # type: ignore[method-assign]


def count_own_requests() -> None:
    """Count requests of which asyncwsgi has read the head."""
    from asyncwsgi.requests.exchange import Exchange

    begin = Exchange.__init__

    @wraps(begin)
    def counted(self: Exchange, *args: Any, **kwargs: Any) -> None:
        write("request")
        begin(self, *args, **kwargs)

    Exchange.__init__ = counted  # type: ignore[method-assign]


def write(whose: str) -> None:
    # pytest sets this variable to the running test and its phase; the servers of the tests inherit
    # it. A line this short is written in one piece, also when two processes write at once.
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    with open(os.environ["CONFORMANCE_SERVERS"], "a", encoding="utf-8") as file:  # noqa: PTH123
        file.write(f"{whose}\t{test}\n")


if "CONFORMANCE_SERVERS" in os.environ:
    count_servers()
    if "CONFORMANCE_OURS" in os.environ:
        import asyncwsgi.serving

        count_own_servers()
        count_own_requests()
        asyncwsgi.serving.install()
