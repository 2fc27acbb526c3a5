"""Messages between a client and a handler on the loop."""

from __future__ import annotations

import asyncio
import json
import threading
import zlib
from contextlib import ExitStack
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK
from wsproto.events import BytesMessage, Ping, Pong, TextMessage

from asyncwsgi import ConnectionClosed, WebSocket, WebSocketConnection
from tests.apps import hello
from tests.client import TIMEOUT, connect
from tests.conftest import Serve
from tests.http.helpers import MIB, TURNS, Clock, come_round, fill, until
from tests.websockets.clients import (
    BINARY,
    CONTINUATION,
    HEAD,
    PING,
    PONG,
    TEXT,
    RawWebSocket,
    close_frame,
    frame,
    open_websocket,
    raw_websocket,
    read_head,
)
from tests.websockets.handlers import Told, echo


@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize(
    "message", ["", "spam", "ä€😀" * 1000, b"", b"\x00\xff" * 70_000, "x" * MIB, bytes(MIB)],
    ids=["empty text", "text", "unicode", "no bytes", "bytes", "1 MB of text", "1 MB of bytes"],
)  # fmt: skip
def test_messages_come_as_they_were_sent(
    message: str | bytes, compression: str | None, serve: Serve
) -> None:
    server = serve(WebSocket(echo), validate=False)
    with open_websocket(server, compression=compression) as client:
        for _ in range(2):
            client.send(message)
            assert client.recv(TIMEOUT) == message


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_all_kinds_of_bytes_are_sent(kind: Any, serve: Serve) -> None:
    async def handler(ws: WebSocketConnection) -> None:
        await ws.send(kind(b"spam"))

    with open_websocket(serve(WebSocket(handler), validate=False)) as client:
        assert client.recv(TIMEOUT) == b"spam"


def test_json_is_sent_and_received(serve: Serve) -> None:
    async def handler(ws: WebSocketConnection) -> None:
        await ws.send_json({"got": await ws.receive_json()})

    with open_websocket(serve(WebSocket(handler), validate=False)) as client:
        client.send('[1, "ä"]')
        assert json.loads(client.recv(TIMEOUT)) == {"got": [1, "ä"]}


def test_what_is_no_message_is_refused(serve: Serve) -> None:
    async def handler(ws: WebSocketConnection) -> None:
        try:
            await ws.send({"a": 1})  # type: ignore[arg-type]
        except TypeError as error:
            await ws.send(str(error))

    with open_websocket(serve(WebSocket(handler), validate=False)) as client:
        assert "got dict; expected str or bytes, or use send_json()" in client.recv(TIMEOUT)


def test_fragments_are_joined_and_control_frames_come_between(serve: Serve) -> None:
    with raw_websocket(serve(WebSocket(echo), validate=False)) as client:
        euro = "€".encode()
        client.send(frame(TEXT, b"spam" + euro[:1], fin=False))
        client.send(frame(PING, b"are you there"))
        client.send(frame(CONTINUATION, fin=False) + frame(CONTINUATION, euro[1:], fin=False))
        client.send(frame(CONTINUATION, b""))
        assert client.receive() == Pong(b"are you there")
        assert client.receive() == TextMessage("spam€")


def test_a_message_in_a_hundred_thousand_fragments_is_joined_in_time(serve: Serve) -> None:
    # Were what has come copied for each, this would take minutes.
    count = 100_000
    one = frame(CONTINUATION, b"12345", fin=False)
    with raw_websocket(serve(WebSocket(echo), validate=False)) as client:
        client.send(frame(BINARY, fin=False) + one * count + frame(CONTINUATION))
        size = 0
        while size < 5 * count:
            event = client.receive()
            assert isinstance(event, BytesMessage)
            size += len(event.data)


def test_frames_sent_with_the_handshake_are_received(serve: Serve) -> None:
    server = serve(WebSocket(echo), validate=False)
    with connect(server.addresses[0]) as client:
        client.send(HEAD + frame(TEXT, b"spam"))
        assert read_head(client).status == 101
        assert client.read(6) == b"\x81\x04spam"


