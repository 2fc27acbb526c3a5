"""How a WebSocket ends: by the client, by the handler, by the server, by nobody's will."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK
from wsproto.events import CloseConnection, TextMessage

import asyncwsgi
from asyncwsgi import ConnectionClosed, Server, ServerThread, WebSocket, WebSocketConnection
from asyncwsgi.config import Loop
from asyncwsgi.frontends.http import HttpConnection
from tests.apps import hello
from tests.client import TIMEOUT, Client, connect
from tests.conftest import Serve
from tests.http.helpers import Clock, come_round, leavings, until, watched
from tests.loops import LOOPS
from tests.websockets.clients import (
    BINARY,
    CLOSE,
    CONTINUATION,
    HEAD,
    PING,
    TEXT,
    close_frame,
    frame,
    open_websocket,
    raw_websocket,
)
from tests.websockets.handlers import Told, echo


class TestByTheClient:
    @pytest.mark.parametrize(
        ("data", "close", "answer"),
        [
            pytest.param(close_frame(1000), (1000, ""), 1000, id="normal"),
            pytest.param(close_frame(4321, "ä"), (4321, "ä"), 4321, id="with a reason"),
            pytest.param(frame(CLOSE), (1005, ""), 1005, id="without a code"),
        ],
    )
    def test_its_close_frame_is_answered_and_the_handler_told(
        self, data: bytes, close: tuple[int, str], answer: int, serve: Serve
    ) -> None:
        told = Told()
        with raw_websocket(serve(WebSocket(told.run), validate=False)) as client:
            client.send(frame(TEXT, b"spam") + data + b"garbage behind it")
            assert client.receive_close() == (answer, "")
        assert told.wait() == close
        assert told.messages == ["spam"]
        assert isinstance(told.raised, ConnectionClosed)
        assert (told.raised.code, told.raised.reason) == close

    def test_an_iteration_ends(self, serve: Serve) -> None:
        told = Told(echo)
        with open_websocket(serve(WebSocket(told.run), validate=False)) as client:
            client.close(1001)
        assert told.wait() == (1001, "")

    @leavings
    @pytest.mark.parametrize(
        "sent",
        [
            pytest.param(b"", id="opened"),
            pytest.param(frame(TEXT, b"spam")[:1], id="in a header"),
            pytest.param(frame(TEXT, b"spam")[:-1], id="in a frame"),
            pytest.param(frame(TEXT, b"spam", fin=False), id="in a message"),
            pytest.param(frame(PING, b"spam"), id="behind a ping"),
            pytest.param(close_frame(1000)[:-1], id="in a close frame"),
        ],
    )
    def test_one_that_vanishes_is_noticed_wherever_it_was(
        self, sent: bytes, leave: Any, serve: Serve
    ) -> None:
        told = Told()
        server_class, lost = watched()
        server = serve(WebSocket(told.run), validate=False, server_class=server_class)
        with raw_websocket(server) as client:
            told.wait_until_begun()
            client.send(sent)
            leave(client.client)
        code, reason = told.wait()
        assert code == 1006
        assert reason
        assert told.messages == []
        assert lost.wait(TIMEOUT)

    @leavings
    def test_one_that_vanishes_in_the_handshake_is_let_go(self, leave: Any, serve: Serve) -> None:
        told = Told()
        entered, release = threading.Event(), threading.Event()
        application = WebSocket(told.run)

        def app(environ: Any, start_response: Any) -> Any:
            entered.set()
            assert release.wait(TIMEOUT)
            return application(environ, start_response)

        server_class, lost = watched()
        server = serve(app, validate=False, server_class=server_class)
        client = connect(server.addresses[0])
        client.send(HEAD)
        assert entered.wait(TIMEOUT)
        leave(client)
        if leave is Client.reset:
            assert lost.wait(TIMEOUT)
        release.set()
        assert lost.wait(TIMEOUT)
        until(server, lambda: not server.server.snapshot().requests)
        if told.began.is_set():
            assert told.wait()[0] == 1006

    def test_a_client_that_leaves_while_it_is_sent_to_is_noticed(self, serve: Serve) -> None:
        async def eager(ws: WebSocketConnection) -> None:
            while True:
                await ws.send(bytes(64 * 1024))

        told = Told(eager)
        with raw_websocket(serve(WebSocket(told.run), validate=False)) as client:
            assert client.receive()
        assert told.wait()[0] == 1006
        assert isinstance(told.raised, ConnectionClosed)

    def test_one_that_leaves_behind_messages_that_nobody_receives_is_noticed(
        self, serve: Serve, clock: Clock
    ) -> None:
        """A loop that does not read a client does not hear of its end."""
        noticed = asyncio.Event()

        def app(environ: Any, start_response: Any) -> Any:
            async def deaf(ws: WebSocketConnection) -> None:
                environ["asyncwsgi.disconnected"].call(noticed.set)
                await ws.send("now")
                await noticed.wait()

            return WebSocket(told_of(deaf), queue_size=1)(environ, start_response)

        told = Told()

        def told_of(handler: Any) -> Any:
            told._handler = handler
            return told.run

        server = serve(app, validate=False)
        with raw_websocket(server) as client:
            assert client.receive() == TextMessage("now")
            client.send(frame(TEXT, b"spam") * 10)
            come_round(server)
        clock.pass_time(server, 1.0)
        assert told.wait()[0] == 1006
        assert told.messages == ["spam"] * 10

    def test_a_handler_may_want_to_be_cancelled(self, serve: Serve) -> None:
        async def forever(ws: WebSocketConnection) -> None:
            await asyncio.Event().wait()

        told = Told(forever)
        server = serve(WebSocket(told.run), validate=False, cancel_on_disconnect=True)
        with raw_websocket(server) as client:
            told.wait_until_begun()
            client.client.close()
        told.wait()
        assert isinstance(told.raised, asyncio.CancelledError)

    def test_a_thread_that_waits_for_it_to_leave_is_woken(self, serve: Serve) -> None:
        answers: list[bool] = []

        def app(environ: Any, start_response: Any) -> Any:
            async def handler(ws: WebSocketConnection) -> None:
                await ws.send("open")
                answers.append(
                    await asyncio.to_thread(environ["asyncwsgi.disconnected"].wait, TIMEOUT)
                )

            told._handler = handler
            return WebSocket(told.run)(environ, start_response)

        told = Told()
        with raw_websocket(serve(app, validate=False)) as client:
            assert client.receive() == TextMessage("open")
            assert answers == []
        assert told.wait()[0] == 1006
        assert answers == [True]


class TestByTheHandler:
    def test_one_that_returns_closes_with_1000(self, serve: Serve) -> None:
        async def handler(ws: WebSocketConnection) -> None:
            await ws.send("spam")

        with open_websocket(serve(WebSocket(handler), validate=False)) as client:
            assert client.recv(TIMEOUT) == "spam"
            with pytest.raises(ConnectionClosedOK, match="1000"):
                client.recv(TIMEOUT)

    def test_one_that_closes_says_how_and_waits_for_the_answer(self, serve: Serve) -> None:
        states: list[Any] = []

        async def handler(ws: WebSocketConnection) -> None:
            await ws.receive()
            await ws.close(4000, "enough")
            states.append((ws.close_code, ws.close_reason))
            with pytest.raises(ConnectionClosed, match="4000: enough"):
                await ws.receive()  # what had come is dropped

        told = Told(handler)
        with raw_websocket(serve(WebSocket(told.run), validate=False)) as client:
            client.send(frame(TEXT, b"spam") * 2)
            assert client.receive() == CloseConnection(4000, "enough")
            client.send(frame(TEXT, b"late"))
            assert states == []
            client.send(close_frame(4000))
            assert client.client.read_all() == b""
        assert told.wait() == (4000, "enough")
        assert states == [(4000, "enough")]

    def test_a_client_that_does_not_answer_is_left(self, serve: Serve, clock: Clock) -> None:
        async def handler(ws: WebSocketConnection) -> None:
            await ws.close()

        told = Told(handler)
        server = serve(WebSocket(told.run, close_timeout=5), validate=False)
        with raw_websocket(server) as client:
            assert isinstance(client.receive(), CloseConnection)
            clock.pass_time(server, 5.0)
            assert client.client.read_all() == b""
        assert told.wait() == (1000, "")

    def test_one_that_raises_closes_with_1011_and_is_logged(
        self, serve: Serve, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def handler(ws: WebSocketConnection) -> None:
            raise LookupError("a fault of the application")

        server = serve(WebSocket(handler), validate=False)
        with (
            open_websocket(server, "/chat?a=1") as client,
            pytest.raises(ConnectionClosedError, match="1011"),
        ):
            client.recv(TIMEOUT)
        (record,) = [r for r in caplog.records if r.name == "asyncwsgi.server" and r.exc_info]
        assert record.getMessage() == f"GET /chat?a=1: the WebSocket handler {__name__}." + (
            "TestByTheHandler.test_one_that_raises_closes_with_1011_and_is_logged.<locals>.handler "
            "failed"
        )
        assert "a fault of the application" in caplog.text

    @pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
    def test_no_handler_ends_the_server(self, error: type[BaseException], serve: Serve) -> None:
        async def handler(ws: WebSocketConnection) -> None:
            raise error

        server = serve(WebSocket(handler), validate=False)
        for _ in range(2):
            with raw_websocket(server) as client:
                assert client.receive() == CloseConnection(1011, "")

    def test_what_a_closed_websocket_raises_is_no_error_of_the_handler(
        self, serve: Serve, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def handler(ws: WebSocketConnection) -> None:
            while True:
                await ws.receive()

        server = serve(WebSocket(handler), validate=False)
        with open_websocket(server):
            pass
        server.close()
        assert [r for r in caplog.records if r.exc_info] == []

    @pytest.mark.parametrize(
        ("code", "reason"), [(1005, ""), (1006, ""), (999, ""), (5000, ""), (1000, "x" * 124)]
    )
    def test_what_cannot_be_sent_is_refused(self, code: int, reason: str, serve: Serve) -> None:
        async def handler(ws: WebSocketConnection) -> None:
            with pytest.raises(ValueError, match="close"):
                await ws.close(code, reason)
            await ws.send("refused")

        with open_websocket(serve(WebSocket(handler), validate=False)) as client:
            assert client.recv(TIMEOUT) == "refused"

    def test_a_live_server_of_a_test_knows_what_it_raised(self, serve: Serve) -> None:
        async def handler(ws: WebSocketConnection) -> None:
            raise LookupError("a fault of the application")

        server = serve(WebSocket(handler), validate=False)
        with raw_websocket(server) as client:
            client.receive_close(answers=True)
        with pytest.raises(LookupError, match="a fault of the application"):
            server.raise_errors()

    def test_a_plain_view_may_send_from_its_thread(self, serve: Serve) -> None:
        sockets: list[WebSocketConnection] = []

        async def handler(ws: WebSocketConnection) -> None:
            sockets.append(ws)
            await echo(ws)

        application = WebSocket(handler)

        def app(environ: Any, start_response: Any) -> Any:
            if environ["PATH_INFO"] != "/say":
                return application(environ, start_response)
            with pytest.raises(RuntimeError, match=r"from_thread\.run\(ws\.send, message\)"):
                asyncio.run(sockets[0].send("by another loop"))
            asyncwsgi.from_thread.run(sockets[0].send, "from a thread")
            return hello(environ, start_response)

        server = serve(app, validate=False)
        with raw_websocket(server) as client, connect(server.addresses[0]) as plain:
            client.exchange()
            assert plain.get("/say").status == 200
            assert client.receive() == TextMessage("from a thread")


class TestBrokenFrames:
    @pytest.mark.parametrize(
        ("data", "code"),
        [
            pytest.param(b"\x81\x00", 1002, id="not masked"),
            pytest.param(frame(0x3), 1002, id="an opcode that is none"),
            pytest.param(frame(TEXT, rsv=4), 1002, id="a bit that was not agreed on"),
            pytest.param(frame(PING, rsv=4), 1002, id="a bit of a control frame"),
            pytest.param(frame(PING, fin=False), 1002, id="a ping in fragments"),
            pytest.param(frame(PING, bytes(126)), 1002, id="a ping that is too long"),
            pytest.param(frame(CONTINUATION, b"x"), 1002, id="a continuation of nothing"),
            pytest.param(
                frame(TEXT, b"x", fin=False) + frame(TEXT, b"x"), 1002, id="no continuation"
            ),
            pytest.param(frame(CLOSE, b"x"), 1002, id="half a code"),
            pytest.param(close_frame(1005), 1002, id="a code that is never sent"),
            pytest.param(frame(TEXT, b"\xff"), 1007, id="no UTF-8"),
            pytest.param(
                frame(TEXT, b"\xc3", fin=False) + frame(CONTINUATION, b"("), 1007,
                id="no UTF-8 in fragments",
            ),
            pytest.param(b"GET / HTTP/1.1\r\n\r\n", 1002, id="HTTP"),
        ],
    )  # fmt: skip
    def test_they_close_the_websocket_and_reach_no_handler(
        self, data: bytes, code: int, serve: Serve
    ) -> None:
        told = Told()
        with raw_websocket(serve(WebSocket(told.run), validate=False)) as client:
            client.send(frame(TEXT, b"spam") + data + frame(TEXT, b"eggs"))
            assert client.receive_close()[0] == code
        assert told.wait()[0] == code
        assert told.messages == ["spam"]

    def test_a_client_that_goes_on_sending_gets_to_read_why(self, serve: Serve) -> None:
        with raw_websocket(serve(WebSocket(echo), validate=False)) as client:
            client.send(frame(TEXT, b"\xff"))
            client.send(frame(BINARY, bytes(1024)) * 1000)
            assert client.receive_close()[0] == 1007


class TestByTheServer:
    def test_a_stop_closes_with_1001_and_waits_for_the_handler(self, serve: Serve) -> None:
        async def handler(ws: WebSocketConnection) -> None:
            async for _ in ws:
                pass
            await asyncio.to_thread(release.wait, TIMEOUT)  # it tidies up

        release = threading.Event()
        told = Told(handler)
        server = serve(WebSocket(told.run), validate=False)
        with open_websocket(server) as client:
            told.wait_until_begun()
            closing = threading.Thread(target=server.close)
            closing.start()
            with pytest.raises(ConnectionClosedOK, match="1001"):
                client.recv(TIMEOUT)
        until(server, lambda: not server.server.snapshot().connections)
        assert told.raised is None
        release.set()
        closing.join()
        assert told.close == (1001, "the server stops")
        assert isinstance(told.raised, ConnectionClosed), "it was not cancelled"

    def test_what_does_not_end_is_cut_after_graceful_timeout(self, serve: Serve) -> None:
        async def stubborn(ws: WebSocketConnection) -> None:
            await asyncio.Event().wait()

        told = Told(stubborn)
        server = serve(WebSocket(told.run), validate=False, graceful_timeout=0.1)
        with raw_websocket(server) as client:
            told.wait_until_begun()
            server.close()
            assert client.receive() == CloseConnection(1001, "the server stops")
            assert client.client.read_all() == b""
        assert isinstance(told.raised, asyncio.CancelledError)

    def test_one_that_is_opened_while_the_server_stops_is_closed_at_once(
        self, serve: Serve
    ) -> None:
        told = Told()
        application = WebSocket(told.run)
        entered, release = threading.Event(), threading.Event()

        def app(environ: Any, start_response: Any) -> Any:
            entered.set()
            assert release.wait(TIMEOUT)
            return application(environ, start_response)

        server = serve(app, validate=False)
        with connect(server.addresses[0]) as client:
            client.send(HEAD)
            assert entered.wait(TIMEOUT)
            closing = threading.Thread(target=server.close)
            closing.start()
            until(server, lambda: server.server.snapshot().is_draining)
            release.set()
            received = b""
            while not received.endswith(b"\x03\xe9the server stops"):
                byte = client.read(1)
                assert byte, "the connection has ended"
                received += byte
            client.send(close_frame(1001))
            assert client.read_all() == b""
            closing.join()
        assert received.startswith(b"HTTP/1.1 101 ")
        assert b"Connection: close" not in received
        assert told.wait() == (1001, "the server stops")

    def test_a_connection_is_known_until_it_ends(self, serve: Serve) -> None:
        server = serve(WebSocket(echo), validate=False)
        with raw_websocket(server) as client:
            client.exchange()
            (connection,) = server.server.snapshot().connections
            assert (connection.state, connection.had_request) == ("upgraded", True)
            assert server.server.snapshot().requests == ()
        until(server, lambda: not server.server.snapshot().connections)


@pytest.mark.parametrize("loop", LOOPS)
def test_nothing_of_a_websocket_outlives_it(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cycle waits for the garbage collector."""
    # A record would keep the traceback, and that the handler.
    monkeypatch.setattr(logging.getLogger("asyncwsgi.server"), "disabled", True)
    remains: list[weakref.ref[Any]] = []

    class CountedConnection(HttpConnection):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            remains.append(weakref.ref(self))

    class CountingServer(Server):
        connection_class = CountedConnection

    def app(environ: Any, start_response: Any) -> Any:
        async def handler(ws: WebSocketConnection) -> None:
            if environ["PATH_INFO"] == "/fails":
                raise LookupError
            async for message in ws:
                await ws.send(message)

        application = WebSocket(handler)
        remains.extend([weakref.ref(handler), weakref.ref(application)])
        return application(environ, start_response)

    server = ServerThread(CountingServer(app, port=0, loop=loop, threads=1, access_log=False))
    server.start()
    gc.collect()
    gc.disable()
    try:
        with raw_websocket(server) as client:
            client.exchange()
        with raw_websocket(server) as client:
            client.exchange()
            client.send(close_frame(1000))
            client.receive_close()
        with raw_websocket(server, "/fails") as client:
            client.receive_close(answers=True)
        with connect(server.addresses[0]) as plain:  # the thread has let go of the last request
            assert plain.get(Connection="close").status == 426
            plain.read_all()
        until(server, lambda: all(remain() is None for remain in remains))
    finally:
        gc.enable()
        server.shutdown()
