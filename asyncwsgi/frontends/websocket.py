"""A WebSocket on the loop: its handler is a coroutine, and no thread is held for it.

Two objects are a WebSocket. `WebSocketConnection` is what the handler has. Its `_Link` stands
below: it takes the bytes of the connection behind a 101 (see `asyncwsgi.frontends.upgrade`), and
owns the queue of messages, flow control, deadlines and the closing handshake. All of it runs on the
loop.

Flow control. Messages wait for the handler in a queue. While that is full nothing more is parsed,
and the client is not read. So what one client makes the server hold is one message, the queue, and
what was read at a time. The other way, `send` waits while the client does not keep up. A Ping that
comes meanwhile is answered when it does; only the last one, as RFC 6455 5.5.3 allows.

The end. The code and the reason of a WebSocket are those of the first Close frame, whoever has
sent it; 1006 if there was none. From then on nothing is sent. Messages that had come before are
still the handler's to receive, unless it has closed itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from dataclasses import dataclass, fields
from typing import Any

from asyncwsgi.clock import clock
from asyncwsgi.coroutines.cancellation import until_disconnect
from asyncwsgi.errors import ConnectionClosed
from asyncwsgi.frontends.buffer_budget import UNCLAIMED_SIZE
from asyncwsgi.frontends.upgrade import OfferingExchange, SwitchingConnection
from asyncwsgi.frontends.websocket_frames import (
    Broken,
    Closed,
    Data,
    Fragment,
    FrameEvent,
    Frames,
    Pinged,
    Ponged,
)
from asyncwsgi.http1.deflate import Agreement
from asyncwsgi.server_log import logger

NORMAL = 1000
GOING_AWAY = 1001
ABNORMAL = 1006
INTERNAL_ERROR = 1011
TRY_AGAIN_LATER = 1013

ROOM_TIMEOUT = 20.0
"""Seconds for which a client with an unfinished message waits for room to send the rest of it."""

MOST_EVENTS = 64
"""Frames that are looked at before other connections have their turn."""
MOST_SENDS = 16
"""Messages that are sent before others have theirs."""
MESSAGE_OVERHEAD = 64
"""Bytes for which each message in the queue counts besides its own."""

Handler = Callable[["WebSocketConnection"], Coroutine[Any, Any, object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSocketOptions:
    """How a WebSocket is served.

    Args:
        max_message_size: bytes that a message of the client may have; a larger one closes with
            1009.
        queue_size: bytes of messages that wait for the handler, from which on the client is not
            read.
        compression: whether messages are deflated, if the client can.
        ping_interval: seconds of silence of the client after which it is asked whether it is there;
            0 for never.
        ping_timeout: seconds in which it has to answer.
        idle_timeout: seconds without a message in either direction after which the WebSocket is
            closed with 1001; 0 for never.
        close_timeout: seconds in which the client has to answer a Close frame.
    """

    max_message_size: int = 1024 * 1024
    queue_size: int = 64 * 1024
    compression: bool = True
    ping_interval: float = 20.0
    ping_timeout: float = 20.0
    idle_timeout: float = 0.0
    close_timeout: float = 5.0

    def __post_init__(self) -> None:
        for option in fields(self):
            value = getattr(self, option.name)
            if value < 0:
                raise ValueError(f"{option.name} of a WebSocket is {value!r}; expected 0 or more")


class WebSocketConnection:
    """An open WebSocket, as its handler has it.

    Iterate it for the messages of the client, each a `str` or `bytes`; the iteration ends when the
    WebSocket is closed, in whatever way (see `close_code`). Several tasks may use it at once. It
    belongs on the server's loop: elsewhere its methods raise `RuntimeError`.
    """

    __slots__ = ("_link", "_sent_count", "subprotocol")

    def __init__(self, link: _Link, subprotocol: str | None) -> None:
        self._link = link
        self._sent_count = 0
        self.subprotocol = subprotocol
        """The one that was agreed on; None for none."""

    @property
    def close_code(self) -> int | None:
        """The code of the first Close frame, whoever has sent it; None while the WebSocket is open.

        1005 is one without a code, 1006 the end of the connection without any.
        """
        return self._link.close_code

    @property
    def close_reason(self) -> str:
        """What was said with `close_code`."""
        return self._link.close_reason

    def __aiter__(self) -> WebSocketConnection:
        return self

    async def __anext__(self) -> Data:
        try:
            return await self.receive()
        except ConnectionClosed:
            raise StopAsyncIteration from None

    async def receive(self) -> Data:
        """The next message.

        Raises:
            ConnectionClosed: the WebSocket is closed, and all messages that had come are received.
        """
        self._link.require_own_loop()
        return await self._link.next_message()

    async def receive_json(self) -> Any:
        """The next message, decoded.

        Raises:
            ConnectionClosed: as `receive`.
            ValueError: it is no JSON.
        """
        return json.loads(await self.receive())

    async def send(self, message: str | bytes | bytearray | memoryview) -> None:
        """Send a message: text if it is `str`. Waits while the client does not keep up.

        Raises:
            ConnectionClosed: the WebSocket is closed.
            TypeError: it is neither text nor bytes.
        """
        link = self._link
        link.require_own_loop()
        data = _data_of(message)
        await link.wait_until_writable()
        link.send(data)
        self._sent_count += 1
        if not self._sent_count % MOST_SENDS:
            await asyncio.sleep(0)  # to a client that keeps up one could send for ever

    async def send_json(self, value: Any) -> None:
        """Send `value` as JSON, in a message of text.

        Raises:
            ConnectionClosed: the WebSocket is closed.
        """
        await self.send(json.dumps(value))

    async def ping(self) -> float:
        """Ask whether the client is there, and wait for its answer. Returns the seconds it took.

        Raises:
            ConnectionClosed: the WebSocket is, or was meanwhile, closed.
        """
        self._link.require_own_loop()
        began = clock.monotonic()
        await self._link.ping()
        return clock.monotonic() - began

    async def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Close, and wait for the client's answer; not for longer than ``close_timeout``.

        Nothing happens if the WebSocket is closed already. What is left unreceived is dropped.

        Raises:
            ValueError: no endpoint may send that code (RFC 6455 7.4), or the reason has more than
                123 bytes.
        """
        self._link.require_own_loop()
        _check_close(code, reason)
        await self._link.close_and_wait(code, reason)


