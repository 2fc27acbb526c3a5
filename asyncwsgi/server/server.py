"""The life of one server in a running event loop: bind, serve, drain, stop.

No signal handlers, no logging configuration, no loop policy, no global state: any number of servers
may live in one loop. Whoever owns the process decides about the rest (see `asyncwsgi.running`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from asyncwsgi.access_log import AccessLogger
from asyncwsgi.config import Config
from asyncwsgi.errors import BindError, ConfigError
from asyncwsgi.frontends.frontend import Frontend
from asyncwsgi.frontends.http import HttpConnection
from asyncwsgi.frontends.http_response import HttpResponder
from asyncwsgi.frontends.probes import Probes
from asyncwsgi.frontends.proxy_protocol import Ends
from asyncwsgi.frontends.registry import DrainPhase, Registry
from asyncwsgi.frontends.signature import Signature
from asyncwsgi.frontends.uwsgi import UwsgiConnection
from asyncwsgi.http1.parser import HeadLimits
from asyncwsgi.requests.assembly import make_dispatcher
from asyncwsgi.requests.dispatcher import Dispatcher, context_maker
from asyncwsgi.requests.exchange import Exchange, ExchangeFactory
from asyncwsgi.requests.request_body import RequestBody
from asyncwsgi.requests.statistics import RequestStatistics
from asyncwsgi.requests.worker_threads import WorkerThreads
from asyncwsgi.server.accepting import Acceptor, Proxied
from asyncwsgi.server.descriptors import default_max_connections
from asyncwsgi.server.lifespan import Lifespan
from asyncwsgi.server.listeners import Address, Listener, open_listeners
from asyncwsgi.server.metrics import metrics_application
from asyncwsgi.server.proxied import ProxyHeaders
from asyncwsgi.server.snapshot import EMPTY, Snapshot, take_snapshot
from asyncwsgi.server.stats import Stats
from asyncwsgi.server.ticker import Ticker
from asyncwsgi.server.tls import server_context
from asyncwsgi.server.urls import listening_on, reachable_urls, schemes_of
from asyncwsgi.server_log import logger
from asyncwsgi.trusted_peers import TrustedPeers
from asyncwsgi.words import counted
from asyncwsgi.wsgi.application import why_no_application
from asyncwsgi.wsgi.environ import server_environ
from asyncwsgi.wsgi.forwarded import forwarding_of

if TYPE_CHECKING:
    import socket
    import ssl
    from wsgiref.types import WSGIApplication


LONGEST_TICK = 1.0
"""Seconds between looks at deadlines; fewer when a timeout is shorter than a few of them."""
SHORTEST_TICK = 0.01
CUT_TIMEOUT = 1.0
"""Seconds that the application gets to notice that its clients were cut."""


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
    uwsgi_connection_class: type[UwsgiConnection] = UwsgiConnection
    exchange_class: ExchangeFactory = Exchange
    responder_class: type[HttpResponder] = HttpResponder
    request_body_class: type[RequestBody] = RequestBody
    worker_threads_class: type[WorkerThreads] = WorkerThreads
    """Without `park_async_views`, which has a class of its own."""
    access_logger_class: type[AccessLogger] = AccessLogger
    arrival_timeout: float = 0.5
    """Seconds that a request which is on its way when the server stops may take to arrive."""
    idle_timeout_with_successor: float | None = None
    """Seconds for which connections that wait for their next request stay open, if the server stops
    and has a successor: so long their clients may send one, whose answer says that the connection
    is closed. None is `arrival_timeout`."""
    is_multiprocess: bool = False
    """Whether other processes serve the same application: ``wsgi.multiprocess`` (PEP 3333)."""

    def __init__(
        self, application: WSGIApplication, config: Config | None = None, **options: Any
    ) -> None:
        if config is not None and options:
            raise ConfigError("give either config or options, not both")
        if objection := why_no_application(application):
            raise ConfigError(f"the application {application!r} {objection}")
        self.application = application
        self.config = config or Config.from_options(options)
        self._lifespan = Lifespan(self.config.lifespan, on_lost=self.begin_shutdown)
        self._new_context = context_maker(self.config.context)
        self._listeners: list[Listener] = []
        self._places: frozenset[int] | None = None
        """Those of the listeners from which clients are accepted; None is all."""
        self._addresses: tuple[Address, ...] = ()
        self._schemes: dict[Address, str] = {}
        self._ssl_context: ssl.SSLContext | None = None
        self._ticker: Ticker | None = None
        self._life: asyncio.Task[None] | None = None
        self._frontend: Frontend | None = None
        self._was_started = False
        self._is_accepting = False
        self._was_shut_down = False
        self._probes = Probes(self.config.health_path, self.config.ready_path)
        self._delayed_stop: asyncio.TimerHandle | None = None
        self._metrics = self._make_metrics_server()
        self._was_cut = asyncio.Event()
        self._has_stopped = asyncio.Event()
        self.before_cut: Callable[[], object] | None = None
        """Called on the loop when requests in flight are about to be cut at a shutdown."""
        self.on_serving: Callable[[], object] | None = None
        """Called on the loop when clients are served, in place of the log line that says where."""
        self.on_shutdown: Callable[[], object] | None = None
        """Called on the loop when a shutdown begins, whoever has asked for it; once."""

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
        self._registry = Registry(
            self.config.max_connections,
            self.config.max_buffered_size,
            default_max_connections(self.config.threads),
        )
        self._dispatcher = self._make_dispatcher()
        self._frontend = self.make_frontend()
        self._acceptor = Acceptor(
            self.make_connection, self._registry, self._tls_options(), self._proxied()
        )
        self._uwsgi_acceptor = Acceptor(self.make_uwsgi_connection, self._registry, {})
        self._listeners = self.open_listeners()
        self._was_started = True
        self._stop_asked: asyncio.Future[DrainPhase] = self._loop.create_future()
        try:
            has_tls = self._ssl_context is not None
            self._schemes = schemes_of(self._listeners, has_tls=has_tls)
            self._addresses = tuple(self._schemes)
            await self._lifespan.enter()
            await self._begin()
        except BaseException:
            await self._close()
            raise
        self._life = self._loop.create_task(self._live(), name="asyncwsgi-server")
        if self._was_shut_down:  # meanwhile
            await self.shutdown()

    async def _begin(self) -> None:
        if self._metrics is not None:
            await self._metrics.start()
        if not self._was_shut_down:
            for acceptor, sockets in self._accepted_from():
                await acceptor.start(sockets, self.config.backlog)
        self._is_accepting = True
        self._ticker = Ticker(self._loop, self._choose_tick_interval(), self._tick)
        self._ticker.start()
        if self._addresses and not self._was_shut_down:
            self._say_where()

    def _say_that_it_stops(self) -> None:
        in_flight = counted(len(self._dispatcher.exchanges), "request")
        logger.info("stopping; %s in flight", in_flight)

    def _say_where(self) -> None:
        if self.on_serving is not None:
            self.on_serving()
        else:
            logger.info(self.listening_on)

    async def serve_forever(self) -> None:
        """Wait until the server has shut down, whoever asked for it."""
        self._require_own_loop()
        await self._has_stopped.wait()

    async def stop_accepting(self, *, has_successor: bool = False) -> None:
        """Close the listeners; what is connected stays served. May be called more than once.

        Args:
            has_successor: clients that have connected and are not accepted yet are left to another
                server on the same listeners.
        """
        self._require_own_loop()
        if self._is_accepting:
            self._is_accepting = False
            self._close_listeners(takes_backlog=not has_successor)

    def accept_from(self, places: Collection[int]) -> None:
        """Accept clients from some of the listeners alone; other processes have the others.

        Before the start or later, on the server's loop.

        Args:
            places: of these listeners in `sockets`.
        """
        self._places = frozenset(places)
        if self._is_accepting:
            self._require_own_loop()
            for acceptor, sockets in self._accepted_from():
                acceptor.accept_from(sockets)

    def _accepted_from(self) -> Iterator[tuple[Acceptor, list[socket.socket]]]:
        """The listeners of this process, for each protocol."""
        places, listeners = self._places, enumerate(self._listeners)
        own = [one for place, one in listeners if places is None or place in places]
        yield self._acceptor, [one.sock for one in own if not one.is_uwsgi]
        yield self._uwsgi_acceptor, [one.sock for one in own if one.is_uwsgi]

    async def shutdown(self, *, has_successor: bool = False) -> None:
        """Stop gracefully: close the listeners and idle connections, let requests in flight end.

        Those that have not ended after ``graceful_timeout`` seconds are cut; responses without an
        end of their own, such as event streams, at once. May be called more than once, and while
        it runs.

        Whoever cancels it cuts: connections are aborted, background work is cancelled, and the rest
        of the stop waits for nobody. `asyncio.shield` around it, or anyio's
        ``CancelScope(shield=True)``, let a stop be graceful whatever is cancelled.

        Args:
            has_successor: clients go on with another server on the same listeners, and no request
                shall be lost on the way: connections that wait for their next request, too, get a
                moment for one that was sent already.

        Raises:
            RuntimeError: it is awaited on another loop than the server's.
        """
        self.begin_shutdown(has_successor=has_successor)
        try:
            if self._life is None:
                await self._has_stopped.wait()
            else:
                await asyncio.shield(self._life)
        except asyncio.CancelledError:
            self.abort()
            raise

    def begin_shutdown(self, *, has_successor: bool = False, delay: float = 0.0) -> None:
        """As `shutdown`, without waiting for it. On the server's loop.

        Args:
            has_successor: see `shutdown`.
            delay: seconds for which it goes on to serve, and says that it is not ready any more
                (see ``ready_path``), so that whoever sends it clients can send them elsewhere
                before its listeners close. Called once more, it stops at once.

        Raises:
            RuntimeError: it is called elsewhere.
        """
        self._require_own_loop()
        if self.on_shutdown is not None and not (self._was_shut_down or self._delayed_stop):
            self.on_shutdown()
        self._probes.is_ready = has_successor
        if delay and self._is_accepting and self._delayed_stop is None:
            self._delayed_stop = self._loop.call_later(delay, self.begin_shutdown)
            logger.info("not ready any more; stopping in %g s", delay)
            return
        if self._delayed_stop is not None:
            self._delayed_stop.cancel()
        self._was_shut_down = True
        self._lifespan.give_up()
        if not self._was_started:
            self._has_stopped.set()
        elif not self._stop_asked.done():
            self._stop_asked.set_result(DrainPhase.OPEN if has_successor else DrainPhase.ARRIVING)
            self._say_that_it_stops()

    def abort(self) -> None:
        """Cut every connection at once; a graceful shutdown that waits for them then ends.

        So does one that waits for a lifespan which tidies up.

        Raises:
            RuntimeError: it is called elsewhere than on the server's loop.
        """
        self._require_own_loop()
        if self._was_shut_down:
            self._was_cut.set()
            self._lifespan.give_up()
        if self._was_started:
            self._registry.abort_all()

    def _require_own_loop(self) -> None:
        # Elsewhere some of it works, and leaves the rest half done.
        if self._was_started and not self._has_stopped.is_set() and not _runs(self._loop):
            raise RuntimeError(
                "this server is on another event loop, which alone can wait for it, stop it or cut "
                "it; if a ServerThread runs it, use that one's methods, such as shutdown(), else "
                "asyncio.run_coroutine_threadsafe(server.shutdown(), its_loop)"
            )

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

    async def _live(self) -> None:
        """Serve until asked to stop, then drain and close.

        A task, so that it hears of the end of a loop on which the server still runs: `asyncio.run`
        cancels every task before it closes its loop. Without that, clients would wait at sockets
        that nobody serves any more, and worker threads for work that nobody has.
        """
        try:
            await self._stop(await self._stop_asked)
        except (Exception, asyncio.CancelledError) as error:
            self._was_cut.set()
            if not isinstance(error, asyncio.CancelledError):
                raise
        finally:
            await self._close()

    async def _stop(self, phase: DrainPhase) -> None:
        self._dispatcher.is_draining = True
        await self.stop_accepting(has_successor=phase is DrainPhase.OPEN)
        self._dispatcher.cut_endless()
        self._registry.close_idle(phase)
        began = self._loop.time()
        await self._drain(phase)
        left = self.config.graceful_timeout - (self._loop.time() - began)
        await self._dispatcher.tasks.drain(left, self._was_cut, CUT_TIMEOUT)

    async def _close(self) -> None:
        """Let go of all that was begun; what still runs is cut."""
        self._is_accepting = False
        self._close_listeners()
        if self._loop.is_closed():
            return  # its tasks are being thrown away, and nothing more can be done on it
        self._dispatcher.is_draining = True
        self._registry.close_idle(DrainPhase.CLOSED)
        self._registry.abort_all()
        self._dispatcher.tasks.close()
        self._dispatcher.watch.stop()
        if self._ticker is not None:
            self._ticker.stop()
        try:
            await self._close_metrics()
            await self._dispatcher.workers.stop()
        finally:
            try:
                await self._lifespan.leave(self._was_cut, CUT_TIMEOUT)
            finally:
                self._has_stopped.set()

    async def _drain(self, phase: DrainPhase) -> None:
        timeout = self.config.graceful_timeout
        grace = self.idle_timeout_with_successor if phase is DrainPhase.OPEN else None
        grace = min(self.arrival_timeout if grace is None else grace, timeout)
        waited = self._loop.call_later(grace, self._registry.close_idle, DrainPhase.CLOSED)
        over = self._loop.create_task(self._wait_until_over())
        cut = self._loop.create_task(self._was_cut.wait())
        first = asyncio.FIRST_COMPLETED
        done, _ = await asyncio.wait({over, cut}, timeout=timeout, return_when=first)
        if not done and grace == timeout and not self._dispatcher.exchanges:
            # Nothing but connections that were kept for requests which did not come.
            self._registry.close_idle(DrainPhase.CLOSED)
            done, _ = await asyncio.wait({over}, timeout=CUT_TIMEOUT)
        if not done:
            if self.before_cut is not None:
                self.before_cut()
            self._warn_of_cut(timeout)
        if not over.done():
            self.abort()
            self._dispatcher.tasks.cancel_calls()
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
        requests = [f"{e.method} {e.target}" for e in self._dispatcher.exchanges]
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
            RuntimeError: it has not started.
        """
        self._require_start()
        for address in self._addresses:
            if not isinstance(address, str):
                return address[1]
        raise LookupError("this server listens on no TCP port")

    @property
    def url(self) -> str:
        """The URL of the first listener, without a slash at the end; ``unix:PATH`` for a socket.

        One that speaks uwsgi has the form by which it is bound.

        Raises:
            RuntimeError: it has not started.
        """
        self._require_start()
        return self.urls[0]

    @property
    def urls(self) -> tuple[str, ...]:
        """A URL for each listener that a client on this machine can connect to."""
        return reachable_urls(self._schemes)

    @property
    def listening_on(self) -> str:
        """What the log says of where it listens."""
        return listening_on(self._schemes)

    def _require_start(self) -> None:
        if not self._was_started:
            raise RuntimeError(
                "this server has not started, and listens nowhere yet; enter it by `async with`, "
                "or await start()"
            )

    def snapshot(self, *, stacks: bool = False) -> Snapshot:
        """What it does at this moment. From any thread.

        Args:
            stacks: say, too, where each request and coroutine stands; that is not cheap.
        """
        if self._frontend is None:
            return EMPTY
        leaving = self._lifespan.leaving
        return take_snapshot(self._dispatcher, self._registry, leaving, stacks=stacks)

    def stats(self) -> Stats:
        """Its figures: what it has done since its start, and what it does now. From any thread.

        What became of requests is counted with the option ``count_requests``.
        """
        if self._frontend is None:
            return Stats.none()
        refusals = self._registry.refused_counts.copy()
        return Stats.of(self.snapshot(), self._dispatcher.statistics, refusals)

    @property
    def metrics_url(self) -> str:
        """Where its figures are served for Prometheus.

        Raises:
            LookupError: nowhere; ``metrics_bind`` is not set.
            RuntimeError: it has not started.
        """
        self._require_start()
        if self._metrics is None:
            raise LookupError("metrics_bind is not set, so that no metrics are served")
        return f"{self._metrics.url}/metrics"

    async def wait_until_idle(self) -> None:
        """Wait until no request is in flight. On the loop of the server."""
        await self._dispatcher.wait_until_idle()

    async def wait_until_disconnected(self) -> None:
        """Wait until no client is connected. On the loop of the server."""
        await self._registry.wait_until_empty()

    # Parts.

    def _make_dispatcher(self) -> Dispatcher:
        config = self.config
        return make_dispatcher(
            self.application,
            config,
            access_logger_class=self.access_logger_class,
            request_body_class=self.request_body_class,
            worker_threads_class=self.worker_threads_class,
            new_context=self._new_context,
            statistics=RequestStatistics() if config.count_requests or self._metrics else None,
        )

    def _make_metrics_server(self) -> Server | None:
        bind = self.config.metrics_bind
        return metrics_server(bind, self.stats) if bind else None

    async def _close_metrics(self) -> None:
        if self._metrics is not None:
            await self._metrics.shutdown()

    def make_frontend(self) -> Frontend:
        """What its connections share. May be overridden; called once, at the start."""
        config = self.config
        return Frontend(
            dispatcher=self._dispatcher,
            registry=self._registry,
            limits=HeadLimits(config.max_head_size, config.max_headers, config.max_target_size),
            environ=server_environ(
                root_path=config.root_path,
                multithread=self._dispatcher.workers.limit != 1,
                multiprocess=self.is_multiprocess,
            ),
            forwarding=forwarding_of(config),
            exchange_class=self.exchange_class,
            responder_class=self.responder_class,
            signature=Signature() if config.server_header else Signature(server=""),
            probes=self._probes if config.health_path or config.ready_path else None,
            uwsgi_peers=TrustedPeers(config.uwsgi_allow_ips) if config.uwsgi_allow_ips else None,
        )

    @property
    def frontend(self) -> Frontend:
        """What its connections share; there is one from the start on."""
        assert self._frontend is not None, "the server has started"
        return self._frontend

    def make_connection(self) -> asyncio.Protocol:
        """What serves a client. May be overridden; called for each.

        What it returns adds itself to the registry of `frontend`.
        """
        return self.connection_class(self.frontend)

    def make_uwsgi_connection(self) -> asyncio.Protocol:
        """As `make_connection`, for what connects to a listener that speaks uwsgi."""
        return self.uwsgi_connection_class(self.frontend)

    def open_listeners(self) -> list[Listener]:
        """The listeners, bound. May be overridden; called once, at the start."""
        return open_listeners(self.config)

    def adopt(self, client: socket.socket) -> None:
        """Serve a client that was accepted elsewhere; its socket is the server's from now on."""
        self._acceptor.adopt(client)

    def _tls_options(self) -> dict[str, Any]:
        if self._ssl_context is None:
            return {}
        return {
            "ssl": self._ssl_context,
            "ssl_handshake_timeout": self.config.tls_handshake_timeout,
            # Until all is sent and the client has answered the close_notify. The loops have one
            # time for both; a connection looks itself how long the second takes.
            "ssl_shutdown_timeout": self.config.send_timeout + self.config.drain_timeout,
        }

    def _proxied(self) -> Proxied | None:
        config = self.config
        if not config.proxy_protocol:
            return None
        trusted = TrustedPeers(config.proxy_protocol_allow_ips)
        headers = ProxyHeaders(trusted, config.head_timeout, self._registry)
        return Proxied(headers, self._make_proxied)

    def _make_proxied(self, ends: Ends | None) -> asyncio.Protocol:
        connection = self.make_connection()
        if isinstance(connection, HttpConnection):
            connection.ends = ends
        return connection

    def _close_listeners(self, *, takes_backlog: bool = False) -> None:
        if not self._loop.is_closed():
            for acceptor in (self._acceptor, self._uwsgi_acceptor):
                acceptor.stop(takes_backlog=takes_backlog)
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

    def _tick(self, now: float) -> None:
        self._registry.tick(now)
        self._dispatcher.tick(now)


