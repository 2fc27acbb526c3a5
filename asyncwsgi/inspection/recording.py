"""What makes a server record its requests for the inspector.

As for the journal of a live server, what a server is made of is subclassed, and not the server: one
that is not told to record is made of the classes it always was. Here stands what is noted where;
what becomes of it is `asyncwsgi.inspection.records`' and `asyncwsgi.inspection.reporter`'s. Nothing
here raises: what cannot be recorded is said once, and the request goes on.
"""

from __future__ import annotations

import inspect
import itertools
import os
import sys
from collections.abc import Awaitable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar, cast

from asyncwsgi.clock import clock
from asyncwsgi.frontends.http import HttpConnection
from asyncwsgi.frontends.http_response import HttpResponder
from asyncwsgi.inspection.bodies import KeptBody
from asyncwsgi.inspection.django_hooks import DjangoHooks
from asyncwsgi.inspection.flask_hooks import FlaskHooks
from asyncwsgi.inspection.header_pieces import Headers
from asyncwsgi.inspection.log_lines import LogLines
from asyncwsgi.inspection.records import Record
from asyncwsgi.inspection.reporter import Outlet, Reporter
from asyncwsgi.inspection.sql_hooks import SqlHooks
from asyncwsgi.inspection.steps import TimedCoroutine
from asyncwsgi.requests.exchange import Exchange
from asyncwsgi.requests.request_body import RequestBody
from asyncwsgi.server.extending import extend

if TYPE_CHECKING:
    from asyncwsgi.errors import RequestRefused
    from asyncwsgi.frontends.upgrade import SocketTaker, Successor
    from asyncwsgi.http1.head import HeaderFields, RequestHead
    from asyncwsgi.server.server import Server
    from asyncwsgi.wsgi.response import Response
    from asyncwsgi.wsgi.suspended_call import SuspendedCall

T = TypeVar("T")

MOST_STACKS = 100
"""Requests whose stacks are told at once."""
LONGEST_STACK = 8 * 1024
"""Characters of one."""


class Hooks(Protocol):
    """What listens to a library that the application may use."""

    home: str
    """The module whose import says that it does."""
    may_rest: bool
    """Whether it may be disconnected while requests go on."""

    def connect(self) -> bool:
        """Listen. False: it is not there yet."""

    def disconnect(self) -> None:
        """Listen no more."""


def record(server: Server, outlet: Outlet, *, keeps_secrets: bool = False) -> Recorder:
    """Have `server`, which has not started, report its requests. On the loop.

    Raises:
        ConfigError: one of its classes is no class, and cannot be subclassed.
    """
    recorder = Recorder(server, Reporter(outlet, keeps_secrets=keeps_secrets))
    server.connection_class = extend(
        server.connection_class, RecordingConnection, recorder=recorder
    )
    server.uwsgi_connection_class = extend(
        server.uwsgi_connection_class, RecordingConnection, recorder=recorder
    )
    server.request_body_class = extend(server.request_body_class, RecordingBody)
    server.exchange_class = extend(server.exchange_class, RecordingExchange)
    server.responder_class = extend(server.responder_class, RecordingResponder)
    return recorder


_OWN_PATHS = ("/-/inspect", "/-/refresh", "/-/refresh.js")


