"""``werkzeug.socket`` out of the environ: WebSockets, raw answers, and looks at the client."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import simple_websocket
from flask import Flask, request
from flask_sock import Sock
from werkzeug.serving import WSGIRequestHandler

from asyncwsgi.from_thread import create_task
from asyncwsgi.requests.mailbox import Mailbox
from asyncwsgi.running import ServerThread
from tests.client import TIMEOUT, Client
from tests.http.helpers import MIB, until
from tests.server.certificates import Certificates
from tests.serving.apps import PLAIN, hello
from tests.serving.conftest import Running, Start

ClientOf = Callable[[Running], Client]
RAW_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nraw"


def using(use: Callable[[Any], Any]) -> Callable[..., Iterable[bytes]]:
    """An application that does something with its socket, and answers with what came of it."""

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        found = use(environ["werkzeug.socket"])
        start_response("200 OK", list(PLAIN))
        return [repr(found).encode()]

    return application


class TestWebSockets:
    @pytest.fixture
    def app(self) -> Flask:
        app = Flask(__name__)
        sock = Sock(app)

        @sock.route("/echo")  # type: ignore[untyped-decorator]
        def echo(ws: Any) -> None:
            while (message := ws.receive()) != "bye":
                ws.send(message * 2)

        return app

    @pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "TLS"])
    def test_flask_sock_speaks(
        self, start: Start, app: Flask, certificates: Certificates, is_tls: bool
    ) -> None:
        context = certificates.server_context() if is_tls else None
        running = start(app, validate=False, ssl_context=context)
        scheme = "wss" if is_tls else "ws"
        ws = simple_websocket.Client(
            f"{scheme}://localhost:{running.server.port}/echo",
            ssl_context=certificates.client_context() if is_tls else None,
        )
        for message in ("a", "b" * 100_000):
            ws.send(message)
            assert ws.receive(timeout=30) == message * 2
        ws.send("bye")
        with pytest.raises(simple_websocket.ConnectionClosed):
            ws.receive(timeout=30)

    def test_pings_wait_with_a_selector(
        self, start: Start, app: Flask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        app.config["SOCK_SERVER_OPTIONS"] = {"ping_interval": 30}
        running = start(app, validate=False)
        ws = simple_websocket.Client(f"ws://127.0.0.1:{running.server.port}/echo")
        ws.send("a")
        assert ws.receive(timeout=30) == "aa"
        ws.close()

    def test_an_open_one_does_not_keep_the_server(self, start: Start, app: Flask) -> None:
        running = start(app, validate=False, graceful_timeout=0.05)
        ws = simple_websocket.Client(f"ws://127.0.0.1:{running.server.port}/echo")
        running.close()
        with pytest.raises(simple_websocket.ConnectionClosed):
            ws.receive(timeout=30)


class TestBytes:
    def test_what_is_sent_takes_the_place_of_the_response(
        self, start: Start, client_of: ClientOf
    ) -> None:
        client = client_of(start(using(lambda sock: sock.sendall(RAW_ANSWER)), validate=False))
        client.request()
        assert client.read_all() == RAW_ANSWER

    def test_an_application_may_end_its_use_by_a_connection_error(
        self, start: Start, client_of: ClientOf, caplog: pytest.LogCaptureFixture
    ) -> None:
        # engineio does so behind each WebSocket, for the sake of Werkzeug's own server.
        def application(environ: Any, _: Any) -> Iterable[bytes]:
            environ["werkzeug.socket"].sendall(RAW_ANSWER)
            raise ConnectionError

        running = start(application, validate=False)
        client = client_of(running)
        client.request()
        assert client.read_all() == RAW_ANSWER
        running.close()
        assert "Traceback" not in caplog.text

    def test_what_the_client_had_sent_already_is_received(
        self, start: Start, client_of: ClientOf
    ) -> None:
        running = start(using(lambda sock: sock.recv(5)), validate=False)
        for _ in range(50):  # the response and the end of the socket are under way together
            client = client_of(running)
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: x\r\n\r\nearly")
            reply = client.reply()
            assert (reply.body, reply.header("Connection")) == (b"b'early'", "close")
            assert client.is_closed()

    def test_what_the_client_sends_later_is_received(
        self, start: Start, client_of: ClientOf
    ) -> None:
        def converse(sock: Any) -> None:
            sock.sendall(b"go on")
            sock.sendall(sock.recv(4))

        client = client_of(start(using(converse), validate=False))
        client.request()
        assert client.read(5) == b"go on"
        client.send(b"late")
        assert client.read_all() == b"late"

    def test_a_slow_client_holds_the_sender_back(self, start: Start) -> None:
        size = 64 * 1024 * 1024
        sent = threading.Event()

        def send(sock: Any) -> None:
            sock.sendall(bytes(size))
            sent.set()

        running = start(using(send), validate=False)
        with running.connect() as client:
            client.request()
            client.read(1)
            assert not sent.is_set()
            assert len(client.read(size - 1)) == size - 1
            assert client.is_closed()

    def test_makefile_reads_and_writes(self, start: Start, client_of: ClientOf) -> None:
        def answer(sock: Any) -> None:
            with sock.makefile("rb") as file:
                line = file.readline()
            sock.sendall(line)

        client = client_of(start(using(answer), validate=False))
        client.request()
        client.send(b"a line\n")
        assert client.read_all() == b"a line\n"


class TestLooks:
    def test_a_selector_tells_that_the_client_is_still_there(
        self, start: Start, client_of: ClientOf
    ) -> None:
        client = client_of(start(using(lambda s: select.select([s], [], [], 0)[0]), validate=False))
        assert client.get().body == b"[]"

    def test_a_look_ahead_tells_that_the_client_has_left(
        self, start: Start, client_of: ClientOf
    ) -> None:
        seen: list[bytes] = []
        looked = threading.Event()

        def look(sock: Any) -> None:
            seen.append(sock.recv(1, socket.MSG_PEEK))
            looked.set()

        client = client_of(start(using(look), validate=False))
        client.request()
        client.half_close()
        assert looked.wait(10)
        assert seen == [b""]

    def test_names_and_options_leave_the_connection_alone(
        self, start: Start, client_of: ClientOf
    ) -> None:
        def look(sock: Any) -> Any:
            str(sock), hash(sock), sock.settimeout(5), sock.gettimeout()
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            return sock.getpeername()[0], sock.getsockname()[0], sock.family.name

        client = client_of(start(using(look)))
        for _ in range(2):
            assert client.get().body == b"('127.0.0.1', '127.0.0.1', 'AF_INET')"

    def test_tls_tells_of_itself(self, start: Start, certificates: Certificates) -> None:
        running = start(using(lambda s: s.version()), ssl_context=certificates.server_context())
        with running.connect(tls=certificates.client_context()) as client:
            assert client.get().body == b"'TLSv1.3'"

    def test_what_no_socket_has_is_not_there(self, start: Start, client_of: ClientOf) -> None:
        client = client_of(start(using(lambda sock: hasattr(sock, "getpeercert"))))
        assert client.get().body == b"False"


class TestOnTheLoop:
    """An async view runs where the client's bytes pass: who waits for them there waits for ever."""

    @pytest.mark.parametrize(
        "use",
        [
            pytest.param(lambda sock: sock.recv(5), id="recv"),
            pytest.param(lambda sock: sock.makefile("rb"), id="makefile"),
            pytest.param(lambda sock: sock.sendall(bytes(16 * 1024 * 1024)), id="sendall"),
            pytest.param(lambda sock: select.select([sock], [], []), id="select"),
        ],
    )
    @pytest.mark.parametrize("is_in_use", [False, True], ids=["first use", "in use already"])
    def test_waiting_is_an_error(
        self, start: Start, client_of: ClientOf, use: Callable[[Any], Any], is_in_use: bool
    ) -> None:
        app = Flask(__name__)

        @app.before_request
        def before() -> None:
            if is_in_use:
                request.environ["werkzeug.socket"].fileno()

        @app.get("/")
        async def view() -> str:
            with pytest.raises(RuntimeError, match="asked for on the server's loop") as raised:
                use(request.environ["werkzeug.socket"])
            return str(raised.value)

        running = start(app, validate=False)
        assert b"use the socket in a 'def' view" in client_of(running).get().body
        assert client_of(running).get().status == 200

    def test_a_thread_of_an_async_view_may_wait(self, start: Start, client_of: ClientOf) -> None:
        app = Flask(__name__)

        @app.get("/")
        async def view() -> bytes:
            sock = request.environ["werkzeug.socket"]
            received: bytes = await asyncio.to_thread(lambda: sock.recv(5))
            return received

        client = client_of(start(app, validate=False))
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: x\r\n\r\nearly")
        assert client.reply().body == b"early"

    def test_one_that_does_not_block_is_asyncios(self, start: Start, client_of: ClientOf) -> None:
        app = Flask(__name__)

        @app.get("/")
        async def view() -> str:
            loop, sock = asyncio.get_running_loop(), request.environ["werkzeug.socket"]
            assert sock.getblocking()
            sock.setblocking(False)
            assert not sock.getblocking()
            sock.sendall(b"go on")
            with sock.dup() as same:
                sock.sendall(await loop.sock_recv(same, 4))
            return ""

        client = client_of(start(app, validate=False))
        client.request()
        assert client.read(5) == b"go on"
        client.send(b"late")
        assert client.read_all() == b"late"


