"""What makes a server write its journal: its exchanges, request bodies and connections.

Any server can be told to record, since what it is made of is subclassed, and not the server. Knows
nothing of frameworks but the two signals by which they tell of errors that they answer themselves.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, cast

from asyncwsgi.coroutines.current import current_request
from asyncwsgi.errors import RequestBodyError
from asyncwsgi.frontends.http import HttpConnection
from asyncwsgi.frontends.http_response import HttpResponder
from asyncwsgi.requests.exchange import Exchange
from asyncwsgi.requests.request_body import RequestBody
from asyncwsgi.server.extending import extend
from asyncwsgi.testing.live.records import Journal, Record

if TYPE_CHECKING:
    from asyncwsgi.errors import RequestRefused
    from asyncwsgi.http1.head import RequestHead
    from asyncwsgi.server.server import Server
    from asyncwsgi.wsgi.response import Response

_SIGNAL_HOMES = ("flask.signals", "django.core.signals")


def record(server: Server, journal: Journal) -> Callable[[], None]:
    """Have `server`, which has not started, write `journal`. Returns what ends that.

    Raises:
        ConfigError: one of its classes is no class, and cannot be subclassed.
    """
    signals = ErrorSignals()
    server.connection_class = extend(server.connection_class, RecordingConnection)
    server.uwsgi_connection_class = extend(server.uwsgi_connection_class, RecordingConnection)
    server.request_body_class = extend(server.request_body_class, RecordingBody)
    server.exchange_class = extend(
        server.exchange_class, RecordingExchange, journal=journal, signals=signals
    )
    server.responder_class = extend(server.responder_class, RecordingResponder)

    def end() -> None:
        signals.disconnect()
        journal.close()

    return end


class RecordingBody(RequestBody):
    """Keeps what it is fed."""

    record: Record

    def arrived(self, data: bytes | memoryview) -> None:
        self.record.add_body(data)

    def finish(self) -> None:
        self.record.expects_body = False
        super().finish()


class RecordingExchange(Exchange):
    """Keeps what becomes of a request."""

    journal: ClassVar[Journal]
    signals: ClassVar[ErrorSignals]

    record: Record

    def begin_record(self, head: RequestHead) -> Record:
        """Note that the request has arrived."""
        self.signals.connect()
        fields = head.fields.items
        headers = tuple((name.decode("ascii"), value.decode("latin-1")) for name, value in fields)
        self.record = self.journal.begin(self.method, self.target, headers, self.client)
        cast("RecordingResponder", self.responder).record = self.record
        return self.record

    def expect_body(self) -> RequestBody:
        body = super().expect_body()
        assert isinstance(body, RecordingBody)
        body.record = self.record
        self.record.expects_body = True
        return body

    def few_run(self) -> None:
        """Leave the answer to the loop.

        A test that has its answer looks at once for what the request has left behind: a line in the
        log, a row in a database. The loop sends behind the worker thread, which mostly has done all
        of that when it comes to an end.
        """

    def connection_lost(self) -> None:
        super().connection_lost()
        if not self.submitted_at:
            self.record.finish()  # it never will be

    def fail(self, response: Response, error: BaseException) -> None:
        self.record_error(error)
        super().fail(response, error)

    def conclude(self, response: Response) -> None:
        super().conclude(response)
        if self.own_status:
            self.record.status = self.own_status
        elif not self.response_size:
            self.record.status = None  # nobody was left to get it

    def background_failed(self, error: BaseException) -> None:
        self.record_error(error)
        super().background_failed(error)

    def record_error(self, error: BaseException) -> None:
        """Record what the application raised; a client's leaving is no fault of its."""
        is_of_client = (
            self.is_of_disconnect(error)
            or self.is_of_taken_socket(error)
            or isinstance(error, RequestBodyError)
        )
        self.record.fail(error, is_fault=not is_of_client)


class RecordingResponder(HttpResponder):
    """Notes the status when the head of a response leaves."""

    record: Record

    def sign(self, status: str) -> tuple[str, str]:
        self.record.status = int(status[:3])
        return super().sign(status)


class RecordingConnection(HttpConnection):
    """Says when a request is over, and when the server has answered in the application's place."""

    record: Record | None = None
    """That of the newest request."""

    def make_exchange(self, head: RequestHead, environ: dict[str, Any]) -> Exchange:
        exchange = super().make_exchange(head, environ)
        assert isinstance(exchange, RecordingExchange)
        self.record = exchange.begin_record(head)
        return exchange

    def response_ended(self, exchange: Exchange) -> None:
        if isinstance(exchange, RecordingExchange) and not exchange.was_cancelled:
            exchange.record.finish()
        super().response_ended(exchange)

    def request_refused(self, refused: RequestRefused) -> None:
        if self.record is not None:
            self.record.status = refused.status
            self.record.finish()
        super().request_refused(refused)


class ErrorSignals:
    """Errors that Flask and Django turn into a response: they tell of them by a signal.

    A framework is listened to as soon as it is imported, and until the server has stopped.
    """

    def __init__(self) -> None:
        self._connected: dict[str, Any] = {}

    def connect(self) -> None:
        """Listen to those that are imported by now. On the loop."""
        for home in _SIGNAL_HOMES:
            if home in sys.modules and home not in self._connected:
                # None: another thread is importing it this very moment.
                signal = getattr(sys.modules[home], "got_request_exception", None)
                if signal is not None:
                    signal.connect(self._receive)
                    self._connected[home] = signal

    def disconnect(self) -> None:
        """Listen no more."""
        for signal in self._connected.values():
            signal.disconnect(self._receive)
        self._connected.clear()

    def _receive(self, _: object = None, **told: Any) -> None:
        # Flask gives the exception; Django sends its signal while the exception is being handled.
        error = told.get("exception") or sys.exc_info()[1]
        exchange = current_request()  # of this server or another's, which hears of it, too
        if error is not None and isinstance(exchange, RecordingExchange):
            exchange.record_error(error)