class Recorder:
    """The records of one server."""

    def __init__(self, server: Server, reporter: Reporter) -> None:
        self._server = server
        self._reporter = reporter
        self._pid = os.getpid()
        self._numbers = itertools.count(1)
        self._records: dict[str, Record] = {}
        """Those that are not reported to their end."""
        self._log_lines = LogLines(reporter.failed)
        self._awaited: list[Hooks] = [FlaskHooks(reporter.failed), DjangoHooks(), SqlHooks()]
        self._connected: list[Hooks] = []
        reporter.was_reported = self._forget
        self._log_lines.open()

    def close(self) -> None:
        """Report what is due, and record nothing any more."""
        self._log_lines.close()
        for hooks in self._connected:
            hooks.disconnect()
        self._connected.clear()
        self._awaited.clear()
        self._reporter.flush()

    def begin(
        self, exchange: RecordingExchange, head: RequestHead, accepted_at: float | None
    ) -> Record | None:
        """The record of a request whose head has arrived; None if it is not recorded."""
        try:
            return self._begin(exchange, head, accepted_at)
        except Exception:
            self._reporter.failed()
            return None

    def now(self) -> dict[str, Any]:
        """What the threads are doing, and where the requests in flight stand."""
        snapshot = self._server.snapshot(stacks=True)
        states = [request.state for request in snapshot.requests]
        stacks = {request.key: request.stack for request in snapshot.requests if request.stack}
        keys = {id(record.exchange): key for key, record in self._records.copy().items()}
        known = [(keys[key], stack) for key, stack in stacks.items() if key in keys]
        return {
            "threads": {
                "busy": states.count("running"),
                "limit": snapshot.thread_limit,
                "queued": snapshot.queue_size,
                "parked": snapshot.parked_count,
            },
            "stacks": {key: stack[-LONGEST_STACK:] for key, stack in known[:MOST_STACKS]},
        }

    def _begin(
        self, exchange: RecordingExchange, head: RequestHead, accepted_at: float | None
    ) -> Record | None:
        if "/-/" in exchange.target and _is_of_server(exchange.target):
            return None
        if not self._reporter.admits(exchange.dispatcher.mailbox):
            if self._connected and not self._records:
                self._rest()
            return None
        if self._awaited:
            self._connect()
        key = f"{self._pid}-{next(self._numbers)}"
        headers = _headers_of(head.fields, exchange.environ)
        begun = Record(self._reporter, key, exchange, headers, accepted_at)
        self._records[key] = begun
        exchange.inspected = begun
        cast("RecordingResponder", exchange.responder).inspected = begun
        begun.touch()
        return begun

    def _connect(self) -> None:
        for hooks in [hooks for hooks in self._awaited if hooks.home in sys.modules]:
            try:
                is_connected = hooks.connect()
            except Exception:  # a release of the library that is another than was thought
                self._reporter.failed()
                self._awaited.remove(hooks)
                hooks.disconnect()
                continue
            if is_connected:
                self._awaited.remove(hooks)
                self._connected.append(hooks)

    def _rest(self) -> None:
        """Listen to nothing that costs requests something, until one is recorded again."""
        for hooks in [hooks for hooks in self._connected if hooks.may_rest]:
            hooks.disconnect()
            self._connected.remove(hooks)
            self._awaited.append(hooks)

    def _forget(self, reported: Record) -> None:
        self._records.pop(reported.id, None)


def _is_of_server(target: str) -> bool:
    """Whether a request is one of the pages and scripts that the server itself has made."""
    path = target.partition("?")[0]
    return path.endswith(_OWN_PATHS) or "/-/debugger/" in path


def _headers_of(fields: HeaderFields, environ: dict[str, Any]) -> Headers:
    if len(fields.lines) > 1:
        return Headers(fields)
    # A packet of uwsgi's has variables instead, of which the names of the headers are made again.
    pairs = [
        (key.removeprefix("HTTP_").replace("_", "-").title(), str(value))
        for key, value in environ.items()
        if key.startswith("HTTP_") or key in ("CONTENT_TYPE", "CONTENT_LENGTH")
    ]
    return Headers(None, pairs)


class RecordingBody(RequestBody):
    """Keeps the beginning of what it is fed."""

    inspected: Record | None = None

    def feed(self, data: bytes) -> None:
        if self.inspected is not None and self.inspected.request_body is not None:
            self.inspected.request_body.add(data)
            self.inspected.touch()
        super().feed(data)

    def finish(self) -> None:
        if self.inspected is not None:
            self.inspected.mark("body")
        super().finish()