class TestEnds:
    @pytest.mark.parametrize(
        "end",
        [
            pytest.param(lambda sock: sock.close(), id="close"),
            pytest.param(lambda sock: sock.shutdown(socket.SHUT_RDWR), id="shutdown"),
        ],
    )
    def test_a_view_may_play_a_dead_server(
        self, start: Start, client_of: ClientOf, end: Callable[[Any], None]
    ) -> None:
        client = client_of(start(using(end), validate=False))
        client.request()
        assert client.is_closed()

    def test_a_request_body_must_be_read_first(self, start: Start, client_of: ClientOf) -> None:
        client = client_of(start(using(lambda sock: sock.recv(1)), validate=False))
        client.request("POST", "/", b"", Content_Length="300000")
        client.send(bytes(290_000))
        assert client.reply().status == 500

    def test_a_socket_that_was_kept_reaches_no_later_request(
        self, start: Start, client_of: ClientOf
    ) -> None:
        kept: list[Any] = []
        running = start(using(kept.append))
        client = client_of(running)
        client.get()
        running.server.app = hello
        client.get()
        with pytest.raises(OSError, match="the request is over"):
            kept[0].recv(1)
        kept[0].close()
        assert client.get().body == b"hello"


def test_the_mistake_of_a_tls_client_is_not_relayed(start: Start) -> None:
    running = start(using(lambda sock: None))
    with pytest.raises(ssl.SSLError):
        running.connect(tls=ssl.create_default_context())


