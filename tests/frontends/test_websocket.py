"""One WebSocket without sockets, threads or time: what it does at one go, and what it does not."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from typing import Any

from asyncwsgi.clock import clock
from asyncwsgi.frontends.websocket import (
    MESSAGE_OVERHEAD,
    MOST_EVENTS,
    ROOM_TIMEOUT,
    WebSocketConnection,
    WebSocketOptions,
    serve_websocket,
)
from tests.frontends.fakes import FakeTransport, Stage
from tests.websockets.clients import BINARY, CONTINUATION, PING, TEXT, frame

GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"


class WatchedTransport(FakeTransport):
    """Keeps what is sent, and says whether the client is read."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.is_read = True

    def write(self, data: Any) -> None:
        self.sent.append(bytes(data))

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True


def opened(
    handler: Any, server: dict[str, Any] | None = None, **options: Any
) -> tuple[Stage, WatchedTransport]:
    """A connection whose request has opened a WebSocket.

    Args:
        server: options of the server.
    """
    stage, transport = Stage(**(server or {})), WatchedTransport()
    stage.connection.connection_made(transport)
    stage.send(GET)
    exchange = stage.connection.exchange
    assert exchange is not None
    serve_websocket(
        stage.connection,
        exchange,
        handler=handler,
        context=copy_context(),
        name="handler",
        subprotocol=None,
        agreement=None,
        options=WebSocketOptions(**options),
    )
    return stage, transport


async def forever(ws: WebSocketConnection) -> None:
    await asyncio.Event().wait()


async def settled() -> None:
    """Let all happen that is going to."""
    for _ in range(100):
        await asyncio.sleep(0)


async def test_many_frames_at_a_time_leave_turns_to_others() -> None:
    stage, transport = opened(forever)
    stage.send(frame(PING) * 1000)
    assert len(transport.sent) == MOST_EVENTS
    assert not transport.is_read
    await settled()
    assert len(transport.sent) == 1000
    assert transport.is_read
    stage.connection.abort()


async def test_so_do_many_fragments_that_make_no_message() -> None:
    stage, transport = opened(forever)
    stage.send(frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) * 999 + frame(PING))
    assert not transport.is_read
    assert transport.sent == []
    await settled()
    assert transport.sent == [b"\x8a\x00"]
    assert transport.is_read
    stage.connection.abort()


async def test_so_does_a_handler_that_does_nothing_but_receive() -> None:
    received = []

    async def greedy(ws: WebSocketConnection) -> None:
        async for message in ws:
            received.append(message)  # noqa: PERF401 - what a handler is like

    stage, _ = opened(greedy, queue_size=1024)
    stage.send(frame(TEXT) * 1000)
    most = 0
    while (before := len(received)) < 1000:
        await asyncio.sleep(0)
        most = max(most, len(received) - before)
    assert most <= MOST_EVENTS
    stage.connection.abort()


async def test_what_the_queue_does_not_hold_is_not_even_parsed() -> None:
    received = []

    async def slow(ws: WebSocketConnection) -> None:
        async for message in ws:
            received.append(message)
            await asyncio.sleep(0)

    stage, transport = opened(slow, queue_size=1)
    stage.send(frame(TEXT, b"spam") + frame(PING) + frame(TEXT, b"eggs"))
    assert (transport.sent, transport.is_read) == ([], False)
    await settled()
    assert (transport.sent, transport.is_read) == ([b"\x8a\x00"], True)
    assert received == ["spam", "eggs"]
    stage.connection.abort()


async def test_only_the_last_ping_is_answered_when_the_client_reads_again() -> None:
    """RFC 6455 5.5.3: else whoever asks and does not read makes the answers heap up."""
    stage, transport = opened(forever)
    stage.connection.pause_writing()
    stage.send(frame(PING, b"a") + frame(PING, b"b"))
    assert transport.sent == []
    stage.connection.resume_writing()
    assert transport.sent == [b"\x8a\x01b"]
    stage.connection.abort()


async def test_a_send_waits_until_the_client_reads_again() -> None:
    sent = []

    async def handler(ws: WebSocketConnection) -> None:
        await ws.send("spam")
        sent.append("spam")
        await forever(ws)

    stage, transport = opened(handler)
    stage.connection.pause_writing()
    await settled()
    assert (sent, transport.sent) == ([], [])
    stage.connection.resume_writing()
    await settled()
    assert (sent, transport.sent) == (["spam"], [b"\x81\x04spam"])
    stage.connection.abort()


async def test_whoever_waits_to_send_hears_that_the_client_has_gone() -> None:
    raised = []

    async def handler(ws: WebSocketConnection) -> None:
        try:
            await ws.send("spam")
        except ConnectionError as error:
            raised.append(str(error))

    stage, _ = opened(handler)
    stage.connection.pause_writing()
    await settled()
    stage.connection.connection_lost(None)
    await settled()
    assert raised == ["the WebSocket is closed with 1006: the connection was lost"]


async def test_whoever_catches_up_is_given_time_to_answer() -> None:
    """Its answer to a Ping had to wait behind what it had not read."""
    stage, transport = opened(forever)
    now = clock.monotonic()
    stage.connection.tick(now + 20)
    assert len(transport.sent) == 1, "it is asked"
    stage.connection.pause_writing()
    stage.connection.tick(now + 1000)
    stage.connection.resume_writing()
    stage.connection.tick(now + 1001)
    assert not transport.is_closing()
    stage.connection.abort()


class TestRoom:
    """What a server holds for all of its clients together."""

    async def test_what_is_held_is_counted_until_the_handler_has_it(self) -> None:
        release = asyncio.Event()

        async def slow(ws: WebSocketConnection) -> None:
            await release.wait()
            await ws.receive()
            await forever(ws)

        stage, _ = opened(slow)
        budget = stage.registry.budget
        stage.send(frame(TEXT, b"spam"))
        assert budget.held_size == 0, "little is not counted"
        stage.send(frame(BINARY, bytes(20_000), fin=False))
        assert budget.held_size == 20_000 + 4 + MESSAGE_OVERHEAD
        stage.send(frame(CONTINUATION))
        assert budget.held_size == 20_000 + 4 + 2 * MESSAGE_OVERHEAD
        release.set()
        await settled()
        assert budget.held_size == 20_000 + MESSAGE_OVERHEAD
        stage.connection.connection_lost(None)
        assert budget.held_size == 0

    async def test_who_has_half_of_a_message_waits_for_room_and_not_for_ever(self) -> None:
        stage, transport = opened(forever, {"max_buffered_size": 30_000})
        budget = stage.registry.budget
        stage.send(frame(BINARY, bytes(20_000), fin=False))
        assert transport.is_read
        budget.count(20_000)  # somebody else holds as much
        stage.send(frame(CONTINUATION, b"x", fin=False))
        assert not transport.is_read
        now = clock.monotonic()
        stage.connection.tick(now + 1)
        assert not transport.is_read
        budget.count(-20_000)
        stage.connection.tick(now + 2)
        assert transport.is_read
        budget.count(20_000)
        stage.send(frame(CONTINUATION, b"x", fin=False))
        stage.connection.tick(now + 2 * ROOM_TIMEOUT)
        (close,) = transport.sent
        assert close[2:4] == (1013).to_bytes(2)
        stage.connection.connection_lost(None)
        assert budget.held_size == 20_000

    async def test_who_has_a_whole_one_is_served(self) -> None:
        stage, transport = opened(forever, {"max_buffered_size": 30_000})
        stage.registry.budget.count(20_000)
        stage.send(frame(BINARY, bytes(20_000)))
        assert transport.is_read
        stage.connection.abort()
