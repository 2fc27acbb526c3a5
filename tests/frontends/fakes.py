"""A connection without sockets, threads or time: what it meets is what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from asyncwsgi.access_log import AccessLogger
from asyncwsgi.clock import clock
from asyncwsgi.config import Config
from asyncwsgi.coroutines.tasks import LoopTasks
from asyncwsgi.coroutines.watch import LoopWatch
from asyncwsgi.errors import WorkersBusy
from asyncwsgi.frontends.frontend import Frontend
from asyncwsgi.frontends.http import HttpConnection
from asyncwsgi.frontends.registry import DrainPhase, Registry
from asyncwsgi.frontends.upgrade import WEBSOCKET_OFFER
from asyncwsgi.http1.parser import HeadLimits
from asyncwsgi.requests.dispatcher import Dispatcher
from asyncwsgi.requests.exchange import Exchange
from asyncwsgi.requests.mailbox import Mailbox
from asyncwsgi.requests.request_body import RequestBody
from asyncwsgi.requests.worker_threads import Job
from asyncwsgi.wsgi.environ import server_environ

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

LATER = 1_000_000.0
"""Seconds after which every deadline has passed."""


class FakeTransport(asyncio.Transport):
    """The transport to a client that takes all it is sent.

    Args:
        can_half_close: False stands for TLS whose client has ended it.
    """

    def __init__(self, *, can_half_close: bool = True) -> None:
        super().__init__({"sockname": ("127.0.0.1", 80), "peername": ("127.0.0.1", 1234)})
        self._can_half_close = can_half_close
        self._is_closing = False
        self.protocol: asyncio.BaseProtocol | None = None
        """Who was given to it since; None for whom it began with."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: Any) -> None:
        pass

    def can_write_eof(self) -> bool:
        return self._can_half_close

    def write_eof(self) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        self._is_closing = True

    def abort(self) -> None:
        self._is_closing = True


class DirectMailbox(Mailbox):
    """Delivers at once: the threads are one."""

    def post(self, call: Callable[[Any], object], argument: Any) -> None:
        call(argument)


class RecordingWorkers:
    """Keeps jobs until the test runs them."""

    limit = 1
    count = 1
    are_all_busy = False

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.is_full = False

    def submit(self, job: Job) -> None:
        if self.is_full:
            raise WorkersBusy("too many wait")
        self.resume(job)

    def resume(self, job: Job) -> None:
        self.jobs.append(job)

    def parked(self) -> tuple[()]:
        return ()

    def job_ended(self) -> None:
        pass

    def expire_idle(self, now: float) -> None:
        pass

    async def stop(self) -> None:
        pass


class EndlessExchange(Exchange):
    """One whose response has begun, and has no end of its own."""

    is_endless = True


class Taker:
    """Takes a connection over."""

    def receive(self, data: bytes) -> None:
        pass

    def end(self) -> None:
        pass

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass

    def close(self) -> None:
        pass


class SwiftSuccessor(Taker):
    """Has enough of its client as soon as anything happens.

    Args:
        connection: what it has taken over.
    """

    def __init__(self, connection: HttpConnection) -> None:
        self._connection = connection

    def receive(self, data: bytes) -> None:
        self._connection.linger()

    def end(self) -> None:
        self._connection.close()

    def tick(self, now: float) -> None:
        self._connection.close()

    def drain(self) -> None:
        self._connection.close()


def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Reads nothing; breaks off in the middle, or goes on with another protocol, if asked to."""
    if environ["PATH_INFO"] == "/switch":
        offer = environ[WEBSOCKET_OFFER]
        offer.take(lambda connection, _: connection.switch_to(SwiftSuccessor(connection)))
        start_response("101 Switching Protocols", [("Upgrade", "websocket")])
        return
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"spam"
    if environ["PATH_INFO"] == "/broken":
        raise ConnectionError("of the application's own")


class Stage:
    """One `HttpConnection` with all that it knows of the world. The methods are what it meets.

    Args:
        options: those of the server.
    """

    def __init__(self, **options: Any) -> None:
        config = Config(access_log=False, **options)
        mailbox = DirectMailbox(asyncio.get_running_loop())
        watch = LoopWatch(mailbox)
        self.workers = RecordingWorkers()
        self.registry = Registry(config.max_connections, config.max_buffered_size)
        self.exchange_class = Exchange
        dispatcher = Dispatcher(
            application,
            config,
            mailbox=mailbox,
            workers=self.workers,
            tasks=LoopTasks(mailbox, watch),
            watch=watch,
            access_logger=AccessLogger(config.access_log_format),
            request_body_class=RequestBody,
        )
        self._frontend = Frontend(
            dispatcher=dispatcher,
            registry=self.registry,
            limits=HeadLimits(),
            environ=server_environ(root_path="", multithread=False),
            exchange_class=lambda *args: self.exchange_class(*args),
        )
        self.connection = HttpConnection(self._frontend)

    def connect(self) -> None:
        self.connection.connection_made(FakeTransport())

    def connect_without_half_close(self) -> None:
        self.connection.connection_made(FakeTransport(can_half_close=False))

    def crowd(self) -> None:
        """There are as many clients as there may be."""
        self.connect_another()

    def connect_another(self) -> HttpConnection:
        """Another client of the same server."""
        connection = HttpConnection(self._frontend)
        connection.connection_made(FakeTransport())
        return connection

    def stop(self) -> None:
        """The server has stopped."""
        self.registry.close_idle(DrainPhase.CLOSED)

    def send(self, data: bytes) -> None:
        self.connection.data_received(data)

    def fill_queue(self) -> None:
        """No worker thread takes one more request."""
        self.workers.is_full = True

    def answer(self) -> None:
        """The application answers."""
        self.workers.jobs.pop().run()

    def cancel(self) -> None:
        """The executor cancels the request."""
        self.workers.jobs.pop().cancel()

    def be_endless(self) -> None:
        """Requests from now on have a response without an end."""
        self.exchange_class = EndlessExchange

    def take_over(self) -> None:
        self.connection.take_over(Taker())

    def switch(self) -> None:
        """Another protocol follows."""
        self.connection.switch_to(SwiftSuccessor(self.connection))

    def wait(self) -> None:
        """The deadline passes, if there is one."""
        self.connection.tick(clock.monotonic() + LATER)