def _data_of(message: object) -> Data:
    if isinstance(message, str):
        return str.__str__(message)
    if isinstance(message, bytes | bytearray | memoryview):
        return bytes(message)
    raise TypeError(
        f"send() of a WebSocket got {type(message).__name__}; expected str or bytes, or use "
        "send_json()"
    )


def _check_close(code: int, reason: str) -> None:
    # RFC 6455 7.4.1: 1004, 1005, 1006 and 1015 are never sent; 1010 is the client's; the others
    # below 3000 are not given away.
    if code not in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 1012, 1013, 1014) and not (
        3000 <= code <= 4999
    ):
        raise ValueError(
            f"close code {code!r}; expected 1000 or another that servers may send, or one of your "
            "own from 4000 to 4999"
        )
    if len(reason.encode()) > 123:
        raise ValueError(f"close reason of {len(reason.encode())} bytes; at most 123 can be sent")


class _Waiters:
    """Coroutines that wait until something has changed."""

    __slots__ = ("_futures",)

    def __init__(self) -> None:
        self._futures: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._futures.append(future)
        try:
            await future
        finally:
            with contextlib.suppress(ValueError):  # those that were woken are forgotten already
                self._futures.remove(future)

    def wake(self) -> None:
        futures, self._futures = self._futures, []
        for future in futures:
            if not future.done():
                future.set_result(None)