class FailingLines(WSGIRequestHandler):
    """One whose log fails."""

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - its name
        raise LookupError("no log today")


@pytest.mark.parametrize("threaded", [True, False], ids=["threads", "the caller's thread"])
class TestHooksThatFail:
    def test_behind_the_applications_use_of_its_socket_the_client_is_closed(
        self, start: Start, client_of: ClientOf, threaded: bool
    ) -> None:
        running = start(
            using(lambda sock: sock.sendall(RAW_ANSWER)),
            validate=False,
            threaded=threaded,
            request_handler=FailingLines,
        )
        for _ in range(2):  # and the server goes on
            client = client_of(running)
            client.request()
            assert client.read_all() == RAW_ANSWER
        running.close()
        assert running.error is None


def test_a_thread_that_asks_for_it_as_its_request_ends_gets_nothing_of_the_next(
    start: Start,
    client_of: ClientOf,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    held, ended, asked = threading.Event(), threading.Event(), threading.Event()
    said: list[str] = []
    threads: list[threading.Thread] = []
    post = Mailbox.post

    def tell_end(mailbox: Mailbox, call: Callable[[Any], object], argument: Any) -> None:
        post(mailbox, call, argument)
        if call.__name__ == "_end":
            ended.set()

    async def hold_the_loop() -> None:
        held.set()
        assert asked.wait(TIMEOUT)

    def ask(sock: Any) -> None:
        assert ended.wait(TIMEOUT)
        with contextlib.suppress(OSError):
            sock.sendall(b"garbage")
            asked.set()
            said.append(f"heard {sock.recv(1)!r}")

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/":
            create_task(hold_the_loop())
            assert held.wait(TIMEOUT)
            threads.append(threading.Thread(target=ask, args=[environ["werkzeug.socket"]]))
            threads[0].start()
        return hello(environ, start_response)

    monkeypatch.setattr(Mailbox, "post", tell_end)
    client = client_of(start(application, validate=False))
    assert client.get("/").status == 200
    threads[0].join(TIMEOUT)
    assert client.get("/next").status == 200
    assert said in ([], ["heard b''"])
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_what_a_client_does_not_read_of_a_socket_that_was_taken_is_counted_and_given_back(
    start: Start, client_of: ClientOf
) -> None:
    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        environ["wsgi.input"].read()
        with contextlib.suppress(ConnectionError):
            environ["werkzeug.socket"].sendall(bytes(32 * MIB))
        return []

    running = start(app, validate=False, threaded=True)
    client = client_of(running)
    client.request("POST", "/", bytes(40_000))
    assert client.read(1)
    thread: ServerThread = running.server._thread  # type: ignore[attr-defined]
    until(thread, lambda: thread.server.snapshot().buffered_size > 60_000)
    client.reset()
    until(thread, lambda: thread.server.snapshot().buffered_size == 0)
