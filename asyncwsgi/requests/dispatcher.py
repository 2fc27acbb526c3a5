"""Hands exchanges to worker threads, and knows those that have not ended.

What all exchanges of a server share stands here: the application, the threads, the way back to the
loop, the tasks that the loop runs for them. Knows no protocol: where a request came from, and what
becomes of its response, is its connection's affair.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Protocol

from asyncwsgi.clock import clock
from asyncwsgi.coroutines.body_iteration import BodyIteration
from asyncwsgi.coroutines.disconnect import Disconnect
from asyncwsgi.coroutines.tasks import LoopTasks
from asyncwsgi.coroutines.watch import LoopWatch
from asyncwsgi.errors import ConfigError
from asyncwsgi.requests.file_transfer import FileTransfer
from asyncwsgi.requests.mailbox import Mailbox
from asyncwsgi.requests.request_body import RequestBody
from asyncwsgi.requests.saturation import SaturationWatch
from asyncwsgi.requests.statistics import RequestStatistics
from asyncwsgi.requests.worker_threads import Job, Workers

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from asyncwsgi.access_log import AccessLogger
    from asyncwsgi.config import Config


FIRST_BLOCK_TIMEOUT = 1.0
"""Seconds that a response without an end has for its beginning if the server drains meanwhile."""


class DispatchedExchange(Job, Protocol):
    """What the dispatcher, and whoever looks at requests in flight, know of an exchange.

    An `asyncwsgi.requests.exchange.Exchange`.
    """

    method: str
    target: str
    client: str
    """The address of its client; empty for a Unix socket."""
    body: RequestBody | None
    disconnect: Disconnect
    iteration: BodyIteration | FileTransfer | None
    """What sends its body on the loop, while that is so."""
    submitted_at: float
    started_at: float
    """When a thread took it, monotonic; 0.0 while it waits."""
    is_connection_lost: bool

    @property
    def is_endless(self) -> bool:
        """Whether the application has begun a response that has no end of its own."""

    @property
    def has_begun_to_answer(self) -> bool:
        """Whether its client was sent the head of the response, or is about to be."""

    @property
    def is_answered(self) -> bool:
        """Whether the last byte of its response was handed over."""

    @property
    def has_taken_socket(self) -> bool:
        """Whether the application uses the connection's bytes, as WebSocket libraries do."""

    @property
    def waits_until_writable(self) -> bool:
        """Whether it is its client that keeps it waiting, which reads slowly or not at all."""

    def cut(self, *, flushes: bool = False) -> None:
        """End it as if its client had left, and close its connection. On the loop."""


