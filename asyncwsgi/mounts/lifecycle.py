"""The life of a mount: begun with its first request or before, ended with its loop at the latest.

A mount has no loop of its own. It serves on the one that first calls it, and on another only when
it is closed or that loop is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextvars import Context, copy_context
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from asyncwsgi.errors import ConfigError, RequestRefused
from asyncwsgi.mounts.environs import Environs
from asyncwsgi.mounts.options import mount_config
from asyncwsgi.requests.assembly import make_dispatcher
from asyncwsgi.server.ticker import Ticker
from asyncwsgi.server_log import logger
from asyncwsgi.words import counted
from asyncwsgi.wsgi.application import why_no_application

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from asyncwsgi.config import Config

TICK_INTERVAL = 1.0
"""Seconds between looks at idle threads and idle streams."""
LOOK_INTERVAL = 0.1
"""Seconds between looks at clients whose requests take so long."""
CUT_TIMEOUT = 1.0
"""Seconds that the application gets to notice that its clients were cut."""


class Watched(Protocol):
    """A connection whose client may leave."""

    def look(self) -> bool:
        """Look whether the client is still there; whether to look again."""


class Mount:
    """An application and its options, which serve on one loop at a time.

    Args:
        application: the WSGI application.
        options: those of `asyncwsgi.mounts.options`, by name.
        more_options: names that this kind of mount has besides.

    Raises:
        ConfigError: options that cannot be served, or no WSGI application.
    """

    def __init__(
        self,
        application: WSGIApplication,
        options: Mapping[str, Any],
        *,
        more_options: tuple[str, ...] = (),
    ) -> None:
        if objection := why_no_application(application):
            raise ConfigError(f"the application {application!r} {objection}")
        self._application = application
        self.config = mount_config(options, more=more_options)
        self._service: Service | None = None

    def start(self) -> Service:
        """What serves on the loop that runs; begun now if it was not.

        Raises:
            RuntimeError: no asyncio loop runs, or the mount serves on another one.
        """
        service, loop = self._service, _running_loop()
        if service is None or service.has_ended:
            # In an empty Context: what is made now outlives the request that asks for it.
            service = self._service = Context().run(Service, self._application, self.config)
        elif service.loop is not loop:
            raise RuntimeError(
                "this mount serves on another event loop, which still runs: await its aclose() "
                "there first, or make a mount for each loop"
            )
        return service

    async def close(self) -> None:
        """Let requests in flight end, cut those that have not after ``graceful_timeout``, and stop.

        It may be started again afterwards. Does nothing if it was not.

        Raises:
            RuntimeError: it serves on another loop.
        """
        service = self._service
        if service is not None and not service.has_ended:
            await self.start().stop()


class Mounted:
    """What a host is given: an application that serves as long as its mount does."""

    def __init__(self, mount: Mount) -> None:
        self.mount = mount

    async def aclose(self) -> None:
        """Let requests in flight end, and stop; its next request starts it again.

        Those that have not ended after ``graceful_timeout`` are cut; responses without an end of
        their own, such as event streams, at once.
        """
        await self.mount.close()

    async def __aenter__(self) -> Self:
        self.mount.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


class Service:
    """What serves a mount on the loop that runs, from when it is made."""

    def __init__(self, application: WSGIApplication, config: Config) -> None:
        self.loop = asyncio.get_running_loop()
        self._context = copy_context()
        self.dispatcher = make_dispatcher(application, config)
        self.environs = Environs(multithread=self.dispatcher.workers.limit != 1)
        self._config = config
        self._watched: set[Watched] = set()
        self._next_look: asyncio.TimerHandle | None = None
        interval = min(TICK_INTERVAL, config.thread_idle_timeout / 4)
        self._ticker = Ticker(self.loop, interval, self.dispatcher.tick)
        self._ticker.start()
        self._stop_asked = asyncio.Event()
        self._was_cut = asyncio.Event()
        self._is_stopped = False
        # A task, so that it hears of the end of a loop on which nobody has closed the mount:
        # `asyncio.run` cancels every task before it closes its loop.
        self._life = self.loop.create_task(self._live(), name="asyncwsgi-mount", context=Context())

    @property
    def has_ended(self) -> bool:
        """Whether it serves no more: it was stopped, or its loop is gone."""
        return self._is_stopped or self.loop.is_closed()

    def check_open(self) -> None:
        """Refuse requests that come while it stops.

        Raises:
            RequestRefused: with 503.
        """
        if self.dispatcher.is_draining:
            raise RequestRefused(503, "the mount is closing")

    def watch(self, connection: Watched) -> None:
        """Look whether the client of `connection` is there, once its request takes long.

        Most requests are answered before the next look, and cost no more than this call: whoever
        waits for the news that a client has left needs a task, or asks again and again.
        """
        self._watched.add(connection)
        if self._next_look is None:
            self._next_look = self._book_look()

    def forget(self, connection: Watched) -> None:
        """Look no more at `connection`."""
        self._watched.discard(connection)

    async def stop(self) -> None:
        """Drain and end. Whoever cancels it cuts what is in flight."""
        self._stop_asked.set()
        try:
            await asyncio.shield(self._life)
        except asyncio.CancelledError:
            self._was_cut.set()
            raise

    def _look(self) -> None:
        self._next_look = None
        for connection in list(self._watched):
            if not connection.look():
                self._watched.discard(connection)
        if self._watched:
            self._next_look = self._book_look()

    def _book_look(self) -> asyncio.TimerHandle:
        # In no request's Context: it would be kept from one look to the next.
        return self.loop.call_later(LOOK_INTERVAL, self._look, context=self._context)

    async def _live(self) -> None:
        try:
            await self._stop_asked.wait()
            await self._drain()
        except asyncio.CancelledError:
            self._was_cut.set()
        finally:
            if not self.loop.is_closed():
                await self._close()

    async def _drain(self) -> None:
        dispatcher, timeout = self.dispatcher, self._config.graceful_timeout
        dispatcher.is_draining = True
        dispatcher.cut_endless()
        began = self.loop.time()
        idle = self.loop.create_task(dispatcher.wait_until_idle())
        await self._wait_or_cut(idle, timeout)
        if not idle.done():
            in_flight = counted(len(dispatcher.exchanges), "request")
            logger.warning("cut after graceful_timeout of %g s: %s", timeout, in_flight)
            for exchange in list(dispatcher.exchanges):
                dispatcher.cut(exchange)
            dispatcher.tasks.cancel_calls()
        idle.cancel()
        ended = self.loop.create_task(dispatcher.wait_until_all_ended())
        await asyncio.wait({ended}, timeout=CUT_TIMEOUT)
        ended.cancel()
        left = timeout - (self.loop.time() - began)
        await dispatcher.tasks.drain(left, self._was_cut, CUT_TIMEOUT)

    async def _wait_or_cut(self, task: asyncio.Task[None], timeout: float) -> None:
        cut = self.loop.create_task(self._was_cut.wait())
        await asyncio.wait({task, cut}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        cut.cancel()

    async def _close(self) -> None:
        """Let go of all that was begun; what still runs is cut."""
        dispatcher = self.dispatcher
        dispatcher.is_draining = True
        for exchange in list(dispatcher.exchanges):
            dispatcher.cut(exchange)
        dispatcher.tasks.close()
        dispatcher.watch.stop()
        self._ticker.stop()
        if self._next_look is not None:
            self._next_look.cancel()
        try:
            await dispatcher.workers.stop()
        finally:
            self._is_stopped = True


def _running_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "a mount of asyncwsgi needs an asyncio event loop, and none runs here; let the host "
            "server use asyncio or uvloop, not trio"
        ) from None
