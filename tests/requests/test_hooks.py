"""What a subclass can do by the documented hooks of connections, responders and servers."""

from __future__ import annotations

import asyncio
import dataclasses
import queue
import socket
import threading
from typing import Any

import pytest

from asyncwsgi import Server, ServerThread, from_thread
from asyncwsgi.errors import RequestRefused
from asyncwsgi.frontends.frontend import Frontend
from asyncwsgi.frontends.http import HttpConnection
from asyncwsgi.frontends.http_response import HttpResponder
from asyncwsgi.http1.head import RequestHead
from asyncwsgi.requests.exchange import Exchange
from asyncwsgi.server.listeners import Listener
from tests.apps import echo, hello, show_environ
from tests.client import TIMEOUT, Client
from tests.conftest import Serve
from tests.http.helpers import ClientOf
from tests.http.wire import PLAIN


def server_with(**classes: Any) -> type[Server]:
    return type("MyServer", (Server,), classes)


class TestResponder:
    def test_sign_gives_server_and_date(self, serve: Serve, client_of: ClientOf) -> None:
        class Mine(HttpResponder):
            def sign(self, status: str) -> tuple[str, str]:
                return f"mine/{status[:3]}", "today"

        reply = client_of(serve(hello, server_class=server_with(responder_class=Mine))).get()
        assert (reply.header("Server"), reply.header("Date")) == ("mine/200", "today")

    def test_can_keep_alive_decides_about_the_connection(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        class Mine(HttpResponder):
            def can_keep_alive(self) -> bool:
                return self.request.target != "/last" and super().can_keep_alive()

        client = client_of(serve(hello, server_class=server_with(responder_class=Mine)))
        assert client.get("/first").header("Connection") is None
        assert client.get("/last").header("Connection") == "close"
        assert client.is_closed()


class TestConnection:
    def test_make_exchange_sees_the_head_and_may_change_the_environ(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        class Mine(HttpConnection):
            def make_exchange(self, head: RequestHead, environ: dict[str, Any]) -> Exchange:
                environ["QUERY_STRING"] = f"target={head.target}"
                return super().make_exchange(head, environ)

        client = client_of(serve(show_environ, server_class=server_with(connection_class=Mine)))
        assert b'"QUERY_STRING": "target=/seen"' in client.get("/seen").body

    def test_request_arrived_may_hold_a_request_and_submit_it_later(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        held: list[tuple[HttpConnection, Exchange]] = []
        arrived = threading.Event()

        class Mine(HttpConnection):
            def request_arrived(self, exchange: Exchange) -> None:
                held.append((self, exchange))
                arrived.set()

        server = serve(echo, server_class=server_with(connection_class=Mine))
        client = client_of(server)
        client.request("POST", body=b"spam", Content_Length="4")
        assert arrived.wait(TIMEOUT)
        ((connection, exchange),) = held
        connection.dispatcher.mailbox.post(connection.submit, exchange)
        assert client.reply().body == b"spam"

    def test_request_refused_hears_of_each(self, serve: Serve, client_of: ClientOf) -> None:
        statuses: list[int] = []

        class Mine(HttpConnection):
            def request_refused(self, refused: RequestRefused) -> None:
                statuses.append(refused.status)

        client = client_of(serve(hello, server_class=server_with(connection_class=Mine)))
        client.send(b"CONNECT test:80 HTTP/1.1\r\nHost: test\r\n\r\n")
        assert client.reply().status == 501
        assert statuses == [501]

    def test_response_ended_knows_what_became_of_it(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        ended: list[tuple[str, bool, bool]] = []

        class Mine(HttpConnection):
            def response_ended(self, exchange: Exchange) -> None:
                is_kept = self.was_promised_connection(exchange)
                ended.append((exchange.target, exchange.is_complete, is_kept))
                super().response_ended(exchange)

        def application(environ: dict[str, Any], start_response: Any) -> Any:
            start_response("200 OK", [*PLAIN, ("Content-Length", "8")])
            return [b"spameggs" if environ["PATH_INFO"] == "/whole" else b"spam"]

        server = serve(application, server_class=server_with(connection_class=Mine), validate=False)
        client = client_of(server)
        assert client.get("/whole").body == b"spameggs"
        client.request(target="/short")
        client.read_all()
        server.close()
        assert ended == [("/whole", True, True), ("/short", False, False)]

    def test_write_sees_all_that_is_sent(self, serve: Serve, client_of: ClientOf) -> None:
        class Mine(HttpConnection):
            def write(self, data: bytes | memoryview) -> bool:
                return super().write(bytes(data).replace(b"world", b"moon!"))

        client = client_of(serve(hello, server_class=server_with(connection_class=Mine)))
        assert client.get().body == b"Hello, moon!!"

    def test_take_over_gives_the_bytes_to_another_protocol(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        class Shouting:
            """Says all that it hears, and louder."""

            def __init__(self, connection: HttpConnection) -> None:
                self._connection = connection

            def receive(self, data: bytes) -> None:
                self._connection.client.write(data.upper())

            def end(self) -> None:
                self._connection.close()

            def pause(self) -> None: ...

            def resume(self) -> None: ...

            def close(self) -> None: ...

        class Mine(HttpConnection):
            def request_arrived(self, exchange: Exchange) -> None:
                taker = Shouting(self)
                taker.receive(self.take_over(taker))

        client = client_of(serve(hello, server_class=server_with(connection_class=Mine)))
        client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\nspam ")
        assert client.read(5) == b"SPAM "
        client.send(b"eggs")
        assert client.read(4) == b"EGGS"
        client.sock.shutdown(socket.SHUT_WR)
        assert client.is_closed()


class TestExchange:
    def test_background_failed_hears_of_a_task_behind_its_request(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        go_on = asyncio.Event()
        told: queue.SimpleQueue[str] = queue.SimpleQueue()

        class Mine(Exchange):
            def background_failed(self, error: BaseException) -> None:
                told.put(f"{self.target}: {error}")

        async def fail() -> None:
            await go_on.wait()
            raise LookupError("of a task")

        async def let_go_on() -> None:
            go_on.set()

        def application(environ: dict[str, Any], start_response: Any) -> Any:
            if environ["PATH_INFO"] == "/task":
                from_thread.create_task(fail())
            else:
                from_thread.run(let_go_on)
            return hello(environ, start_response)

        server = serve(application, server_class=server_with(exchange_class=Mine))
        client = client_of(server)
        assert client.get("/task").status == 200
        assert client.get("/next").status == 200
        assert told.get(timeout=TIMEOUT) == "/task: of a task"


class TestServer:
    def test_make_frontend_may_change_what_connections_share(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        class Mine(Server):
            def make_frontend(self) -> Frontend:
                frontend = super().make_frontend()
                limits = dataclasses.replace(frontend.limits, max_target_size=8)
                return dataclasses.replace(frontend, limits=limits)

        client = client_of(serve(hello, server_class=Mine))
        assert client.get("/a-longer-target").status == 414

    def test_open_listeners_may_bring_sockets_of_its_own(self) -> None:
        class Mine(Server):
            def open_listeners(self) -> list[Listener]:
                return [Listener(sock, "mine")]

        with socket.create_server(("127.0.0.1", 0)) as sock:
            port = sock.getsockname()[1]
            with ServerThread(Mine(hello)) as server:
                assert server.port == port
                with Client(socket.create_connection(("127.0.0.1", port), TIMEOUT)) as client:
                    assert client.get().status == 200

    def test_adopt_serves_a_client_that_was_accepted_elsewhere(self) -> None:
        adopting = ServerThread(Server(hello, port=0))
        with socket.create_server(("127.0.0.1", 0)) as sock, adopting as server:
            connecting = socket.create_connection(sock.getsockname(), TIMEOUT)
            accepted, _ = sock.accept()
            server.server.frontend.dispatcher.mailbox.post(server.server.adopt, accepted)
            with Client(connecting) as client:
                assert client.get().status == 200


@pytest.mark.parametrize("is_started", [False, True])
def test_a_thread_of_a_server_says_how_far_it_is(is_started: bool) -> None:
    server = ServerThread(Server(hello, port=0))
    if is_started:
        with server:
            assert server.was_started
            assert server.thread.is_alive()
            assert server.started.result(TIMEOUT).is_running()
    else:
        states = (server.was_started, server.started.done(), server.thread.is_alive())
        assert states == (False, False, False)