class Dispatcher:
    """Hands exchanges to worker threads. On the loop, but for what says otherwise.

    Args:
        application: what is called.
        config: the options.
        mailbox: the way from threads to the loop.
        workers: the threads.
        tasks: what the loop runs for threads.
        watch: looks whether the loop is held.
        access_logger: writes access lines.
        request_body_class: makes request bodies.
        new_context: makes the Context of one request.
        statistics: counts the exchanges that end; None: nobody does.
    """

    def __init__(
        self,
        application: WSGIApplication,
        config: Config,
        *,
        mailbox: Mailbox,
        workers: Workers,
        tasks: LoopTasks,
        watch: LoopWatch,
        access_logger: AccessLogger,
        request_body_class: type[RequestBody],
        new_context: Callable[[], Context] = Context,
        statistics: RequestStatistics | None = None,
    ) -> None:
        self.application = application
        self.config = config
        self.mailbox = mailbox
        self.workers = workers
        self.tasks = tasks
        self.watch = watch
        self.access_logger = access_logger
        self.request_body_class = request_body_class
        self.new_context = new_context
        self.statistics = statistics
        self.exchanges: set[DispatchedExchange] = set()
        """Those that were submitted and have not ended."""
        self.cut_exchanges: set[DispatchedExchange] = set()
        """Those that were cut and have not noticed yet."""
        self._not_begun: dict[DispatchedExchange, float] = {}
        """Those that are to be cut behind their beginning, and since when that is so."""
        self.is_draining = False
        """Set at shutdown: every response from now on closes its connection."""
        self.submitted_count = 0
        """Exchanges so far."""
        self.high_water_size = max(1, config.response_buffer_size // 2)
        """Bytes posted ahead of the transport; the transport's own buffer may hold as many."""
        self._saturation = SaturationWatch(workers.limit, parks=config.park_async_views)
        self._is_idle = asyncio.Event()
        self._is_idle_awaited = False

    def submit(self, exchange: DispatchedExchange) -> None:
        """Have a worker thread run `exchange`.

        Raises:
            WorkersBusy: too many wait already.
        """
        exchange.submitted_at = clock.monotonic()
        self.workers.submit(exchange)
        self.exchanges.add(exchange)
        self.submitted_count += 1

    def exchange_ended(self, exchange: DispatchedExchange) -> None:
        """To be called when a submitted exchange has ended."""
        self.exchanges.discard(exchange)
        self.cut_exchanges.discard(exchange)
        self.workers.job_ended()
        if self._is_idle_awaited:
            self._not_begun.pop(exchange, None)
            self._is_idle.set()

    async def wait_until_idle(self) -> None:
        """Wait until no exchange is in flight but those that were cut."""
        while self.exchanges:
            await self._change()

    async def wait_until_all_ended(self) -> None:
        """Wait until no exchange is in flight, and those that were cut have noticed."""
        while self.exchanges or self.cut_exchanges:
            await self._change()

    async def _change(self) -> None:
        self._is_idle_awaited = True
        self._is_idle.clear()
        await self._is_idle.wait()

    def cut_endless(self) -> None:
        """Cut the responses that have no end of their own: no drain can wait for them.

        One that is about to begin is cut behind its beginning, by `Exchange`: to a proxy, a
        connection that is closed without an answer is an error, for which its client gets 502 and
        the server counts as dead. It has `FIRST_BLOCK_TIMEOUT` for it.
        """
        now = clock.monotonic()
        seen, self._not_begun = self._not_begun, {}
        for exchange in [exchange for exchange in self.exchanges if exchange.is_endless]:
            since = seen.get(exchange, now)
            if exchange.has_begun_to_answer or now - since > FIRST_BLOCK_TIMEOUT:
                self.cut(exchange)
            else:
                self._not_begun[exchange] = since

    def cut(self, exchange: DispatchedExchange, *, flushes: bool = False) -> None:
        """Cut `exchange`; no drain waits for it any more."""
        if exchange in self.exchanges:
            # In this order: whoever looks from another thread finds it in one or the other.
            self.cut_exchanges.add(exchange)
            self.exchanges.discard(exchange)
            exchange.cut(flushes=flushes)
            self._is_idle.set()

    def tick(self, now: float) -> None:
        """What is due now and then; `now` is monotonic."""
        self.workers.expire_idle(now)
        if self.is_draining:
            self.cut_endless()
        for exchange in list(self.exchanges):  # what it writes may show that one has to be cut
            iteration = exchange.iteration  # a worker thread may take it away at any moment
            if iteration is not None:
                self._keep_alive(iteration, now)
        # A thread that is there and was not let run yet is no reason to ask for more. Those that
        # were cut hold theirs until they notice.
        held = (*self.exchanges, *self.cut_exchanges) if self.workers.are_all_busy else ()
        if held:
            free = {id(job.request) for job in self.workers.parked() if not job.keeps_thread}
            held = tuple(e for e in held if e.iteration is None and id(e) not in free)
        self._saturation.look(held, now)

    def _keep_alive(self, iteration: BodyIteration | FileTransfer, now: float) -> None:
        try:
            iteration.tick(now)
        except Exception as error:  # of one body: the others are kept alive all the same
            asyncio.get_running_loop().call_exception_handler(
                {"message": "asyncwsgi: an idle block could not be sent", "exception": error}
            )


def context_maker(base: Callable[[], Context] | None) -> Callable[[], Context]:
    """What makes a Context for each request: empty ones, or copies of the one `base` returns now.

    Raises:
        ConfigError: `base` returns something else.
    """
    if base is None:
        return Context
    context: object = base()
    if not isinstance(context, Context):
        got = type(context).__name__
        raise ConfigError(
            f"context must return a contextvars.Context, got {got}; give contextvars.copy_context"
        )
    return context.copy
