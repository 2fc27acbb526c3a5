"""The life of one server in a running event loop: bind, serve, drain, stop.

No signal handlers, no logging configuration, no loop policy, no global state: any number of servers
may live in one loop. Whoever owns the process decides about the rest (see `asyncwsgi.running`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from asyncwsgi.access_log import AccessLogger
from asyncwsgi.config import Config
from asyncwsgi.coroutines.loop_work import LoopWork
from asyncwsgi.errors import ConfigError
from asyncwsgi.frontends.http import Frontend, HttpConnection
from asyncwsgi.frontends.registry import Registry, Spared
from asyncwsgi.http1.parser import HeadLimits
from asyncwsgi.requests.contexts import context_maker
from asyncwsgi.requests.dispatcher import Dispatcher
from asyncwsgi.requests.exchange import Exchange, ExchangeFactory
from asyncwsgi.requests.mailbox import Mailbox
from asyncwsgi.requests.request_body import RequestBody
from asyncwsgi.requests.worker_threads import ExecutorWorkers, Workers, WorkerThreads
from asyncwsgi.server.accepting import Acceptor
from asyncwsgi.server.lifespan import Lifespan
from asyncwsgi.server.listeners import Address, Listener, open_listeners
from asyncwsgi.server.tls import server_context
from asyncwsgi.wsgi.environ import server_environ

if TYPE_CHECKING:
    import socket
    import ssl
    from wsgiref.types import WSGIApplication

logger = logging.getLogger("asyncwsgi.server")

LONGEST_TICK = 1.0
"""Seconds between looks at deadlines; fewer when a timeout is shorter than a few of them."""
SHORTEST_TICK = 0.01
CUT_TIMEOUT = 1.0
"""Seconds that the application gets to notice that its clients were cut."""
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class Server:
    """A WSGI application on one or more listeners, served by the running loop.

    ``async with Server(app, port=0) as server`` is bound and accepting inside the block, and drains
    when it is left. The classes below are what it is built from; a subclass may replace them.

    Args:
        application: the WSGI application.
        config: all options at once; or give them by name (see `Config`).

    Raises:
        ConfigError: options that cannot be served.
    """

    connection_class: type[HttpConnection] = HttpConnection
    exchange_class: ExchangeFactory = Exchange
    request_body_class: type[RequestBody] = RequestBody
    worker_threads_class: type[WorkerThreads] = WorkerThreads
    access_logger_class: type[AccessLogger] = AccessLogger
    arrival_timeout: float = 0.5
    """Seconds that a request which is on its way when the server stops may take to arrive."""

    def __init__(
        self, application: WSGIApplication, config: Config | None = None, **options: Any
    ) -> None:
        if config is not None and options:
            raise ConfigError("give either config or options, not both")
        if not callable(application):
            raise ConfigError(f"application {application!r} is not callable; expected a WSGI app")
        self.application = application
        self.config = config or Config.from_options(options)
        self._lifespan = Lifespan(self.config.lifespan, on_lost=self.shutdown)
        self._new_context = context_maker(self.config.context)
        self._listeners: list[Listener] = []
        self._addresses: tuple[Address, ...] = ()
        self._ssl_context: ssl.SSLContext | None = None
        self._ticker: asyncio.TimerHandle | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._was_started = False
        self._is_accepting = False
        self._was_shut_down = False
        self._was_cut = asyncio.Event()
        self._has_stopped = asyncio.Event()
        self.before_cut: Callable[[], object] | None = None
        """Called on the loop when requests in flight are about to be cut at a shutdown."""

    # Life.

    async def start(self) -> None:
        """Bind and accept. When this returns, clients are served.

        Raises:
            BindError: an address cannot be had; nothing stays open.
            ConfigError: TLS files that cannot be used.
            LifespanError: the lifespan could not be entered; nothing stays open.
            RuntimeError: it was started before; make a new `Server`.
        """
        if self._was_started:
            raise RuntimeError("this server was started before; make a new Server")
        self._loop = asyncio.get_running_loop()
        self._ssl_context = server_context(self.config)
        self._listeners = self._open_listeners()
        self._was_started = True
        self._addresses = tuple(listener.address for listener in self._listeners)
        self._registry = Registry(self.config.max_connections)
        self._dispatcher = self._make_dispatcher()
        self._frontend = self._make_frontend()
        self._acceptor = Acceptor(self._make_connection, self._registry, self._tls_options())
        try:
            await self._lifespan.enter()
            if not self._was_shut_down:
                await self._acceptor.start(self.sockets, self.config.backlog)
        except BaseException:
            self._close_listeners()
            await self._lifespan.leave(self._was_cut, CUT_TIMEOUT)
            raise
        if self._was_shut_down:  # meanwhile
            self._dispatcher.is_draining = True
            self._registry.close_idle(Spared.NONE)
            self._close_listeners()
            await self._lifespan.leave(self._was_cut, CUT_TIMEOUT)
            return
        self._is_accepting = True
        self._tick_interval = self._choose_tick_interval()
        self._tick()
        if self._addresses:
            scheme = self._scheme
            logger.info("listening on %s", ", ".join(_url(scheme, a) for a in self._addresses))

    async def serve_forever(self) -> None:
        """Wait until the server has shut down, whoever asked for it."""
        await self._has_stopped.wait()

    async def stop_accepting(self, *, has_successor: bool = False) -> None:
        """Close the listeners; what is connected stays served. May be called more than once.

        Args:
            has_successor: clients that have connected and are not accepted yet are left to another
                server on the same listeners.
        """
        if self._is_accepting:
            self._is_accepting = False
            self._acceptor.stop(takes_backlog=not has_successor)
            self._close_listeners()

    async def shutdown(self, *, has_successor: bool = False) -> None:
        """Stop gracefully: close the listeners and idle connections, let requests in flight end.

        Those that have not ended after ``graceful_timeout`` seconds are cut; responses without an
        end of their own, such as event streams, at once. May be called more than once, and while
        it runs.

        Args:
            has_successor: clients go on with another server on the same listeners, and no request
                shall be lost on the way: connections that wait for their next request, too, get a
                moment for one that was sent already.
        """
        self._was_shut_down = True
        if self._ticker is None:
            self._lifespan.give_up()
            self._has_stopped.set()
            return
        if self._stopping is None:
            spared = Spared.ALL if has_successor else Spared.ARRIVING
            self._stopping = self._loop.create_task(self._stop(spared))
        await asyncio.shield(self._stopping)

    def abort(self) -> None:
        """Cut every connection at once; a graceful shutdown that waits for them then ends.

        So does one that waits for a lifespan which tidies up.
        """
        if self._was_shut_down:
            self._was_cut.set()
            self._lifespan.give_up()
        if self._ticker is not None:
            self._registry.abort_all()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.shutdown()

    async def _stop(self, spared: Spared) -> None:
        self._dispatcher.is_draining = True
        logger.info("stopping; %d requests in flight", len(self._dispatcher.exchanges))
        try:
            await self.stop_accepting(has_successor=spared is Spared.ALL)
            self._dispatcher.abandon_endless()
            self._registry.close_idle(spared)
            began = self._loop.time()
            await self._drain()
            left = self.config.graceful_timeout - (self._loop.time() - began)
            await self._dispatcher.loop_work.drain(left, self._was_cut, CUT_TIMEOUT)
            await self._dispatcher.workers.stop()
            await self._lifespan.leave(self._was_cut, CUT_TIMEOUT)
        finally:
            self._dispatcher.loop_work.close()
            if self._ticker is not None:
                self._ticker.cancel()
            self._has_stopped.set()

    async def _drain(self) -> None:
        timeout = self.config.graceful_timeout
        grace = min(self.arrival_timeout, timeout)
        waited = self._loop.call_later(grace, self._registry.close_idle, Spared.NONE)
        over = self._loop.create_task(self._wait_until_over())
        cut = self._loop.create_task(self._was_cut.wait())
        first = asyncio.FIRST_COMPLETED
        done, _ = await asyncio.wait({over, cut}, timeout=timeout, return_when=first)
        if not done:
            if self.before_cut is not None:
                self.before_cut()
            self._warn_of_cut(timeout)
            self.abort()
        if not over.done():
            self._dispatcher.loop_work.calls.cancel_all()
        # Whoever was cut hears of it when it next reads or writes, and then tidies up.
        ended = self._loop.create_task(self._dispatcher.wait_until_all_ended())
        await asyncio.wait({over, ended}, timeout=CUT_TIMEOUT)
        for task in (over, ended, cut):
            task.cancel()
        waited.cancel()

    async def _wait_until_over(self) -> None:
        await self._registry.wait_until_empty()
        await self._dispatcher.wait_until_idle()

    def _warn_of_cut(self, timeout: float) -> None:
        requests = [f"{e.head.method} {e.head.target}" for e in self._dispatcher.exchanges]
        logger.warning(
            "cut after graceful_timeout of %g s; in flight: %s",
            timeout,
            ", ".join(requests[:5]) or "nothing but connections",
        )

    # What it serves.

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The listening sockets, in the order of the options."""
        return tuple(listener.sock for listener in self._listeners)

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it listens: (host, port) for TCP, the path for a Unix socket."""
        return self._addresses

    @property
    def port(self) -> int:
        """The port of the first TCP listener.

        Raises:
            LookupError: there is none.
        """
        for address in self._addresses:
            if not isinstance(address, str):
                return address[1]
        raise LookupError("this server listens on no TCP port")

    @property
    def url(self) -> str:
        """The URL of the first listener, without a slash at the end; ``unix:PATH`` for a socket."""
        return self.urls[0]

    @property
    def urls(self) -> tuple[str, ...]:
        """A URL for each listener that a client on this machine can connect to."""
        return tuple(_url(self._scheme, _reachable(address)) for address in self._addresses)

    @property
    def _scheme(self) -> str:
        return "http" if self._ssl_context is None else "https"

    # Parts.

    def _make_dispatcher(self) -> Dispatcher:
        config = self.config
        mailbox = Mailbox(self._loop)
        work = LoopWork(mailbox, has_async_views=config.async_views_on_loop)
        return Dispatcher(
            self.application,
            config,
            mailbox=mailbox,
            workers=self._make_workers(mailbox, work),
            loop_work=work,
            access_logger=self.access_logger_class(config.access_log_format),
            request_body_class=self.request_body_class,
            new_context=self._new_context,
        )

    def _make_workers(self, mailbox: Mailbox, work: LoopWork) -> Workers:
        config = self.config
        if config.executor is not None:
            return ExecutorWorkers(config.executor, queue_size=config.queue_size, home=work.home)
        return self.worker_threads_class(
            mailbox,
            limit=config.threads,
            queue_size=config.queue_size,
            idle_timeout=config.thread_idle_timeout,
            home=work.home,
        )

    def _make_frontend(self) -> Frontend:
        config = self.config
        return Frontend(
            dispatcher=self._dispatcher,
            registry=self._registry,
            limits=HeadLimits(config.max_head_size, config.max_headers, config.max_target_size),
            environ=server_environ(
                root_path=config.root_path, multithread=self._dispatcher.workers.limit != 1
            ),
            exchange_class=self.exchange_class,
        )

    def _make_connection(self) -> HttpConnection:
        return self.connection_class(self._frontend)

    def _open_listeners(self) -> list[Listener]:
        return open_listeners(self.config)

    def _adopt(self, client: socket.socket) -> None:
        """Serve a client that was accepted elsewhere; its socket is the server's from now on."""
        self._acceptor.adopt(client)

    def _tls_options(self) -> dict[str, Any]:
        if self._ssl_context is None:
            return {}
        return {
            "ssl": self._ssl_context,
            "ssl_handshake_timeout": self.config.tls_handshake_timeout,
            "ssl_shutdown_timeout": self.config.drain_timeout,
        }

    def _close_listeners(self) -> None:
        self._acceptor.stop(takes_backlog=False)
        for listener in self._listeners:
            listener.close()

    # Time.

    def _choose_tick_interval(self) -> float:
        config = self.config
        shortest = min(
            config.head_timeout, config.body_timeout, config.keep_alive_timeout,
            config.send_timeout, config.drain_timeout, config.thread_idle_timeout,
        )  # fmt: skip
        return max(SHORTEST_TICK, min(LONGEST_TICK, shortest / 4))

    def _tick(self) -> None:
        now = time.monotonic()
        self._registry.tick(now)
        self._dispatcher.tick(now)
        self._ticker = self._loop.call_later(self._tick_interval, self._tick)


def _reachable(address: Address) -> Address:
    """What a client on this machine connects to; nobody can connect to a wildcard."""
    if isinstance(address, str):
        return address
    return _WILDCARDS.get(address[0], address[0]), address[1]


def _url(scheme: str, address: Address) -> str:
    if isinstance(address, str):
        return f"unix:{address}"
    host = address[0]
    return f"{scheme}://[{host}]:{address[1]}" if ":" in host else f"{scheme}://{host}:{address[1]}"
