"""One HTTP/1.1 connection: bytes in, exchanges to the dispatcher, bytes out.

Driven by the transport's callbacks: no task per connection, no future per request. One exchange
at a time; what a client pipelines behind it waits in the parser. All of it runs on the loop.

What the connection waits for is its state (see `asyncwsgi.frontends.states`); each has its
deadline, which is set when the state is entered and looked at by the server's clock. One deadline
has a rule of its own: while the application runs, the client owes bytes of its request body only as
long as somebody waits for them. A view that works for a minute before it reads on is no reason to
cut an upload; so the deadline of a body in `RESPONDING` begins with the first tick that finds a
reader waiting, and is over when the reader has got something.

And who is not read, because the server has no room for more of its body (see
`asyncwsgi.frontends.buffer_budget`), has no deadline: whether it is slow nobody can tell. While
anybody waits so, those who hold room in `BODY` have one deadline for all that the state waits for,
which single bytes do not put off; else a few of them could keep the others waiting for ever.
"""

from __future__ import annotations

import asyncio
import math
import socket
from functools import partial
from typing import Any, cast

from asyncwsgi.clock import clock
from asyncwsgi.config import Config
from asyncwsgi.errors import RequestBodyError, RequestRefused, WorkersBusy
from asyncwsgi.frontends.buffer_budget import UNCLAIMED_SIZE, Claim
from asyncwsgi.frontends.client_socket import ClientSocket, status_of
from asyncwsgi.frontends.frontend import Environs, Frontend, RequestReader
from asyncwsgi.frontends.http_response import HttpResponder
from asyncwsgi.frontends.little_reads import LittleReads
from asyncwsgi.frontends.probes import Probes
from asyncwsgi.frontends.proxy_protocol import Ends
from asyncwsgi.frontends.registry import UPGRADED, ConnectionSnapshot, DrainPhase
from asyncwsgi.frontends.relay import Relay
from asyncwsgi.frontends.socket_loan import LentInput
from asyncwsgi.frontends.states import State
from asyncwsgi.frontends.transport import ClientTransport
from asyncwsgi.frontends.upgrade import WEBSOCKET_OFFER, SocketTaker, Successor, UpgradeOffer
from asyncwsgi.http1.encoder import own_response
from asyncwsgi.http1.head import RequestHead
from asyncwsgi.http1.parser import END_OF_BODY, NEED_DATA, ParserEvent, RequestParser
from asyncwsgi.requests.exchange import Exchange
from asyncwsgi.requests.request_body import RequestBody
from asyncwsgi.server_log import logger
from asyncwsgi.wsgi.environ import EnvironBuilder

RETRY_AFTER = ("Retry-After", "1")
ALLOW_PROBES = ("Allow", "GET, HEAD")
VARY_PROBES = ("Vary", "Accept")
OPEN_FILES = "the limit of open files (ulimit -n, LimitNOFILE= of systemd) or max_connections"
LEAST_LENT_SIZE = 128 * 1024
"""Bytes that have to be missing of a body, so that to lend its socket costs less than it saves."""
MOST_PIECES = 256
"""Pieces of a chunked body that are parsed before other connections have their turn."""
PIPELINED_SIZE = 64 * 1024
"""Bytes behind the request being answered from which on the client is not read."""