class _Link:
    """The connection of one WebSocket: a `Successor`.

    Args:
        connection: what it takes over.
        frames: reads and makes its frames.
        exchange: the request that has opened it.
        options: how it is served.
    """

    __slots__ = (
        "_close_deadline", "_closed", "_connection", "_exchange", "_frames", "_has_eof",
        "_heard_at", "_is_counted", "_is_full", "_is_over", "_is_parsing", "_loop", "_messages",
        "_options", "_owed_pong", "_ping_count", "_pinged_at", "_pings", "_queued_size",
        "_received", "_spoke_at", "_starved_at", "_writable", "close_code", "close_reason",
    )  # fmt: skip

    def __init__(
        self,
        connection: SwitchingConnection,
        frames: Frames,
        exchange: OfferingExchange,
        options: WebSocketOptions,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._frames = frames
        self._exchange = exchange
        self._options = options
        self.close_code: int | None = None
        self.close_reason = ""
        self._messages: deque[Data] = deque()
        self._queued_size = 0
        self._received = _Waiters()
        self._writable = _Waiters()
        self._closed = _Waiters()
        self._has_eof = False
        self._is_over = False
        """Whether nothing that the client may still send is of interest."""
        self._is_full = False
        """Whether the client is not read, because the queue is full."""
        self._starved_at = math.inf
        """Since when the client is not read, because the server holds too much."""
        self._is_counted = False
        """Whether what is held of its messages is counted with all that the server holds."""
        self._is_parsing = True
        """Whether what was read is looked at later: at the beginning, and when there is a lot."""
        self._owed_pong: bytes | None = None
        self._pings: dict[bytes, asyncio.Future[None] | None] = {}
        """Those that were not answered, in order, with who waits for the answer."""
        self._ping_count = 0
        self._heard_at = self._spoke_at = clock.monotonic()
        self._pinged_at = math.inf
        """When the client was asked whether it is there, while that is not known."""
        self._close_deadline = math.inf

    def begin(self) -> None:
        """Take the connection over."""
        self._frames.receive(self._connection.switch_to(self))
        self._parse_on()

    # From the connection.

    def receive(self, data: bytes) -> None:
        self._heard_at = clock.monotonic()
        self._pinged_at = math.inf
        self._frames.receive(data)
        if not self._is_parsing:
            self._parse()

    def end(self) -> None:
        self._has_eof = True
        if not (self._is_full or self._is_parsing):
            self._parse()

    def pause(self) -> None:
        pass  # `is_writable` of the transport says it

    def resume(self) -> None:
        payload, self._owed_pong = self._owed_pong, None
        if payload is not None:
            self._write(self._frames.pong(payload))
        self._writable.wake()

    def close(self) -> None:
        self._ended(ABNORMAL, "the connection was lost")
        self._finish()
        self._connection.hold(0)
        self._exchange.disconnect.announce()

    def tick(self, now: float) -> None:
        options = self._options
        if self._starved_at != math.inf:
            self._look_for_room(now)
        if self.close_code is not None:
            if now >= self._close_deadline:
                self._finish(self._connection.close)
            return
        if self._is_unread or not self._connection.client.is_writable:
            # Its answer to a Ping would not be read, or has no way yet. That a client which is not
            # read has left is not heard, either.
            self._heard_at, self._pinged_at = now, math.inf
            if self._connection.client.has_shut_unread():
                self._exchange.disconnect.announce()
        elif now - self._pinged_at >= options.ping_timeout:
            self._ended(ABNORMAL, f"no answer to a Ping within {options.ping_timeout:g} s")
            self._finish(self._connection.abort)
            return
        elif (
            self._pinged_at == math.inf
            and options.ping_interval
            and now - self._heard_at >= options.ping_interval
        ):
            self._pinged_at = now
            self._send_ping()
        if options.idle_timeout and now - self._spoke_at >= options.idle_timeout:
            self.begin_close(GOING_AWAY, f"no message for {options.idle_timeout:g} s")

    @property
    def _is_unread(self) -> bool:
        return self._is_full or self._starved_at != math.inf

    def _look_for_room(self, now: float) -> None:
        if now - self._starved_at < ROOM_TIMEOUT:
            self._read_if_there_is_room()
        else:
            self._starved_at = math.inf
            self._fail(Broken(TRY_AGAIN_LATER, "the server holds too much; try again later"))

    def drain(self) -> None:
        self.begin_close(GOING_AWAY, "the server stops")

    # From the handler.

    def require_own_loop(self) -> None:
        # Elsewhere it would seem to work, and would not.
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError(
                "a WebSocket belongs on the server's loop, and this is another one; use it in its "
                "handler, or from a thread by asyncwsgi.from_thread.run(ws.send, message)"
            )

    async def next_message(self) -> Data:
        while not self._messages:
            self._require_open()
            await self._received.wait()
        message = self._messages.popleft()
        self._queued_size -= len(message) + MESSAGE_OVERHEAD
        if self._is_full and self._queued_size < self._options.queue_size:
            self._is_full = False
            self._parse_soon()
        elif self._is_counted:
            self._count_held()
        return message

    async def wait_until_writable(self) -> None:
        while self.close_code is None and not self._connection.client.is_writable:
            await self._writable.wait()

    def send(self, data: Data) -> None:
        self._require_open()
        self._spoke_at = clock.monotonic()
        self._write(self._frames.message(data))

    async def ping(self) -> None:
        self._require_open()
        answered: asyncio.Future[None] = self._loop.create_future()
        self._send_ping(answered)
        await answered

    async def close_and_wait(self, code: int, reason: str) -> None:
        if self.close_code is None:
            self.begin_close(code, reason)
            self._messages.clear()
            self._queued_size = 0
        while not self._is_over:
            await self._closed.wait()

    def begin_close(self, code: int, reason: str) -> None:
        """Send a Close frame, unless that was done, and go on when the client has answered it."""
        if self.close_code is not None:
            return
        self._write(self._frames.close(code, reason))
        self._ended(code, reason)
        self._close_deadline = clock.monotonic() + self._options.close_timeout
        self._is_full = False  # what comes now is dropped, but for the answer
        if not self._is_parsing:
            self._parse()

    def cut(self) -> None:
        """End it without a word."""
        self._connection.abort()

    # For itself.

    def _parse(self) -> None:
        """Act on what was read, as far as there is room for it."""
        client = self._connection.client
        for _ in range(MOST_EVENTS):
            if self._is_over or client.is_closing:
                return
            if self.close_code is None and self._queued_size >= self._options.queue_size:
                self._is_full = True
                client.pause_reading()
                self._count_held()
                return
            event = self._frames.next_event()
            if event is None:
                self._read_on()
                return
            if not self._act(event):
                return
        client.pause_reading()
        self._count_held()
        self._parse_soon()

    def _parse_soon(self) -> None:
        """Parse when others have had their turn."""
        if not self._is_parsing:
            self._is_parsing = True
            self._loop.call_soon(self._parse_on)

    def _parse_on(self) -> None:
        self._is_parsing = False
        self._parse()

    def _read_on(self) -> None:
        if self._has_eof:
            self._ended(ABNORMAL, "the client has closed the connection without a Close frame")
            self._finish(self._connection.close)
        else:
            self._read_if_there_is_room()

    def _act(self, event: FrameEvent) -> bool:
        """Do what the client says; False: the connection is over."""
        if isinstance(event, str | bytes):
            self._take(event)
        elif isinstance(event, Fragment):
            pass  # one of so many frames at a time
        elif isinstance(event, Pinged):
            if self._connection.client.is_writable:
                self._write(self._frames.pong(event.payload))
            else:
                self._owed_pong = event.payload
        elif isinstance(event, Ponged):
            self._answered(event.payload)
        elif isinstance(event, Closed):
            self._write(self._frames.close(event.code))
            self._ended(event.code, event.reason)
            self._exchange.disconnect.announce()
            # 7.1.1: it is the server who closes first.
            self._finish(self._connection.close)
            return False
        else:
            self._fail(event)
            return False
        return True

    def _take(self, message: Data) -> None:
        if self.close_code is not None:
            return
        self._spoke_at = self._heard_at
        self._messages.append(message)
        self._queued_size += len(message) + MESSAGE_OVERHEAD
        self._received.wake()

    def _read_if_there_is_room(self) -> None:
        """Read on, unless the server holds too much, and this client's unfinished message with it.

        Whoever has half of a message must not wait for ever: it would keep the room for which
        others wait. So it has `ROOM_TIMEOUT`; most of what a server holds is unsent, and gone
        before.
        """
        has_room = self._count_held()
        is_small = self._frames.held_size <= UNCLAIMED_SIZE
        if has_room or is_small or self.close_code is not None:
            self._starved_at = math.inf
            self._connection.client.resume_reading()
        elif self._starved_at == math.inf:
            self._starved_at = clock.monotonic()
            self._connection.client.pause_reading()

    def _count_held(self) -> bool:
        """Have what is held of its messages counted with all the rest. False: it is too much."""
        size = self._queued_size + self._frames.held_size
        self._is_counted = size > UNCLAIMED_SIZE
        return self._connection.hold(size if self._is_counted else 0)

    def _fail(self, broken: Broken) -> None:
        self._write(self._frames.close(broken.code, broken.reason))
        self._ended(broken.code, broken.reason)
        # It may be sending: closing would reset the connection, and the reset overtake the frame.
        self._finish(self._connection.linger)

    def _finish(self, leave: Callable[[], object] | None = None) -> None:
        """The closing handshake is over, or there is none: leave the connection."""
        if not self._is_over:
            self._is_over = True
            self._closed.wake()
            if leave is not None:
                leave()

    def _send_ping(self, answered: asyncio.Future[None] | None = None) -> None:
        if self._pings:  # those for which nobody waits any more
            self._pings = {p: f for p, f in self._pings.items() if f and not f.done()}
        payload = self._ping_count.to_bytes(4)
        self._ping_count = (self._ping_count + 1) % 2**32
        self._pings[payload] = answered
        self._write(self._frames.ping(payload))

    def _answered(self, payload: bytes) -> None:
        # 5.5.3: a client may answer the last one only, and so those before it.
        if payload not in self._pings:
            return
        for sent in list(self._pings):
            future = self._pings.pop(sent)
            if future is not None and not future.done():
                future.set_result(None)
            if sent == payload:
                return

    def _write(self, data: bytes) -> None:
        if data:
            self._connection.client.write(data)

    def _require_open(self) -> None:
        if self.close_code is not None:
            raise ConnectionClosed(self.close_code, self.close_reason)

    def _ended(self, code: int, reason: str) -> None:
        """The WebSocket is closed, unless it was before; whoever waits hears of it."""
        if self.close_code is not None:
            return
        self.close_code, self.close_reason = code, reason
        self._received.wake()
        self._writable.wake()
        pings, self._pings = self._pings, {}
        for future in pings.values():
            if future is not None and not future.done():
                future.set_exception(ConnectionClosed(code, reason))


class _HandlerCall:
    """The handler of one WebSocket, as a call on the loop (see `asyncwsgi.coroutines.tasks`)."""

    __slots__ = ("_exchange", "_handler", "_link", "_websocket", "context", "name", "task")

    def __init__(
        self,
        handler: Handler,
        websocket: WebSocketConnection,
        link: _Link,
        exchange: OfferingExchange,
        context: Context,
        name: str,
    ) -> None:
        self.name: str | None = name
        self.context = context
        self.task: asyncio.Task[Any] | None = None
        self._handler = handler
        self._websocket = websocket
        self._link = link
        self._exchange = exchange

    async def run(self) -> None:
        link, exchange = self._link, self._exchange
        try:
            coroutine = self._handler(self._websocket)
            if exchange.cancel_on_disconnect:
                await until_disconnect(exchange.disconnect, coroutine)
            else:
                await coroutine
        except asyncio.CancelledError:
            link.begin_close(GOING_AWAY, "the handler was cancelled")
        except BaseException as error:
            # asyncio would let KeyboardInterrupt and SystemExit of a task end the loop.
            self._failed(error)
        else:
            link.begin_close(NORMAL, "")
        finally:
            del self, link, exchange  # an exception knows this frame: no cycle

    def fail(self, error: BaseException) -> None:
        """It never began, or it has ended, which the link knows."""
        self._link.begin_close(INTERNAL_ERROR, "the handler could not begin")

    def _failed(self, error: BaseException) -> None:
        link = self._link
        is_closed = link.close_code is not None
        if not (is_closed and isinstance(error, ConnectionClosed)):
            exchange = self._exchange
            logger.error(
                "GET %s: the WebSocket handler %s failed",
                exchange.target, self.name, exc_info=error,
            )  # fmt: skip
            exchange.background_failed(error)
        link.begin_close(INTERNAL_ERROR, "")


def serve_websocket(
    connection: SwitchingConnection,
    exchange: OfferingExchange,
    *,
    handler: Handler,
    context: Context,
    name: str,
    subprotocol: str | None,
    agreement: Agreement | None,
    options: WebSocketOptions,
) -> None:
    """Let `handler` speak with the client of `connection`, behind a 101. On the loop.

    Args:
        connection: the client's.
        exchange: the request that has opened it.
        handler: what speaks.
        context: what the handler runs in.
        name: that of the handler, for the log.
        subprotocol: what was agreed on, as are deflated messages.
        agreement: the same of how messages are deflated.
        options: how it is served.
    """
    link = _Link(connection, Frames(options.max_message_size, agreement), exchange, options)
    websocket = WebSocketConnection(link, subprotocol)
    link.begin()
    try:
        exchange.tasks.serve(_HandlerCall(handler, websocket, link, exchange, context, name))
    except RuntimeError:  # the server has stopped
        link.cut()
