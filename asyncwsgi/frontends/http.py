"""One HTTP/1.1 connection: bytes in, exchanges to the dispatcher, bytes out.

Driven by the transport's callbacks: no task per connection, no future per request. One exchange
at a time; what a client pipelines behind it waits in the parser. All of it runs on the loop.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import math
from dataclasses import dataclass
from typing import Any, cast

from asyncwsgi.errors import RequestBodyError, RequestRefused, WorkersBusy
from asyncwsgi.frontends.registry import Registry, Spared
from asyncwsgi.frontends.transport import ClientTransport
from asyncwsgi.http1.encoder import refusal
from asyncwsgi.http1.head import RequestHead
from asyncwsgi.http1.parser import END_OF_BODY, NEED_DATA, Event, HeadLimits, RequestParser
from asyncwsgi.requests.dispatcher import Dispatcher
from asyncwsgi.requests.exchange import Exchange, ExchangeFactory
from asyncwsgi.requests.request_body import RequestBody
from asyncwsgi.wsgi.environ import EnvironBuilder

logger = logging.getLogger("asyncwsgi.server")

RETRY_AFTER = ("Retry-After", "1")
MOST_PIECES = 256
"""Pieces of a chunked body that are parsed before other connections have their turn."""
PIPELINED_SIZE = 64 * 1024
"""Bytes behind the request being answered from which on the client is not read."""


class State(enum.Enum):
    """What the connection is waiting for."""

    IDLE = "the first byte of a request"
    HEAD = "the rest of a request head"
    BODY = "as much of the request body as a worker thread is worth"
    RESPONDING = "the application"
    BLOCKED = "the client to take its last response, before its next request is begun"
    DRAINING = "the rest of a request body that nobody read"
    LINGERING = "the client to close, after the last byte was sent to it"
    CLOSED = "nothing"


@dataclass(frozen=True, slots=True)
class Frontend:
    """What all HTTP connections of a server share."""

    dispatcher: Dispatcher
    registry: Registry
    limits: HeadLimits
    environ: dict[str, Any]
    exchange_class: ExchangeFactory = Exchange


class HttpConnection(asyncio.Protocol):
    """Serves one client. Subclass and name it in ``Server.connection_class`` to change it."""

    def __init__(self, frontend: Frontend) -> None:
        self._frontend = frontend
        self._dispatcher = frontend.dispatcher
        self._config = frontend.dispatcher.config
        self._registry = frontend.registry
        self._parser = RequestParser(frontend.limits)
        self._state = State.IDLE
        self._deadline = math.inf
        self._exchange: Exchange | None = None
        # The body that is not complete yet, and how much of it has come.
        self._body: RequestBody | None = None
        self._body_size = 0
        self._has_eof = False
        self._had_request = False
        self._is_framing_lost = False

    # From the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._client = ClientTransport(
            cast("asyncio.Transport", transport), self._dispatcher.room_size
        )
        self._environs = EnvironBuilder({**self._frontend.environ, **self._client.environ_keys()})
        self._registry.add(self)
        self._await_request()
        if self._registry.spared is Spared.NONE:
            self._close()
        elif self._registry.is_overfull:
            self._refuse(RequestRefused(503, "too many connections; raise max_connections"))

    def data_received(self, data: bytes) -> None:
        state = self._state
        if state is State.LINGERING or self._is_framing_lost:
            return
        self._parser.receive(data)
        if state is State.IDLE or state is State.HEAD:
            self._read_head()
        elif self._body is not None:
            self._read_body(self._body)
        else:
            self._hold_back()

    def eof_received(self) -> bool:
        self._has_eof = True
        if self._state not in (State.RESPONDING, State.BLOCKED):
            self._close()
            return False
        if self._exchange is not None:
            self._exchange.shut_by_client(is_body_complete=self._body is None)
        # RFC 9112 9.6: the client may have shut its side only; the response is still delivered.
        # asyncio's TLS knows no half-closed connection.
        return not self._client.is_tls

    def connection_lost(self, exc: Exception | None) -> None:
        self._state = State.CLOSED
        self._deadline = math.inf
        self._registry.discard(self)
        if self._exchange is not None:
            self._exchange.disconnect()

    def pause_writing(self) -> None:
        self._client.is_writable = False

    def resume_writing(self) -> None:
        self._client.is_writable = True
        if self._exchange is not None:
            self._exchange.resume()
        elif self._state is State.BLOCKED:
            self._next_request()

    # From the exchange.

    def write(self, data: bytes | memoryview) -> bool:
        """Send bytes; False if the client does not keep up."""
        client = self._client
        client.write(data)
        return client.is_writable

    def resume_body(self) -> None:
        """Read on: the request body has room."""
        if self._body is not None and not self._is_framing_lost:
            self._client.resume_reading()
            self._read_body(self._body)

    def exchange_ended(self, exchange: Exchange) -> None:
        """The response is complete, or as complete as it gets."""
        self._exchange = None
        if self._client.is_closing:
            return
        if exchange.was_cancelled:
            self._refuse(RequestRefused(503, "the executor has cancelled the request"))
            return
        # A client that was promised the connection may be sending its next request.
        is_spared = self._registry.spared is Spared.ALL
        if not exchange.keep_alive or self._is_framing_lost or not is_spared:
            self._finish()
        elif self._body is not None:
            self._drain(self._body)
        else:
            self._next_request()

    # From the registry.

    def tick(self, now: float) -> None:
        """Act on deadlines."""
        self._client.cut_if_stuck(now, self._config.send_timeout)
        body = self._body
        if self._state is State.RESPONDING and body is not None:
            # The client owes bytes only while someone waits for them.
            if not body.is_awaited:
                self._deadline = math.inf
            elif self._deadline == math.inf:
                self._deadline = now + self._config.body_timeout
        if now >= self._deadline:
            self._deadline = math.inf
            self._time_out()

    def close_if_idle(self) -> None:
        """Close unless a request is being received or answered, or is spared."""
        if self._state not in (State.BODY, State.RESPONDING) and not self._is_spared:
            self._close()

    @property
    def _is_spared(self) -> bool:
        spared, state = self._registry.spared, self._state
        if spared is Spared.ARRIVING:
            return state is State.HEAD or (state is State.IDLE and not self._had_request)
        return spared is Spared.ALL and state is not State.LINGERING

    def abort(self) -> None:
        """Close at once; what is unsent is lost."""
        self._client.abort()

    # Requests.

    def _await_request(self) -> None:
        self._state = State.IDLE
        self._deadline = self._registry.now + self._config.keep_alive_timeout

    def _next_request(self) -> None:
        if not self._client.is_writable:
            # Who does not read the answers gets no more of them; see resume_writing().
            self._state = State.BLOCKED
            self._deadline = math.inf
            return
        self._await_request()
        if self._parser.unread_size or self._has_eof or not self._client.is_reading:
            self._read_head()

    def _read_head(self) -> None:
        try:
            event = self._parser.next_event()
        except RequestRefused as refused:
            self._refuse(refused)
            return
        self._client.resume_reading()
        if isinstance(event, RequestHead):
            self._begin(event)
        elif self._has_eof:
            self._close()
        elif self._state is State.IDLE and self._parser.is_in_head:
            self._state = State.HEAD
            self._deadline = self._registry.now + self._config.head_timeout

    def _hold_back(self) -> None:
        """Let requests wait that come before the one in hand is answered."""
        if self._parser.unread_size > PIPELINED_SIZE:
            self._client.pause_reading()

    def _begin(self, head: RequestHead) -> None:
        self._had_request = True
        exchange = self._frontend.exchange_class(
            self._dispatcher, self, head, self._environs.build(head)
        )
        if head.fields.has_body:
            self._begin_body(exchange)
        else:
            self._submit(exchange)

    def _submit(self, exchange: Exchange) -> None:
        self._state = State.RESPONDING
        self._deadline = math.inf
        self._exchange = exchange
        try:
            self._dispatcher.submit(exchange)
        except WorkersBusy as busy:
            self._refuse(RequestRefused(503, str(busy)))

    def _begin_body(self, exchange: Exchange) -> None:
        fields = exchange.head.fields
        limit = self._config.max_body_size
        if limit and (fields.content_length or 0) > limit and not fields.is_chunked:
            size = fields.content_length
            self._refuse(RequestRefused(413, f"request body of {size} bytes, at most {limit}"))
            return
        self._state = State.BODY
        self._deadline = self._registry.now + self._config.body_timeout
        self._exchange = exchange
        self._body = exchange.expect_body()
        self._body_size = 0
        if fields.expects_continue:
            # The client may wait for a 100, which goes out when the application first reads.
            self._submit(exchange)
        if self._body is not None:
            self._read_body(self._body)

    def _read_body(self, body: RequestBody) -> None:
        pieces: list[bytes] = []
        event: Event = NEED_DATA
        try:
            # Bounded: tiny chunks are cheap to send and dear to parse; others want the loop too.
            for _ in range(MOST_PIECES):
                event = self._parser.next_event()
                if not isinstance(event, bytes):
                    break
                pieces.append(event)
            self._take_body(body, b"".join(pieces))
        except RequestRefused as refused:
            self._fail_body(body, refused)
            return
        if event is END_OF_BODY:
            self._end_body(body)
        else:
            self._hold_body(body)
        if isinstance(event, bytes):
            self._client.pause_reading()
            asyncio.get_running_loop().call_soon(self._read_more_body, body)

    def _read_more_body(self, body: RequestBody) -> None:
        # While draining nobody empties the body, and nobody fills it.
        if self._body is body and (self._state is State.DRAINING or not body.is_full):
            self.resume_body()

    def _take_body(self, body: RequestBody, data: bytes) -> None:
        self._body_size += len(data)
        limit = self._config.max_body_size
        if limit and self._body_size > limit:
            raise RequestRefused(413, f"request body of more than {limit} bytes")
        if self._state is not State.DRAINING:
            if data:
                body.feed(data)
        elif self._body_size > self._config.drain_size:
            raise RequestRefused(413, "unread request body larger than drain_size")

    def _hold_body(self, body: RequestBody) -> None:
        """Go on with a body of which more is to come."""
        if self._state is State.DRAINING:
            return
        if self._state is State.BODY:
            self._deadline = self._registry.now + self._config.body_timeout
        else:
            self._deadline = math.inf  # see tick()
        if body.is_full:
            self._client.pause_reading()
            if self._state is State.BODY and self._exchange is not None:
                self._submit(self._exchange)

    def _end_body(self, body: RequestBody) -> None:
        self._body = None
        body.finish()
        if self._state is State.BODY and self._exchange is not None:
            self._submit(self._exchange)
        elif self._state is State.DRAINING:
            self._next_request()
        else:
            self._deadline = math.inf

    def _fail_body(self, body: RequestBody, refused: RequestRefused) -> None:
        if self._state is State.BODY:
            self._refuse(refused)
        elif self._state is State.DRAINING:
            self._finish()
        else:
            self._is_framing_lost = True
            self._client.pause_reading()
            body.fail(RequestBodyError(refused.status, refused.reason))

    def _drain(self, body: RequestBody) -> None:
        """Read what the application left of the body, so that the next request can follow."""
        if self._has_eof:
            self._finish()
            return
        self._state = State.DRAINING
        self._deadline = self._registry.now + self._config.drain_timeout
        self._body_size = 0
        self._client.resume_reading()
        self._read_body(body)

    # Ends.

    def _time_out(self) -> None:
        state, config = self._state, self._config
        if state is State.HEAD:
            self._refuse(RequestRefused(408, f"no request head within {config.head_timeout:g} s"))
        elif self._body is not None and state in (State.BODY, State.RESPONDING):
            reason = f"no byte of the request body for {config.body_timeout:g} s"
            self._fail_body(self._body, RequestRefused(408, reason))
        elif state is State.DRAINING:
            self._finish()
        else:
            self._close()

    def _refuse(self, refused: RequestRefused) -> None:
        """Answer in the application's place, and close."""
        self.log_refusal(refused)
        headers = [RETRY_AFTER] if refused.status == 503 else []
        self._exchange = self._body = None
        self._client.write(refusal(refused.status, date=self._dispatcher.date(), headers=headers))
        self._linger()

    def log_refusal(self, refused: RequestRefused) -> None:
        """Say what was refused. On the loop."""
        logger.warning("%s refused with %d: %s", self._client.peer, refused.status, refused.reason)

    def _finish(self) -> None:
        """Close behind a response."""
        if self._body is None and not self._parser.unread_size:
            self._close()
        else:
            self._linger()

    def _linger(self) -> None:
        """Shut our side, and read on until the client has closed its own.

        RFC 9112 9.6: closing while input is unread resets the connection, and the reset may
        overtake the response.
        """
        if self._has_eof or not self._client.half_close():
            self._close()
            return
        self._state = State.LINGERING
        self._deadline = self._registry.now + self._config.drain_timeout
        self._client.resume_reading()

    def _close(self) -> None:
        self._client.close()