def test_a_ping_of_the_handler_is_answered(serve: Serve) -> None:
    async def handler(ws: WebSocketConnection) -> None:
        seconds = await ws.ping()
        await ws.send_json(seconds >= 0)

    with open_websocket(serve(WebSocket(handler), validate=False)) as client:
        assert client.recv(TIMEOUT) == "true"


def test_the_answer_to_a_later_ping_answers_earlier_ones(serve: Serve) -> None:
    async def handler(ws: WebSocketConnection) -> None:
        await asyncio.gather(ws.ping(), ws.ping())
        await ws.send("answered")

    with raw_websocket(serve(WebSocket(handler), validate=False)) as client:
        first, second = client.receive(), client.receive()
        assert isinstance(first, Ping)
        assert isinstance(second, Ping)
        client.send(frame(PONG, b"something else") + frame(PONG, bytes(second.payload)))
        assert client.receive() == TextMessage("answered")


def test_a_handler_that_does_not_receive_is_not_sent_more_than_its_queue_holds(
    serve: Serve,
) -> None:
    release = threading.Event()

    async def slow(ws: WebSocketConnection) -> None:
        await asyncio.to_thread(release.wait, TIMEOUT)
        async for message in ws:
            await ws.send(str(len(message)))

    server = serve(WebSocket(slow, queue_size=MIB), validate=False)
    with raw_websocket(server) as client:
        block = frame(BINARY, bytes(1000))
        try:
            sent = fill(client.client, block, lambda: come_round(server), limit=64 * MIB)
        finally:
            release.set()
        for _ in range(sent // len(block)):
            assert client.receive() == TextMessage("1000")


def test_a_handler_waits_for_a_client_that_does_not_read(serve: Serve) -> None:
    sent: list[int] = []

    async def eager(ws: WebSocketConnection) -> None:
        while True:
            await ws.send(bytes(16 * 1024))
            sent.append(1)

    server = serve(WebSocket(eager, compression=False), validate=False)
    with raw_websocket(server) as client:
        count = -1
        turns = 0
        while turns < TURNS:
            come_round(server)
            turns = turns + 1 if len(sent) == count else 0
            count = len(sent)
            assert count < 64 * 1024, "the handler sends on and on"
        for _ in range(count):
            assert isinstance(client.receive(), BytesMessage)


def test_a_client_that_reads_nothing_for_long_is_cut(serve: Serve, clock: Clock) -> None:
    async def eager(ws: WebSocketConnection) -> None:
        while True:
            await ws.send(bytes(16 * 1024))

    told = Told(eager)
    server = serve(WebSocket(told.run, compression=False), validate=False, send_timeout=10)
    with raw_websocket(server):
        told.wait_until_begun()
        until(server, lambda: bool(server.server.snapshot().buffered_size))
        for _ in range(5):  # its kernel may have taken some more
            clock.pass_time(server, 10.0)
        assert told.wait() == (1006, "the connection was lost")


def test_a_handler_that_sends_without_end_leaves_turns_to_others(serve: Serve) -> None:
    """To a client that keeps up, send() never waits."""
    is_over = threading.Event()

    async def eager(ws: WebSocketConnection) -> None:
        while not is_over.is_set():
            await ws.send("x")

    application = WebSocket(eager)
    opened = threading.Event()
    clients: list[RawWebSocket] = []

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/plain":
            return hello(environ, start_response)
        return application(environ, start_response)

    server = serve(app, validate=False)

    def read() -> None:
        with raw_websocket(server) as client:
            clients.append(client)
            opened.set()
            while client.client.sock.recv(65536):
                pass

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert opened.wait(TIMEOUT)
        with connect(server.addresses[0]) as client:
            assert client.get("/plain").status == 200
    finally:
        is_over.set()
        clients[0].send(close_frame(1000))  # which the server waits for
        server.close()
        reader.join()


def test_a_receive_that_is_cancelled_loses_no_message(serve: Serve) -> None:
    async def handler(ws: WebSocketConnection) -> None:
        for _ in range(3):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(ws.receive(), 0.001)
        await ws.send("now")
        await ws.send(await ws.receive())

    with open_websocket(serve(WebSocket(handler), validate=False)) as client:
        assert client.recv(TIMEOUT) == "now"
        client.send("spam")
        assert client.recv(TIMEOUT) == "spam"


def test_several_tasks_may_receive(serve: Serve) -> None:
    async def handler(ws: WebSocketConnection) -> None:
        receiving = [asyncio.ensure_future(ws.receive()) for _ in range(3)]
        await asyncio.sleep(0)
        receiving[0].cancel()
        await ws.send("now")
        await ws.send_json(sorted(await asyncio.gather(*receiving[1:])))

    with open_websocket(serve(WebSocket(handler), validate=False)) as client:
        assert client.recv(TIMEOUT) == "now"
        client.send("a")
        client.send("b")
        assert client.recv(TIMEOUT) == '["a", "b"]'


class TestLimits:
    @pytest.mark.parametrize("compression", [None, "deflate"])
    def test_a_message_of_the_size_that_is_allowed_is_received(
        self, compression: str | None, serve: Serve
    ) -> None:
        server = serve(WebSocket(echo, max_message_size=1000), validate=False)
        with open_websocket(server, compression=compression) as client:
            client.send("x" * 1000)
            assert client.recv(TIMEOUT) == "x" * 1000

    @pytest.mark.parametrize("compression", [None, "deflate"])
    @pytest.mark.parametrize("is_fragmented", [False, True])
    def test_a_message_that_is_too_large_closes_with_1009(
        self, compression: str | None, is_fragmented: bool, serve: Serve
    ) -> None:
        told = Told()
        server = serve(WebSocket(told.run, max_message_size=1000), validate=False)
        with open_websocket(server, compression=compression) as client:

            def send_and_receive() -> None:
                # Behind the fragments it sends the end of the message, and may be told before that.
                client.send(["x" * 500, "y" * 501] if is_fragmented else "x" * 1001)
                client.recv(TIMEOUT)

            with pytest.raises(ConnectionClosedError) as caught:
                send_and_receive()
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1009
            assert caught.value.rcvd.reason == "a message has 1000 bytes at most"
        assert told.wait() == (1009, "a message has 1000 bytes at most")
        assert told.messages == []

    def test_a_frame_that_says_it_is_too_large_is_refused_before_it_comes(
        self, serve: Serve
    ) -> None:
        with raw_websocket(serve(WebSocket(echo), validate=False)) as client:
            client.send(frame(BINARY, bytes(2 * MIB))[:14])
            code, _ = client.receive_close()
            assert code == 1009

    def test_a_small_frame_that_inflates_without_end_is_not_held(self, serve: Serve) -> None:
        stream = zlib.compressobj(9, zlib.DEFLATED, -15)
        bomb = stream.compress(bytes(200 * MIB)) + stream.flush(zlib.Z_SYNC_FLUSH)
        told = Told()
        server = serve(WebSocket(told.run), validate=False)
        with raw_websocket(server, Sec_WebSocket_Extensions="permessage-deflate") as client:
            client.send(frame(BINARY, bomb[:-4], rsv=4))
            code, _ = client.receive_close()
            assert code == 1009
        told.wait()
        assert told.messages == []


class TestKeepAlive:
    def test_a_silent_client_is_asked_and_stays_when_it_answers(
        self, serve: Serve, clock: Clock
    ) -> None:
        server = serve(WebSocket(echo), validate=False)
        with raw_websocket(server) as client:
            client.exchange()
            for _ in range(4):
                clock.pass_time(server, 20.0)
                ping = client.receive()
                assert isinstance(ping, Ping)
                clock.pass_time(server, 19.0)
                client.send(frame(PONG, bytes(ping.payload)) + frame(PING, b"seen"))
                assert client.receive() == Pong(b"seen")
            client.exchange()

    def test_one_that_does_not_answer_is_cut(self, serve: Serve, clock: Clock) -> None:
        told = Told()
        server = serve(WebSocket(told.run), validate=False)
        with raw_websocket(server) as client:
            told.wait_until_begun()
            clock.pass_time(server, 20.0)
            assert isinstance(client.receive(), Ping)
            clock.pass_time(server, 20.0)
            assert client.client.read_all() == b""
        assert told.wait() == (1006, "no answer to a Ping within 20 s")

    def test_whoever_says_anything_is_not_asked(self, serve: Serve, clock: Clock) -> None:
        server = serve(WebSocket(echo), validate=False)
        with raw_websocket(server) as client:
            client.exchange()
            for _ in range(4):
                clock.pass_time(server, 19.0)
                client.exchange()

    def test_whoever_is_not_read_need_not_answer(self, serve: Serve, clock: Clock) -> None:
        release = threading.Event()

        async def slow(ws: WebSocketConnection) -> None:
            await ws.send(await ws.receive())
            await asyncio.to_thread(release.wait, TIMEOUT)
            await echo(ws)

        server = serve(WebSocket(slow, queue_size=1), validate=False)
        with raw_websocket(server) as client:
            client.exchange()
            client.send(frame(PING) + frame(TEXT, b"spam"))
            assert client.receive() == Pong(b"")
            for _ in range(4):
                clock.pass_time(server, 20.0)
            release.set()
            assert client.receive() == TextMessage("spam")

    def test_a_websocket_without_messages_is_closed_if_that_is_wanted(
        self, serve: Serve, clock: Clock
    ) -> None:
        told = Told()
        application = WebSocket(told.run, idle_timeout=60, ping_interval=0)
        server = serve(application, validate=False)
        with open_websocket(server) as client:
            told.wait_until_begun()
            clock.pass_time(server, 59.0)
            client.send("spam")
            clock.pass_time(server, 59.0)
            assert client.ping().wait(TIMEOUT)
            clock.pass_time(server, 1.0)
            with pytest.raises(ConnectionClosedOK, match="1001"):
                client.recv(TIMEOUT)
        assert told.wait() == (1001, "no message for 60 s")


def test_fifty_websockets_hold_no_thread(serve: Serve) -> None:
    application = WebSocket(echo)

    def app(environ: Any, start_response: Any) -> Any:
        is_plain = environ["PATH_INFO"] == "/plain"
        return (hello if is_plain else application)(environ, start_response)

    server = serve(app, validate=False, threads=1)
    with ExitStack() as stack:
        clients = [stack.enter_context(open_websocket(server)) for _ in range(50)]
        for client in clients:
            client.send("spam")
        assert [client.recv(TIMEOUT) for client in clients] == ["spam"] * 50
        with connect(server.addresses[0]) as plain:
            assert plain.get("/plain").status == 200
        for client in clients:
            client.send("eggs")
        assert [client.recv(TIMEOUT) for client in clients] == ["eggs"] * 50


def test_what_is_asked_of_a_closed_websocket_raises(serve: Serve) -> None:
    raised: list[str] = []

    async def handler(ws: WebSocketConnection) -> None:
        async for _ in ws:
            pass
        for ask in (ws.receive, ws.ping, ws.receive_json, lambda: ws.send("spam")):
            with pytest.raises(ConnectionClosed) as caught:
                await ask()
            raised.append(str(caught.value))
        await ws.close()

    told = Told(handler)
    with open_websocket(serve(WebSocket(told.run), validate=False)) as client:
        client.close(4000, "bye")
    told.wait()
    assert raised == ["the WebSocket is closed with 4000: bye"] * 4
