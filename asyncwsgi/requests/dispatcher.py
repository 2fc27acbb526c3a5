"""What all exchanges of a server share: application, threads and the way back to the loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextvars import Context
from email.utils import formatdate
from typing import TYPE_CHECKING

from asyncwsgi.requests.mailbox import Mailbox
from asyncwsgi.requests.saturation import SaturationWatch

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from asyncwsgi.access_log import AccessLogger
    from asyncwsgi.config import Config
    from asyncwsgi.coroutines.loop_work import LoopWork
    from asyncwsgi.requests.exchange import Exchange
    from asyncwsgi.requests.request_body import RequestBody
    from asyncwsgi.requests.worker_threads import Workers


class Dispatcher:
    """Hands exchanges to worker threads."""

    def __init__(
        self,
        application: WSGIApplication,
        config: Config,
        *,
        mailbox: Mailbox,
        workers: Workers,
        loop_work: LoopWork,
        access_logger: AccessLogger,
        request_body_class: type[RequestBody],
        new_context: Callable[[], Context] = Context,
    ) -> None:
        self.application = application
        self.config = config
        self.mailbox = mailbox
        self.workers = workers
        self.loop_work = loop_work
        self.access_logger = access_logger
        self.request_body_class = request_body_class
        self.new_context = new_context
        """Makes the Context of one request."""
        self.exchanges: set[Exchange] = set()
        """Those that were submitted and have not ended."""
        self.abandoned: set[Exchange] = set()
        """Those that were cut because they would never end; they have not ended yet."""
        self.is_draining = False
        """Set at shutdown: every response from now on closes its connection."""
        self.room_size = max(1, config.response_buffer_size // 2)
        """Bytes posted ahead of the transport; the transport's own buffer may hold as many."""
        self._saturation = SaturationWatch(workers.limit)
        self._is_idle = asyncio.Event()
        self._date = ""
        self._date_second = 0

    def submit(self, exchange: Exchange) -> None:
        """Have a worker thread run `exchange`. On the loop.

        Raises:
            WorkersBusy: too many wait already.
        """
        exchange.submitted_at = time.monotonic()
        self.workers.submit(exchange)
        self.exchanges.add(exchange)

    def exchange_ended(self, exchange: Exchange) -> None:
        """To be called on the loop when a submitted exchange has ended."""
        self.exchanges.discard(exchange)
        self.abandoned.discard(exchange)
        self.workers.job_ended()
        if not self.exchanges:
            self._is_idle.set()

    async def wait_until_idle(self) -> None:
        """Wait until no exchange is in flight."""
        while self.exchanges:
            self._is_idle.clear()
            await self._is_idle.wait()

    async def wait_until_all_ended(self) -> None:
        """Wait until no exchange is in flight, and those that were abandoned have noticed."""
        while self.exchanges or self.abandoned:
            self._is_idle.clear()
            await self._is_idle.wait()

    def abandon_endless(self) -> None:
        """Cut the responses that have no end of their own: no drain can wait for them."""
        for exchange in [exchange for exchange in self.exchanges if exchange.is_endless]:
            self.abandon(exchange)

    def abandon(self, exchange: Exchange) -> None:
        """Cut `exchange`; no drain waits for it any more. On the loop."""
        if exchange in self.exchanges:
            self.exchanges.discard(exchange)
            self.abandoned.add(exchange)
            exchange.disconnect()
            exchange.connection.abort()
            if not self.exchanges:
                self._is_idle.set()

    def tick(self, now: float) -> None:
        """What is due now and then. On the loop; `now` is monotonic."""
        self.workers.expire_idle(now)
        if self.is_draining:
            self.abandon_endless()
        for exchange in list(self.exchanges):  # what it writes may show that one has to be cut
            if exchange.iteration is not None:
                exchange.iteration.tick(now)
        # A thread that is there and was not let run yet is no reason to ask for more. Those that
        # were abandoned hold theirs until they notice.
        held = (*self.exchanges, *self.abandoned) if self.workers.are_all_busy else ()
        self._saturation.look([e for e in held if e.iteration is None], now)

    def date(self) -> str:
        """The value of the Date header, made once a second. From any thread."""
        now = int(time.time())
        if now != self._date_second:
            self._date = formatdate(now, usegmt=True)
            self._date_second = now
        return self._date
