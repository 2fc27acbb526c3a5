"""Real servers, each in a thread with a loop of its own, in which applications are mounted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import uvicorn
from aiohttp import web
from hypercorn.asyncio import serve as serve_by_hypercorn
from hypercorn.config import Config as HypercornConfig

from asyncwsgi.aiohttp import WSGIHandler
from asyncwsgi.asgi import WSGIApp
from asyncwsgi.config import Loop
from tests.client import TIMEOUT, Client, connect
from tests.loops import LOOPS

Serving = Callable[[Any, socket.socket, asyncio.Event], Coroutine[Any, Any, None]]
"""Serves an application of its host on a listener until the event is set."""


async def by_uvicorn(
    app: Any, listener: socket.socket, stop: asyncio.Event, **options: Any
) -> None:
    options = {"ws": "none", "log_config": None, "access_log": False} | options
    config = uvicorn.Config(app, **options)
    server = uvicorn.Server(config)
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    await _first(serving, stop)
    server.should_exit = True
    await serving


async def by_hypercorn(app: Any, listener: socket.socket, stop: asyncio.Event) -> None:
    config = HypercornConfig()
    config.bind = [f"fd://{os.dup(listener.fileno())}"]  # which it closes
    config.accesslog = config.errorlog = None
    config.graceful_timeout = TIMEOUT
    await serve_by_hypercorn(app, config, shutdown_trigger=stop.wait, mode="asgi")


async def by_aiohttp(
    app: Any, listener: socket.socket, stop: asyncio.Event, **options: Any
) -> None:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=TIMEOUT, **options)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        await stop.wait()
    finally:
        await runner.cleanup()


async def _first(serving: asyncio.Future[None], stop: asyncio.Event) -> None:
    stopped = asyncio.ensure_future(stop.wait())
    either: set[asyncio.Future[Any]] = {serving, stopped}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()


def mounted_in_aiohttp(application: Any, **options: Any) -> web.Application:
    handler = WSGIHandler(application, **options)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    app.cleanup_ctx.append(handler.cleanup_ctx)
    return app


FACTORIES: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
if "uvloop" in LOOPS:
    import uvloop

    FACTORIES["uvloop"] = uvloop.new_event_loop

HOSTS: dict[str, tuple[Callable[..., Any], Serving]] = {
    "uvicorn": (WSGIApp, by_uvicorn),
    "hypercorn": (WSGIApp, by_hypercorn),
    "aiohttp": (mounted_in_aiohttp, by_aiohttp),
}
"""For each host what makes its application of a WSGI application, and what serves that."""


class Hosted:
    """A host that serves."""

    def __init__(self, address: tuple[str, int], loop: asyncio.AbstractEventLoop) -> None:
        self.address = address
        self.loop = loop

    @property
    def url(self) -> str:
        return f"http://{self.address[0]}:{self.address[1]}"

    def connect(self) -> Client:
        return connect(self.address)


@contextlib.contextmanager
def hosted(app: Any, serving: Serving, loop_kind: Loop = "asyncio") -> Iterator[Hosted]:
    """Serve an application of its host in a thread, on a loop of its own.

    Clients may connect at once: they wait in the listener until the host accepts.
    """
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        begun: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        has_begun = threading.Event()
        errors: list[BaseException] = []

        async def main() -> None:
            stop = asyncio.Event()
            begun.append((asyncio.get_running_loop(), stop))
            has_begun.set()
            await serving(app, listener, stop)

        def run() -> None:
            try:
                with asyncio.Runner(loop_factory=FACTORIES[loop_kind]) as runner:
                    runner.run(main())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=run, name="host")
        thread.start()
        assert has_begun.wait(TIMEOUT), "the loop of the host does not run"
        ((loop, stop),) = begun
        try:
            yield Hosted(listener.getsockname(), loop)
        finally:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(stop.set)
            thread.join(TIMEOUT)
        assert not thread.is_alive(), "the host does not stop"
        assert errors == []