class HttpConnection(asyncio.Protocol):
    """Serves one client. Subclass and name it in ``Server.connection_class`` to change it.

    What stands under "Hooks" is there to be overridden, as are the callbacks of the transport;
    ``client``, ``dispatcher``, ``exchange`` and the methods under "For subclasses" are there to be
    used.
    """

    resets_truncated = True
    """Whether a response that only the end of the connection delimits is reset if it fails or is
    cut, since it would seem to be whole (RFC 9112 8)."""

    lends_socket = True
    """Whether who reads a large body may read it from the socket; see `LentInput`."""

    _relay: Relay | None = None
    """What passes bytes to and from the application, once it has taken its client's socket."""

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        for base in cls.__mro__:
            if "file_transport" in base.__dict__:
                break
            if "write" in base.__dict__:
                # It wants to see what is sent, and would not see what the kernel sends.
                setattr(cls, "file_transport", None)  # noqa: B010
                break
        # Nor would it see what the reader of a body has read itself.
        cls.lends_socket = cls.data_received is HttpConnection.data_received

    def __init__(self, frontend: Frontend) -> None:
        self.dispatcher = frontend.dispatcher
        self.exchange: Exchange | None = None
        """The one whose request was received and whose response has not ended."""
        self.ends: Ends | None = None
        """Those of which a proxy has told by the PROXY protocol; to be set before it connects."""
        self._frontend = frontend
        self._config = frontend.dispatcher.config
        self._registry = frontend.registry
        self._parser = self.make_reader(frontend)
        self._state = State.NEW
        self._entered_at = 0.0
        self._deadline = math.inf
        # The body that is not complete yet, and how much of it has come.
        self._body: RequestBody | None = None
        self._body_size = 0
        self._announced_size = 0
        self._loan: LentInput | None = None
        """The socket in the hands of who reads that body, or what has come of that."""
        self._claim: Claim | None = None
        """The room of that body; None while it needs none."""
        self._has_eof = False
        self._had_request = False
        self._is_framing_lost = False
        self._still_sends = False
        """Whether the client, which has its last response, has not sent all of its request."""
        self._is_close_delimited = False
        """Whether nothing but the end of the connection delimits its last response, which ended."""
        self._taker: SocketTaker | None = None
        self._successor: Successor | None = None
        """The taker, if its protocol has followed HTTP for good."""
        self._held_size = 0
        """What the successor holds of what the client has sent."""

    def _enter(self, state: State, timeout: float = math.inf) -> None:
        """Wait for what `state` says, for up to `timeout` seconds."""
        before = self._state
        assert state in before.leads_to, f"{before.name} does not lead to {state.name}"
        self._state = state
        self._entered_at = now = clock.monotonic()
        self._deadline = now + timeout

    # From the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        size = self.dispatcher.high_water_size
        budget = self._registry.budget
        self.client = ClientTransport(
            cast("asyncio.Transport", transport), size, budget, ends=self.ends
        )
        base = {**self._frontend.environ, **self.client.environ_keys()}
        self._environs = self.make_environs(base)
        self._registry.add(self)
        self._enter(State.IDLE, self._config.keep_alive_timeout)
        if self._registry.phase is DrainPhase.CLOSED:
            self.close()
        elif self._registry.is_overfull:
            cure = "max_connections" if self._config.max_connections else OPEN_FILES
            self._refuse(RequestRefused(503, f"too many connections; raise {cure}"))
        elif self._registry.budget.is_scarce:
            self.read_little(True)

    def data_received(self, data: bytes) -> None:
        state = self._state
        if state is State.IDLE or state is State.HEAD:
            self._parser.receive(data)
            self._read_head()
        elif state is State.TAKEN_OVER:
            assert self._taker is not None
            self._taker.receive(data)
        elif state in _DEAF or self._is_framing_lost:
            self._still_sends = True
        elif self._body is not None:
            self._parser.receive(data)
            self._read_body(self._body)
        else:
            self._parser.receive(data)
            self._hold_back()

    def eof_received(self) -> bool:
        self._has_eof = True
        if self._state is State.TAKEN_OVER:
            assert self._taker is not None
            self._taker.end()
        elif self._state not in (State.RESPONDING, State.BLOCKED):
            self.close()
            return False
        elif self.exchange is not None:
            self.exchange.eof_received(is_body_complete=self._body is None)
        # RFC 9112 9.6: the client may have shut its side only; the response is still delivered.
        # asyncio's TLS knows no half-closed connection.
        return not self.client.is_tls

    def connection_lost(self, exc: Exception | None) -> None:
        self._enter(State.CLOSED)
        if self._relay is not None:
            self._registry.taken_count -= 1
        self._registry.discard(self)
        taker, self._taker, self._successor = self._taker, None, None
        if taker is not None:
            taker.close()
        exchange = self.exchange
        if exchange is not None:
            exchange.connection_lost()
        self.client.lose()
        if exchange is not None and not exchange.submitted_at:
            self._forget(exchange)

    def pause_writing(self) -> None:
        self.client.is_writable = False
        self.client.count_unsent()
        if self._taker is not None:
            self._taker.pause()

    def resume_writing(self) -> None:
        self.client.resume_writing()
        if self._taker is not None:
            self._taker.resume()
        if self.exchange is not None:
            self.exchange.resume_writing()
        elif self._state is State.BLOCKED:
            self._next_request()

    # From the exchange.

    def write(self, data: bytes | memoryview) -> bool:
        """Send bytes; False if the client does not keep up. May be overridden."""
        client = self.client
        client.write(data)
        return client.is_writable

    @property
    def file_transport(self) -> ClientTransport | None:
        """What has the kernel send a file; None where that cannot be. From any thread."""
        client = self.client
        return client if client.can_send_files and self._registry.has_place_for_file else None

    def resume_reading(self) -> None:
        """Read on: the request body has room."""
        if self._body is not None and not self._is_framing_lost:
            self.client.resume_reading()
            self._read_body(self._body)

    # From the application's socket (see `asyncwsgi.frontends.client_socket`).

    def hand_over(self, exchange: Exchange, end: socket.socket) -> None:
        """Pass bytes between the client and `end`, for the application. From any thread.

        The body of its request has to be complete.
        """
        _responder_of(exchange).is_last = True
        self.dispatcher.mailbox.post(self._begin_relay, (exchange, end))

    def _begin_relay(self, handed_over: tuple[Exchange, socket.socket]) -> None:
        exchange, end = handed_over
        # A thread that the application left behind may ask in the moment in which its request ends;
        # the connection is the next one's then.
        if self.client.is_closing or exchange is not self.exchange:
            end.close()
            return
        exchange.is_taken_over = True
        self._registry.taken_count += 1
        self._relay = Relay(
            self.client.transport,
            # What was sent by a duplicate of the socket is heard of here first.
            on_data=lambda data: exchange.speak(status_of(data)),
            on_end=self._close_behind_relay,
        )
        self._relay.open(end, self.take_over(self._relay))

    def _close_behind_relay(self) -> None:
        """Close, once nothing can come from the application any more."""
        exchange, relay = self.exchange, self._relay
        owes_response = exchange is not None and not exchange.own_status
        if relay is not None and relay.has_ended and not owes_response:
            self.close()

    # Hooks.

    def make_reader(self, frontend: Frontend) -> RequestReader:
        """What makes requests out of the bytes that come. Called once."""
        return RequestParser(frontend.limits, frontend.header_lines)

    def make_environs(self, base: dict[str, Any]) -> Environs:
        """What makes environs of them; `base` is what all of the connection share. Called once."""
        forwarding = self._frontend.forwarding
        if forwarding is None:
            return EnvironBuilder(base)
        return forwarding.environs(base, self.client.peer_address)

    def make_exchange(self, head: RequestHead, environ: dict[str, Any]) -> Exchange:
        """The exchange of a request whose head has arrived."""
        frontend = self._frontend
        responder = frontend.responder_class(self.dispatcher, head, frontend.signature)
        return frontend.exchange_class(self.dispatcher, self, responder, environ)

    def request_arrived(self, exchange: Exchange) -> None:
        """A request has arrived, with as much of its body as a worker thread is worth.

        Hands it to one, by `submit`; who does not want that does so later, or closes.
        """
        self.submit(exchange)

    def request_refused(self, refused: RequestRefused) -> None:
        """A request, or a connection, is about to be answered in the application's place."""
        logger.warning("%s refused with %d: %s", self.client.peer, refused.status, refused.reason)

    def response_ended(self, exchange: Exchange) -> None:
        """The response is complete, or as complete as it gets: go on with the connection."""
        self.exchange = None
        responder = _responder_of(exchange)
        responder.body = None  # a background task may keep the exchange for long
        self._is_close_delimited = responder.is_close_delimited
        if responder.offer is not None and self._settle(responder.offer, exchange):
            return
        if self._state is not State.RESPONDING or self.client.is_closing:
            self._close_behind_relay()
            return
        if exchange.was_cancelled:
            self._refuse(RequestRefused(503, "the executor has cancelled the request"))
        elif not exchange.is_complete and responder.is_close_delimited and self.resets_truncated:
            self.reset()
        elif not self._is_kept_behind(exchange):
            self._finish()
        elif self._body is not None:
            self._drain(self._body)
        else:
            self._next_request()

    # For subclasses.

    def submit(self, exchange: Exchange) -> None:
        """Have a worker thread run `exchange`."""
        try:
            self.dispatcher.submit(exchange)
        except WorkersBusy as busy:
            self._refuse(RequestRefused(503, str(busy)))

    def was_promised_connection(self, exchange: Exchange) -> bool:
        """Whether the response of `exchange`, which has ended, said that its connection is kept."""
        return exchange.is_complete and _responder_of(exchange).keep_alive

    def take_over(self, taker: SocketTaker) -> bytes:
        """Give the bytes of the connection to `taker`, from now on; those that came already.

        A request has to be in hand, and its body complete.
        """
        self._enter(State.TAKEN_OVER)
        self._taker = taker
        self.client.resume_reading()
        if self._has_eof:
            taker.end()
        return self._parser.take_unread()

    def switch_to(self, successor: Successor) -> bytes:
        """Give the connection to `successor` for good, whose protocol follows HTTP behind a 101.

        As `take_over`; but the request has ended, and it is the successor who is asked to look at
        its deadlines, and to take leave when the server stops.
        """
        self._successor = successor
        unread = self.take_over(successor)
        # No request comes any more, and there may be thousands that wait like this for hours.
        frontend = self._frontend
        self._parser = RequestParser(frontend.limits, frontend.header_lines)
        del self._environs
        return unread

    def hold(self, size: int) -> bool:
        """Count `size` bytes as held of what the client has sent to the successor, in all.

        False: the server holds more than it may.
        """
        budget = self._registry.budget
        if size != self._held_size:
            held, self._held_size = self._held_size, size
            budget.count(size - held)
        return not size or not budget.is_exceeded

    def set_timeouts(self, config: Config) -> None:
        """Wait for this client by the timeouts of `config`, from the next state on."""
        self._config = config

    @property
    def is_body_complete(self) -> bool:
        """Whether all of the request in hand has arrived."""
        return self._body is None

    def close(self) -> None:
        """Close when everything is sent."""
        if self._state not in (State.CLOSING, State.CLOSED):
            self._end_service(State.CLOSING, self._config.drain_timeout)
            self.client.close()

    def linger(self) -> None:
        """Close when everything is sent and the client, which may still be sending, has read it."""
        if self._state not in (State.LINGERING, State.CLOSING, State.CLOSED):
            self._linger()

    def abort(self) -> None:
        """Close at once; what is unsent is lost, and its client can tell."""
        if self.resets_truncated and self._would_seem_whole():
            self.client.reset_at_close()
        if self._state not in (State.CLOSING, State.CLOSED):
            self._end_service(State.CLOSING)
        self.client.abort()

    def reset(self) -> None:
        """Close at once, with a reset, so that the client knows that something is missing."""
        self.client.reset_at_close()
        self.abort()

    # From the registry.

    def tick(self, now: float) -> None:
        """Act on deadlines."""
        if self.client.is_stuck(now, self._config.send_timeout):
            timeout = self._config.send_timeout
            logger.info("%s reads nothing for %g s; cut", self.client.peer, timeout)
            self.abort()
            return
        if self._state is State.RESPONDING:
            self._look_after_request(now)
        elif self._state is State.CLOSING and self.client.has_unsent:
            # The deadline is for its leave-taking, which begins when it has everything. Who takes
            # nothing is cut after send_timeout.
            self._deadline = now + self._config.drain_timeout
        elif self._state is State.TAKEN_OVER:
            if self._successor is not None:
                self._successor.tick(now)
            return
        elif self._claim is not None and self._claim.is_waiting:
            self.client.has_shut_unread()  # aborts it if it is lost; what it has sent is wanted
        if now >= self._deadline:
            self._deadline = math.inf
            self._time_out()

    def _look_after_request(self, now: float) -> None:
        exchange, body = self.exchange, self._body
        if exchange is not None and self.client.has_shut_unread():
            exchange.client_left()
        if body is not None and not body.is_awaited:
            self._deadline = math.inf
        elif body is not None and self._deadline == math.inf:
            self._deadline = now + self._config.body_timeout
            if self._claim is not None and self._claim.is_waiting:
                # The thread may be the one for which those wait who hold the room.
                self._insist_on_room(body)
                self.client.resume_reading()

    def close_if_idle(self) -> None:
        """Close unless a request is in hand, or may still be sent (see `DrainPhase`).

        A client that goes on sending a request which is answered is not closed, either: the answer
        would not reach it (see `_linger`).
        """
        if self._state is State.TAKEN_OVER and self._successor is not None:
            self._successor.drain()
            return
        if self._state in _BUSY or self._may_send:
            return
        if self._state in (State.DRAINING, State.BLOCKED):
            self._finish()  # its last response may not have been taken yet
        else:
            self.close()

    def read_little(self, is_little: bool) -> None:
        """From now on, read little at a time of what may be a body that has no room; or no longer.

        A read cannot be taken back, and may bring a head and 250 KB of a body in one go.
        """
        if is_little:
            self.client.read_by(LittleReads(self, self._frontend.read_buffers))
        else:
            self.client.read_by(self)

    @property
    def may_read_much(self) -> bool:
        """Whether what comes next is of a body that has room, or of none."""
        if self._state is State.BODY:
            return self._claim is not None and self._claim.is_admitted
        return self._state not in (State.IDLE, State.HEAD)

    def snapshot(self, now: float) -> ConnectionSnapshot:
        """What it is doing. From any thread."""
        return ConnectionSnapshot(
            peer=self.client.peer,
            state=UPGRADED if self._successor is not None else self._state.name.lower(),
            age=max(0.0, now - self._entered_at),
            had_request=self._had_request,
        )

    @property
    def _may_send(self) -> bool:
        phase, state = self._registry.phase, self._state
        if state is State.LINGERING:
            return phase is not DrainPhase.CLOSED or self._still_sends
        if phase is DrainPhase.ARRIVING:
            return state is State.HEAD or (state is State.IDLE and not self._had_request)
        return phase is DrainPhase.OPEN

    # Requests.

    def _is_kept_behind(self, exchange: Exchange) -> bool:
        if self._is_framing_lost or self._registry.phase is not DrainPhase.OPEN:
            return False
        # A client that was promised the connection may be sending its next request.
        return self.was_promised_connection(exchange)

    def _next_request(self) -> None:
        if not self.client.is_writable:
            # Who does not read the answers gets no more of them; see resume_writing().
            self._enter(State.BLOCKED)
            return
        self._enter(State.IDLE, self._config.keep_alive_timeout)
        if self._parser.unread_size or self._has_eof or not self.client.is_reading:
            self._read_head()

    def _read_head(self) -> None:
        try:
            event = self._parser.next_event()
        except RequestRefused as refused:
            self._refuse(refused)
            return
        if not self.client.is_reading:
            self.client.resume_reading()
        if isinstance(event, RequestHead):
            self._begin(event)
        elif self._has_eof:
            self.close()
        elif self._state is State.IDLE and self._parser.is_in_head:
            self._enter(State.HEAD, self._config.head_timeout)

    def _hold_back(self) -> None:
        """Let requests wait that come before the one in hand is answered."""
        if self._parser.unread_size > PIPELINED_SIZE:
            self.client.pause_reading()

    def _begin(self, head: RequestHead) -> None:
        self._had_request = True
        probes = self._frontend.probes
        if probes is not None and (status := probes.status_for(head)) is not None:
            self._answer_probe(probes, head, status)
            return
        environ = self._environs.build(head)
        exchange = self.make_exchange(head, environ)
        environ["werkzeug.socket"] = ClientSocket(self, exchange)
        if head.fields.wants_websocket and head.http_version == "1.1":
            self._offer_websocket(exchange)
        if head.fields.has_body:
            self._begin_body(exchange, head)
        else:
            self.exchange = exchange
            self._enter(State.RESPONDING)
            self.request_arrived(exchange)

    def _answer_probe(self, probes: Probes, head: RequestHead, status: int) -> None:
        accept = self._environs.build(head).get("HTTP_ACCEPT", "")
        sign = self._frontend.signature
        self.client.write(
            own_response(
                status,
                date=sign.date(),
                server=sign.server,
                headers=[ALLOW_PROBES] if status == 405 else [VARY_PROBES],
                page=probes.page_for(head, status, accept),
                is_of_head=head.method == "HEAD",
            )
        )
        if head.fields.has_body:
            self._linger()
        else:
            self._finish()

    def _offer_websocket(self, exchange: Exchange) -> None:
        """Let the application take the connection, behind a 101."""
        offer = UpgradeOffer(exchange)
        exchange.environ[WEBSOCKET_OFFER] = _responder_of(exchange).offer = offer

    def _settle(self, offer: UpgradeOffer, exchange: Exchange) -> bool:
        """Let another protocol follow, if the application has taken the offer and answered 101."""
        start = offer.settle()
        is_served = self._state is State.RESPONDING and not self.client.is_closing
        has_switched = exchange.is_complete and _responder_of(exchange).has_switched
        if start is None or not (has_switched and is_served):
            return False
        exchange.disconnect.go_on()
        start(self, exchange)
        if self._registry.phase is not DrainPhase.OPEN or self.dispatcher.is_draining:
            self.close_if_idle()
        return True

    def _begin_body(self, exchange: Exchange, head: RequestHead) -> None:
        fields = head.fields
        self.exchange = exchange
        limit = self._config.max_body_size
        if limit and (fields.content_length or 0) > limit and not fields.is_chunked:
            size = fields.content_length
            self._refuse(RequestRefused(413, f"request body of {size} bytes, at most {limit}"))
            return
        self._body = body = exchange.expect_body()
        _responder_of(exchange).body = body
        self._body_size = 0
        self._announced_size = 0 if fields.is_chunked else fields.content_length or 0
        self._claim = None
        if fields.expects_continue:
            # The client may wait for a 100, which goes out when the application first reads.
            self._enter(State.RESPONDING)
            self.request_arrived(exchange)
        else:
            self._enter(State.BODY, self._config.body_timeout)
        if self._body is not None:
            self._read_body(self._body)

    def _submit_with_body(self) -> None:
        """A worker thread is worth its while: the body is complete, or as much as may wait."""
        assert self.exchange is not None, "its body is being read"
        self._enter(State.RESPONDING)
        self.request_arrived(self.exchange)

    def _read_body(self, body: RequestBody) -> None:
        if self._loan is not None:
            self._settle_loan(self._loan)
        pieces: list[bytes] = []
        event: ParserEvent = NEED_DATA
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
        if isinstance(event, bytes) and self._body is body:  # it may have been refused above
            self.client.pause_reading()
            asyncio.get_running_loop().call_soon(self._read_more_body, body)

    def _read_more_body(self, body: RequestBody) -> None:
        # While draining nobody empties the body, and nobody fills it.
        if self._body is body and (self._state is State.DRAINING or not body.is_full):
            self.resume_reading()

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
        if not self._has_room(body):
            self._deadline = math.inf
            self.client.pause_reading()
        elif self._state is not State.BODY:
            self._deadline = math.inf  # see tick()
        elif not self._is_hurried:
            self._deadline = clock.monotonic() + self._config.body_timeout
        if body.is_full:
            self.client.pause_reading()
            self._lend_socket(body)
            if self._state is State.BODY:
                self._submit_with_body()

    def _lend_socket(self, body: RequestBody) -> None:
        """Let who reads a large body read the rest of it from the socket."""
        size = self._parser.missing_size
        if size > LEAST_LENT_SIZE and self.lends_socket and body.takes_source:
            self._loan = loan = self.client.lend_input(size)
            if loan is not None:
                body.read_from(loan)

    def _settle_loan(self, loan: LentInput) -> None:
        """Know what was read of the body meanwhile. The transport reads again, or will."""
        loan.end()
        self._loan = None
        self._parser.skip(loan.taken_size)
        if self._state is not State.DRAINING:
            self._body_size += loan.taken_size

    def _end_body(self, body: RequestBody) -> None:
        self._body = None
        if self._state is State.DRAINING:
            self._next_request()
            return
        if self._claim is not None or self._body_size > UNCLAIMED_SIZE:
            self._insist_on_room(body)
        body.finish()
        if self._state is State.BODY:
            self._submit_with_body()
        else:
            self._deadline = math.inf

    def _has_room(self, body: RequestBody) -> bool:
        """Whether there is room for the rest of a body, or for as much of it as is held."""
        size, limit = body.size, self._config.body_buffer_size
        if self._claim is None and max(size, min(self._announced_size, limit)) <= UNCLAIMED_SIZE:
            return True
        if body.is_full or (self._state is State.RESPONDING and body.is_awaited):
            self._insist_on_room(body)
            return True
        wanted = min(self._announced_size or limit, limit)
        return self._registry.budget.ask(self._claim_of(body), size, wanted)

    def _insist_on_room(self, body: RequestBody) -> None:
        """Take room for what is held of a body, whether there is any or not."""
        self._registry.budget.insist(self._claim_of(body), body.size)

    def _claim_of(self, body: RequestBody) -> Claim:
        claim = self._claim
        if claim is None:
            self._claim = claim = Claim(self._room_came)
            # In whatever way it ends; mostly it is a worker thread that tells.
            post, release = self.dispatcher.mailbox.post, self._registry.budget.release
            body.on_emptied = partial(post, release, claim)
        return claim

    def _room_came(self) -> None:
        """There is room for a body that has waited for it: read on."""
        if self._state is State.BODY:
            self._deadline = clock.monotonic() + self._config.body_timeout
        self.client.resume_reading()

    @property
    def _is_hurried(self) -> bool:
        """Whether others wait for the room that it holds."""
        claim = self._claim
        is_admitted = claim is not None and claim.is_admitted
        return is_admitted and self._registry.budget.waiting_count > 0

    def _fail_body(self, body: RequestBody, refused: RequestRefused) -> None:
        if self._state is State.BODY:
            self._refuse(refused)
        elif self._state is State.DRAINING:
            self._finish()
        else:
            self._is_framing_lost = True
            self.client.pause_reading()
            body.fail(RequestBodyError(refused.status, refused.reason))

    def _drain(self, body: RequestBody) -> None:
        """Read what the application left of the body, so that the next request can follow."""
        if self._has_eof:
            self._finish()
            return
        self._enter(State.DRAINING, self._config.drain_timeout)
        self._body_size = 0
        self.client.resume_reading()
        self._read_body(body)

    # Ends.

    def _time_out(self) -> None:
        state, config = self._state, self._config
        if state is State.HEAD:
            self._refuse(RequestRefused(408, f"no request head within {config.head_timeout:g} s"))
        elif self._body is not None and state in (State.BODY, State.RESPONDING):
            reason = f"no byte of the request body for {config.body_timeout:g} s"
            if self._is_hurried:
                reason = (
                    f"a request body that is not there within {config.body_timeout:g} s, and "
                    "others wait for its room (max_buffered_size)"
                )
            self._fail_body(self._body, RequestRefused(408, reason))
        elif state is State.DRAINING:
            self._finish()
        elif state is State.CLOSING or (state is State.LINGERING and not self.client.has_unsent):
            self.abort()  # closing TLS would wait for the client once more
        else:
            self.close()

    def _refuse(self, refused: RequestRefused) -> None:
        """Answer in the application's place, and close."""
        try:
            self.request_refused(refused)
        finally:  # what the hook raises is no reason to leave the client where it is
            self._answer_refused(refused)

    def _answer_refused(self, refused: RequestRefused) -> None:
        self._registry.count_refused(refused.status)
        headers = [RETRY_AFTER] if refused.status == 503 else []
        self._body = None
        if self.exchange is not None:
            self._forget(self.exchange)
        sign = self._frontend.signature
        self.client.write(
            own_response(refused.status, date=sign.date(), server=sign.server, headers=headers)
        )
        self._linger()

    def _forget(self, exchange: Exchange) -> None:
        """Have nothing more to do with a request that never ran."""
        exchange.discard()
        self.exchange = None

    def _would_seem_whole(self) -> bool:
        """Whether what is cut now could not be told from a complete response.

        One without an end of its own, such as an event stream, has none that could be missing.
        """
        exchange = self.exchange
        if exchange is None:
            return self._is_close_delimited and self.client.unsent_size > 0
        responder = _responder_of(exchange)
        return responder.is_close_delimited and not exchange.is_endless

    def _finish(self) -> None:
        """Close behind a response."""
        if self._body is None and not self._parser.unread_size:
            self.close()
        else:
            self._linger()

    def _linger(self) -> None:
        """Shut our side, and read on until the client has closed its own.

        RFC 9112 9.6: closing while input is unread resets the connection, and the reset may
        overtake the response.
        """
        can_linger = self._registry.has_place_to_linger and not self._has_eof
        if not can_linger or not self.client.half_close():
            self.close()
            return
        self._still_sends = self._body is not None
        self._end_service(State.LINGERING, self._config.drain_timeout)
        self.client.resume_reading()

    def _end_service(self, state: State, timeout: float = math.inf) -> None:
        # First of all: asyncio's TLS delivers what it has decrypted from within close().
        self._enter(state, timeout)
        # No piece of a body is parsed any more, not even one for which a turn of the loop is
        # booked: it would take the deadline away, and the client could stay for ever.
        self._body = None
        self._registry.no_longer_served(self)


def _responder_of(exchange: Exchange) -> HttpResponder:
    """What `HttpConnection.make_exchange` gave it."""
    responder = exchange.responder
    assert isinstance(responder, HttpResponder), responder
    return responder


_DEAF = (State.LINGERING, State.CLOSING, State.CLOSED)
_BUSY = (State.BODY, State.RESPONDING, State.TAKEN_OVER, State.CLOSING, State.CLOSED)
