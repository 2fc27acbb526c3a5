"""A pytest plugin: the live server of conformance_wire is uvicorn, with the application mounted."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator

import conformance_wire  # type: ignore[import-not-found]
import uvicorn

from asyncwsgi.asgi import WSGIApp


class Server(uvicorn.Server):
    """Tells whose loop it is."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        conformance_wire.loops.append(asyncio.get_running_loop())
        await super().startup(sockets)


@contextlib.contextmanager
def serving() -> Iterator[int]:
    """Serve the application of conformance_wire; the port."""
    app = WSGIApp(conformance_wire.application)
    server = Server(uvicorn.Config(app, log_config=None, access_log=False))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


conformance_wire.serving = serving