def metrics_server(bind: str, stats: Callable[[], Stats]) -> Server:
    """What serves the figures of others, with a thread of its own.

    Args:
        bind: HOST:PORT.
        stats: gives the figures. From any thread.

    Raises:
        ConfigError: prometheus_client is not installed.
    """
    options = Config(bind=(bind,), threads=1, access_log=False, graceful_timeout=0)
    return _MetricsServer(metrics_application(stats), options)


def closing_server(application: WSGIApplication, config: Config) -> Server:
    """What answers one request on each connection, and says nothing of its start and its end."""
    return _ClosingServer(application, config)


class _ClosingResponder(HttpResponder):
    def can_keep_alive(self) -> bool:
        return False


class _ClosingServer(Server):
    responder_class = _ClosingResponder

    def _say_where(self) -> None:
        """Its owner does."""

    def _say_that_it_stops(self) -> None:
        """Its owner does."""


class _MetricsServer(Server):
    """Serves the figures of another server."""

    def _say_where(self) -> None:
        logger.info("metrics at %s/metrics", self.url)

    def _say_that_it_stops(self) -> None:
        """The server whose figures these are does."""

    def open_listeners(self) -> list[Listener]:
        try:
            return super().open_listeners()
        except BindError as error:
            raise BindError(
                f"cannot serve metrics on {self.config.bind[0]}: {error.__cause__}; choose another "
                "metrics_bind (port 0 takes a free one)"
            ) from error


def _runs(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether it is `loop` that calls."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False