class RecordingExchange(Exchange):
    """Notes what becomes of a request."""

    inspected: Record | None = None

    def expect_body(self) -> RequestBody:
        body = super().expect_body()
        assert isinstance(body, RecordingBody)
        body.inspected = begun = self.inspected
        if begun is not None:
            begun.request_body = KeptBody()
        return body

    def connection_lost(self) -> None:
        super().connection_lost()
        if not self.submitted_at and self.inspected is not None:
            self.inspected.end()  # nobody will ever run it

    def file_was_sent(self, size: int) -> None:
        super().file_was_sent(size)
        if self.inspected is not None and self.inspected.response_body is not None:
            self.inspected.response_body.add_size(size)
            self.inspected.sent_at = clock.monotonic()

    def observe(self, awaitable: Awaitable[T]) -> Awaitable[T]:
        if self.inspected is None or not inspect.iscoroutine(awaitable):
            return awaitable
        return TimedCoroutine(awaitable, self.inspected)

    def call_application(self, response: Response) -> SuspendedCall | None:
        if self.inspected is not None:
            self.inspected.application_begins()
        return super().call_application(response)

    def fail(self, response: Response, error: BaseException) -> None:
        if self.inspected is not None:
            self.inspected.fail(error)
        super().fail(response, error)

    def background_failed(self, error: BaseException) -> None:
        if self.inspected is not None:
            self.inspected.fail(error)
        super().background_failed(error)


class RecordingResponder(HttpResponder):
    """Keeps the head of a response, and the beginning of its body."""

    inspected: Record | None = None

    def head(
        self,
        status: str,
        headers: Iterable[tuple[str, str]],
        *,
        is_open_ended: bool,
        server: str = "",
        date: str = "",
        keep_alive: bool,
    ) -> bytes:
        head = super().head(
            status,
            headers,
            is_open_ended=is_open_ended,
            server=server,
            date=date,
            keep_alive=keep_alive,
        )
        if self.inspected is not None:
            self.inspected.head_leaves(head, is_open_ended=is_open_ended)
        return head

    def block(self, data: bytes) -> bytes:
        if self.inspected is not None:
            self.inspected.block_leaves(data)
        return super().block(data)

    def end(self) -> bytes:
        if self.inspected is not None:
            self.inspected.sent_at = clock.monotonic()
        return super().end()


class RecordingConnection(HttpConnection):
    """Says when a request begins and ends."""

    recorder: ClassVar[Recorder]

    _accepted_at: float | None = None
    _newest: Record | None = None

    def connection_made(self, transport: Any) -> None:
        self._accepted_at = clock.monotonic()
        super().connection_made(transport)

    def make_exchange(self, head: RequestHead, environ: dict[str, Any]) -> Exchange:
        exchange = super().make_exchange(head, environ)
        assert isinstance(exchange, RecordingExchange)
        self._newest = self.recorder.begin(exchange, head, self._accepted_at)
        self._accepted_at = None  # of the first one alone
        return exchange

    def response_ended(self, exchange: Exchange) -> None:
        ended = exchange.inspected if isinstance(exchange, RecordingExchange) else None
        if ended is not None and exchange.is_connection_lost:
            ended.end()
        super().response_ended(exchange)
        if ended is not None and not ended.is_switched:
            ended.end()

    def request_refused(self, refused: RequestRefused) -> None:
        if self._newest is not None and self.exchange is not None:
            self._newest.status = refused.status
            self._newest.end()
        super().request_refused(refused)

    def take_over(self, taker: SocketTaker) -> bytes:
        if self._newest is not None:
            self._newest.switch()
            taker = cast("SocketTaker", _CountingTaker(taker, self._newest))
        return super().take_over(taker)

    def switch_to(self, successor: Successor) -> bytes:
        if self._newest is not None:
            self._newest.is_switched = True
        return super().switch_to(successor)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._newest is not None and self._newest.is_switched:
            self._newest.end()


class _CountingTaker:
    """Who has taken a connection over, with what it receives counted as the body of the request."""

    def __init__(self, taker: SocketTaker, begun: Record) -> None:
        self._taker = taker
        self._record = begun
        if begun.request_body is None:
            begun.request_body = KeptBody()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._taker, name)

    def receive(self, data: bytes) -> None:
        assert self._record.request_body is not None, "it was made above"
        self._record.request_body.add_size(len(data))
        self._record.touch()
        self._taker.receive(data)
