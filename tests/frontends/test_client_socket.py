"""``werkzeug.socket`` out of the environ: WebSockets, raw answers, and looks at the client."""

from __future__ import annotations

import asyncio
import contextlib
import os
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

from asyncwsgi.requests.mailbox import Mailbox
from asyncwsgi.testing import LiveServer
from tests.client import TIMEOUT, Client, connect
from tests.conftest import Serve, serve_on
from tests.http.helpers import MIB, ClientOf, come_round, leavings, until
from tests.http.wire import PLAIN
from tests.loops import LOOPS
from tests.server.certificates import Certificates

RAW_ANSWER = b"HTTP/1.1 203 Raw\r\nContent-Length: 3\r\n\r\nraw"
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def hello(environ: Any, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", list(PLAIN))
    return [b"hello"]


@pytest.fixture(params=LOOPS)
def serve(request: pytest.FixtureRequest, serve: Serve) -> Serve:
    """As everywhere, on each loop: its transports pass the bytes on."""
    return serve_on(request.param, serve)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def using(use: Callable[[Any], Any]) -> Callable[..., Iterable[bytes]]:
    """An application that does something with its socket, and answers with what came of it."""

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        found = use(environ["werkzeug.socket"])
        start_response("200 OK", list(PLAIN))
        return [repr(found).encode()]

    return application


def write_to_file(sock: Any) -> None:
    with sock.makefile("wb") as file:
        file.write(RAW_ANSWER)


def statuses(caplog: pytest.LogCaptureFixture) -> list[int]:
    """Those of the access lines."""
    return [vars(r)["status"] for r in caplog.records if r.name == "asyncwsgi.access"]


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
        self, serve: Serve, app: Flask, certificates: Certificates, is_tls: bool
    ) -> None:
        context = certificates.server_context() if is_tls else None
        server = serve(app, validate=False, ssl_context=context)
        scheme = "wss" if is_tls else "ws"
        ws = simple_websocket.Client(
            f"{scheme}://localhost:{server.port}/echo",
            ssl_context=certificates.client_context() if is_tls else None,
        )
        for message in ("a", "b" * 100_000):
            ws.send(message)
            assert ws.receive(timeout=30) == message * 2
        ws.send("bye")
        with pytest.raises(simple_websocket.ConnectionClosed):
            ws.receive(timeout=30)

    def test_pings_wait_with_a_selector(
        self, serve: Serve, app: Flask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        app.config["SOCK_SERVER_OPTIONS"] = {"ping_interval": 30}
        server = serve(app, validate=False)
        ws = simple_websocket.Client(f"ws://127.0.0.1:{server.port}/echo")
        ws.send("a")
        assert ws.receive(timeout=30) == "aa"
        ws.close()

    def test_an_open_one_does_not_keep_the_server(self, serve: Serve, app: Flask) -> None:
        server = serve(app, validate=False)
        ws = simple_websocket.Client(f"ws://127.0.0.1:{server.port}/echo")
        server.close()
        with pytest.raises(simple_websocket.ConnectionClosed):
            ws.receive(timeout=TIMEOUT)


class TestBytes:
    def test_what_is_sent_takes_the_place_of_the_response(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        client = client_of(serve(using(lambda sock: sock.sendall(RAW_ANSWER)), validate=False))
        client.request()
        assert client.read_all() == RAW_ANSWER

    def test_an_application_may_end_its_use_by_a_connection_error(
        self, serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
    ) -> None:
        # engineio does so behind each WebSocket, for the sake of Werkzeug's own server.
        def application(environ: Any, _: Any) -> Iterable[bytes]:
            environ["werkzeug.socket"].sendall(RAW_ANSWER)
            raise ConnectionError

        server = serve(application, validate=False)
        client = client_of(server)
        client.request()
        assert client.read_all() == RAW_ANSWER
        server.close()
        assert "Traceback" not in caplog.text

    def test_what_the_client_had_sent_already_is_received(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        server = serve(using(lambda sock: sock.recv(5)), validate=False)
        for _ in range(50):  # the response and the end of the socket are under way together
            client = client_of(server)
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: x\r\n\r\nearly")
            reply = client.reply()
            assert (reply.body, reply.header("Connection")) == (b"b'early'", "close")
            assert client.is_closed()

    def test_what_the_client_sends_later_is_received(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        def converse(sock: Any) -> None:
            sock.sendall(b"go on")
            sock.sendall(sock.recv(4))

        client = client_of(serve(using(converse), validate=False))
        client.request()
        assert client.read(5) == b"go on"
        client.send(b"late")
        assert client.read_all() == b"late"

    def test_a_slow_client_holds_the_sender_back(self, serve: Serve) -> None:
        size = 64 * 1024 * 1024
        sent = threading.Event()

        def send(sock: Any) -> None:
            sock.sendall(bytes(size))
            sent.set()

        server = serve(using(send), validate=False)
        with connect(server.addresses[0]) as client:
            client.request()
            client.read(1)
            assert not sent.is_set()
            assert len(client.read(size - 1)) == size - 1
            assert client.is_closed()

    def test_makefile_reads_and_writes(self, serve: Serve, client_of: ClientOf) -> None:
        def answer(sock: Any) -> None:
            with sock.makefile("rb") as file:
                line = file.readline()
            sock.sendall(line)

        client = client_of(serve(using(answer), validate=False))
        client.request()
        client.send(b"a line\n")
        assert client.read_all() == b"a line\n"

    def test_a_later_request_of_a_kept_connection_may_take_it(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        # As a proxy asks, which keeps its connections for all clients.
        def application(environ: Any, start_response: Any) -> Iterable[bytes]:
            if environ["PATH_INFO"] == "/raw":
                environ["werkzeug.socket"].sendall(RAW_ANSWER)
                return []
            return hello(environ, start_response)

        client = client_of(serve(application, validate=False))
        assert client.get("/").header("Connection") is None
        client.request("GET", "/raw")
        assert client.read_all() == RAW_ANSWER

    @pytest.mark.parametrize(
        "way",
        [
            pytest.param(lambda sock: sock.send(RAW_ANSWER), id="send"),
            pytest.param(lambda sock: sock.sendmsg([RAW_ANSWER]), id="sendmsg"),
            pytest.param(lambda sock: sock.write(RAW_ANSWER), id="write"),
            pytest.param(write_to_file, id="makefile"),
        ],
    )
    def test_however_it_is_sent_no_response_follows(
        self, serve: Serve, client_of: ClientOf, way: Callable[[Any], Any]
    ) -> None:
        client = client_of(serve(using(way), validate=False))
        client.request()
        assert client.read_all() == RAW_ANSWER

    def test_what_is_sent_by_a_duplicate_takes_the_place_of_the_response(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        def answer(sock: Any) -> None:
            with sock.dup() as same:
                same.sendall(b"go on")
                same.recv(1)  # so that the loop has passed it on

        client = client_of(serve(using(answer), validate=False))
        client.request()
        assert client.read(5) == b"go on"
        client.send(b"x")
        assert client.is_closed()

    def test_a_descriptor_that_was_detached_does_not_keep_the_connection(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        detached: list[int] = []
        client = client_of(
            serve(using(lambda sock: detached.append(sock.detach())), validate=False)
        )
        assert client.get().status == 200
        assert client.is_closed()
        os.close(detached[0])

    def test_http_1_0_is_answered_with_501_by_name(
        self, serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
    ) -> None:
        # As a proxy asks which passes Upgrade on and was not told to speak HTTP/1.1. Flask makes a
        # page of its own of what is raised; it is not this that the client gets.
        caplog.set_level("INFO", "asyncwsgi.access")
        app = Flask(__name__)

        @Sock(app).route("/")  # type: ignore[untyped-decorator]
        def view(ws: Any) -> None:
            raise AssertionError("there is no WebSocket")

        server = serve(app, validate=False, access_log=True)
        client = client_of(server)
        client.send(HANDSHAKE.replace(b"HTTP/1.1", b"HTTP/1.0"))
        reply = client.reply()
        assert reply.status == 501
        assert reply.body.startswith(b"werkzeug.socket was used for a request of HTTP/1.0")
        assert client.is_closed()
        assert server.wait_for_request().status == 501
        server.close()
        assert statuses(caplog) == [501]
        assert "proxy_http_version 1.1" in caplog.text

    def test_an_error_behind_it_is_logged_and_adds_nothing(
        self, serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(sock: Any) -> None:
            sock.sendall(RAW_ANSWER)
            raise LookupError("nothing found")

        server = serve(using(fail), validate=False)
        client = client_of(server)
        client.request()
        assert client.read_all() == RAW_ANSWER
        server.close()
        assert "LookupError: nothing found" in caplog.text


class TestAccessLine:
    @pytest.mark.parametrize(
        ("use", "expected"),
        [
            pytest.param(lambda s: s.sendall(RAW_ANSWER), (203, len(RAW_ANSWER)), id="HTTP"),
            pytest.param(lambda s: (s.send(b"abc"), s.sendall(b"de")), (101, 5), id="own words"),
            pytest.param(lambda s: s.close(), (101, 0), id="nothing"),
        ],
    )
    def test_says_what_the_application_answered(
        self,
        serve: Serve,
        client_of: ClientOf,
        caplog: pytest.LogCaptureFixture,
        use: Callable[[Any], Any],
        expected: tuple[int, int],
    ) -> None:
        caplog.set_level("INFO", "asyncwsgi.access")
        server = serve(using(use), validate=False, access_log=True)
        client = client_of(server)
        client.request()
        client.read_all()
        assert server.wait_for_request().status == expected[0]
        server.close()
        (line,) = [vars(r) for r in caplog.records if r.name == "asyncwsgi.access"]
        assert (line["status"], line["size"]) == expected

    def test_is_that_of_the_response_where_bytes_were_only_read(
        self, serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO", "asyncwsgi.access")
        server = serve(using(lambda sock: sock.recv(1)), validate=False, access_log=True)
        client = client_of(server)
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nx")
        assert client.reply().status == 200
        server.close()
        assert statuses(caplog) == [200]


class TestLooks:
    def test_a_selector_tells_that_the_client_is_still_there(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        client = client_of(serve(using(lambda s: select.select([s], [], [], 0)[0]), validate=False))
        assert client.get().body == b"[]"

    def test_a_look_ahead_tells_that_the_client_has_left(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        seen: list[bytes] = []
        looked = threading.Event()

        def look(sock: Any) -> None:
            seen.append(sock.recv(1, socket.MSG_PEEK))
            looked.set()

        client = client_of(serve(using(look), validate=False))
        client.request()
        client.half_close()
        assert looked.wait(10)
        assert seen == [b""]

    def test_names_and_options_leave_the_connection_alone(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        def look(sock: Any) -> Any:
            str(sock), hash(sock), sock.settimeout(5), sock.gettimeout()
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            return sock.getpeername()[0], sock.getsockname()[0], sock.family.name

        client = client_of(serve(using(look)))
        for _ in range(2):
            assert client.get().body == b"('127.0.0.1', '127.0.0.1', 'AF_INET')"

    def test_tls_tells_of_itself(self, serve: Serve, certificates: Certificates) -> None:
        server = serve(using(lambda s: s.version()), ssl_context=certificates.server_context())
        with connect(server.addresses[0], certificates.client_context()) as client:
            assert client.get().body == b"'TLSv1.3'"

    def test_what_no_socket_has_is_not_there(self, serve: Serve, client_of: ClientOf) -> None:
        client = client_of(serve(using(lambda sock: hasattr(sock, "getpeercert"))))
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
        self, serve: Serve, client_of: ClientOf, use: Callable[[Any], Any], is_in_use: bool
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

        server = serve(app, validate=False)
        assert b"use the socket in a 'def' view" in client_of(server).get().body
        assert client_of(server).get().status == 200

    def test_a_thread_of_an_async_view_may_wait(self, serve: Serve, client_of: ClientOf) -> None:
        app = Flask(__name__)

        @app.get("/")
        async def view() -> bytes:
            sock = request.environ["werkzeug.socket"]
            received: bytes = await asyncio.to_thread(lambda: sock.recv(5))
            return received

        client = client_of(serve(app, validate=False))
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: x\r\n\r\nearly")
        assert client.reply().body == b"early"

    def test_one_that_does_not_block_is_asyncios(self, serve: Serve, client_of: ClientOf) -> None:
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

        client = client_of(serve(app, validate=False))
        client.request()
        assert client.read(5) == b"go on"
        client.send(b"late")
        assert client.read_all() == b"late"


class Conversation:
    """Says hello by its socket, and waits for what its client says."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.is_over = threading.Event()

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        sock = environ["werkzeug.socket"]
        sock.sendall(b"hello")
        with contextlib.suppress(ConnectionError):
            self.heard.append(sock.recv(1))
        self.is_over.set()
        return []


def stop(server: LiveServer) -> None:
    server.shutdown()


class TestEndsOfTheServer:
    """Whoever waits for its client in recv() wakes up, and is not waited for before."""

    @pytest.mark.parametrize(
        "end", [pytest.param(stop, id="drain"), pytest.param(LiveServer.abort, id="cut")]
    )
    @pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "TLS"])
    def test_wakes_who_waits_in_recv(
        self,
        serve: Serve,
        certificates: Certificates,
        end: Callable[[LiveServer], None],
        is_tls: bool,
    ) -> None:
        app = Conversation()
        context = certificates.server_context() if is_tls else None
        # One that waits for conversations would take this long, and fail the test.
        server = serve(app, validate=False, ssl_context=context, graceful_timeout=1000)
        tls = certificates.client_context() if is_tls else None
        with connect(server.addresses[0], tls) as client:
            client.request()
            assert client.read(5) == b"hello"
            end(server)
            assert app.is_over.wait(TIMEOUT)
            assert app.heard in ([b""], [])
            server.close()

    def test_lets_a_request_end_that_has_only_looked_at_its_socket(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        looked, go_on = threading.Event(), threading.Event()

        def look(sock: Any) -> None:
            assert select.select([sock], [], [], 0)[0] == []
            looked.set()
            assert go_on.wait(TIMEOUT)

        server = serve(using(look), validate=False)
        client = client_of(server)
        client.request()
        assert looked.wait(TIMEOUT)
        server.shutdown()
        until(server, lambda: server.server.snapshot().is_draining)
        go_on.set()
        assert client.reply().status == 200


class TestClientsThatVanish:
    @leavings
    def test_before_the_socket_is_used(
        self, serve: Serve, client_of: ClientOf, leave: Callable[[Client], None]
    ) -> None:
        entered, go_on = threading.Event(), threading.Event()
        heard: list[object] = []
        is_over = threading.Event()

        def application(environ: Any, start_response: Any) -> Iterable[bytes]:
            entered.set()
            assert go_on.wait(TIMEOUT)
            try:
                heard.append(environ["werkzeug.socket"].recv(1))
            finally:
                is_over.set()
            return hello(environ, start_response)

        server = serve(application, validate=False)
        client = client_of(server)
        client.request()
        assert entered.wait(TIMEOUT)
        leave(client)
        come_round(server)
        go_on.set()
        assert is_over.wait(TIMEOUT)
        assert heard == [b""]

    @leavings
    def test_while_the_application_waits_for_it(
        self, serve: Serve, client_of: ClientOf, leave: Callable[[Client], None]
    ) -> None:
        app = Conversation()
        server = serve(app, validate=False)
        client = client_of(server)
        client.request()
        assert client.read(5) == b"hello"
        leave(client)
        assert app.is_over.wait(TIMEOUT)
        assert app.heard == [b""]
        until(server, lambda: not server.server.snapshot().connections)
        assert server.server._registry.taken_count == 0

    @leavings
    def test_while_the_application_sends(
        self,
        serve: Serve,
        client_of: ClientOf,
        caplog: pytest.LogCaptureFixture,
        leave: Callable[[Client], None],
    ) -> None:
        def send(sock: Any) -> None:
            while True:
                sock.sendall(bytes(MIB))

        server = serve(using(send), validate=False)
        client = client_of(server)
        client.request()
        client.read(1)
        leave(client)
        until(server, lambda: not server.server.snapshot().requests)
        server.close()
        assert "Traceback" not in caplog.text  # it is no fault of the application's

    @leavings
    def test_behind_the_application(
        self, serve: Serve, client_of: ClientOf, leave: Callable[[Client], None]
    ) -> None:
        server = serve(using(lambda sock: sock.sendall(bytes(MIB))), validate=False)
        client = client_of(server)
        client.request()
        client.read(1)
        until(server, lambda: not server.server.snapshot().requests)
        leave(client)
        until(server, lambda: not server.server.snapshot().connections)


def test_a_snapshot_tells_who_has_taken_its_socket(serve: Serve, client_of: ClientOf) -> None:
    app = Conversation()
    server = serve(app, validate=False)
    client = client_of(server)
    client.request(target="/chat")
    assert client.read(5) == b"hello"
    until(server, lambda: server.server.snapshot().connections[0].state == "taken_over")
    (seen,) = server.server.snapshot().requests
    assert (seen.target, seen.has_taken_socket, seen.is_answered) == ("/chat", True, False)


def test_a_loop_that_cannot_serve_the_pair_says_so_by_its_end(
    serve: Serve, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(using(lambda sock: sock.recv(1)), validate=False, loop="asyncio")
    client = client_of(server)
    client.send(HANDSHAKE[:20])
    until(server, lambda: [c.state for c in server.server.snapshot().connections] == ["head"])

    async def fail(*_: Any) -> None:
        raise OSError("no transport today")

    monkeypatch.setattr(asyncio.BaseEventLoop, "connect_accepted_socket", fail)
    client.send(HANDSHAKE[20:])
    assert client.reply().body == b"b''"
    assert client.is_closed()


@leavings
def test_a_client_that_leaves_while_the_pair_is_made_is_heard_out(
    serve: Serve,
    client_of: ClientOf,
    monkeypatch: pytest.MonkeyPatch,
    leave: Callable[[Client], None],
) -> None:
    is_made, is_over, go_on = threading.Event(), threading.Event(), asyncio.Event()
    heard: list[bytes] = []

    def converse(sock: Any) -> None:
        heard.append(sock.recv(5))
        heard.append(sock.recv(1))
        is_over.set()

    server = serve(using(converse), validate=False, loop="asyncio")
    client = client_of(server)
    client.send(HANDSHAKE[:20])
    until(server, lambda: [c.state for c in server.server.snapshot().connections] == ["head"])
    connect_accepted_socket = asyncio.BaseEventLoop.connect_accepted_socket

    async def later(loop: Any, *args: Any) -> Any:
        is_made.set()
        await go_on.wait()
        return await connect_accepted_socket(loop, *args)

    monkeypatch.setattr(asyncio.BaseEventLoop, "connect_accepted_socket", later)
    client.send(HANDSHAKE[20:] + b"early")
    assert is_made.wait(TIMEOUT)
    leave(client)
    if leave is Client.reset:
        until(server, lambda: not server.server.snapshot().connections)
    else:
        come_round(server)
    server.started.result().call_soon_threadsafe(go_on.set)
    assert is_over.wait(TIMEOUT)
    assert heard == [b"early", b""]


class TestEnds:
    @pytest.mark.parametrize(
        "end",
        [
            pytest.param(lambda sock: sock.close(), id="close"),
            pytest.param(lambda sock: sock.shutdown(socket.SHUT_RDWR), id="shutdown"),
        ],
    )
    def test_a_view_may_play_a_dead_server(
        self, serve: Serve, client_of: ClientOf, end: Callable[[Any], None]
    ) -> None:
        client = client_of(serve(using(end), validate=False))
        client.request()
        assert client.is_closed()

    def test_a_request_body_must_be_read_first(self, serve: Serve, client_of: ClientOf) -> None:
        client = client_of(serve(using(lambda sock: sock.recv(1)), validate=False))
        client.request("POST", "/", b"", Content_Length="300000")
        client.send(bytes(290_000))
        assert client.reply().status == 500

    def test_a_socket_that_was_kept_reaches_no_later_request(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        kept: list[Any] = []

        def application(environ: Any, start_response: Any) -> Iterable[bytes]:
            if environ["PATH_INFO"] == "/later":
                with pytest.raises(OSError, match="the request is over"):
                    kept[0].recv(1)
                kept[0].close()
            kept.append(environ["werkzeug.socket"])
            return hello(environ, start_response)

        client = client_of(serve(application, validate=False))
        assert [client.get(target).body for target in ("/", "/later", "/")] == [b"hello"] * 3


def test_the_mistake_of_a_tls_client_is_not_relayed(serve: Serve) -> None:
    server = serve(using(lambda sock: None))
    with pytest.raises(ssl.SSLError):
        connect(server.addresses[0], ssl.create_default_context())


def test_a_thread_that_asks_for_it_as_its_request_ends_gets_nothing_of_the_next(
    serve: Serve, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, asked = threading.Event(), threading.Event()
    said: list[str] = []
    threads: list[threading.Thread] = []
    post, socketpair = Mailbox.post, socket.socketpair

    def tell_end(mailbox: Mailbox, call: Callable[[Any], object], argument: Any) -> None:
        post(mailbox, call, argument)
        if call.__name__ == "_end":
            ended.set()

    def wait_for_end() -> Any:
        # It has asked already whether its request is in hand, and it was.
        asked.set()
        assert ended.wait(TIMEOUT)
        return socketpair()

    def ask(sock: Any) -> None:
        try:
            sock.sendall(b"garbage")
        except OSError as error:
            said.append(str(error))

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/":
            monkeypatch.setattr(socket, "socketpair", wait_for_end)
            threads.append(threading.Thread(target=ask, args=[environ["werkzeug.socket"]]))
            threads[0].start()
            assert asked.wait(TIMEOUT)
        return hello(environ, start_response)

    monkeypatch.setattr(Mailbox, "post", tell_end)
    client = client_of(serve(application, validate=False))
    assert client.get("/").status == 200
    threads[0].join(TIMEOUT)
    assert client.get("/next").body == b"hello"
    assert len(said) == 1
    assert "the request is over" in said[0]


def test_what_a_client_does_not_read_of_a_socket_that_was_taken_is_counted_and_given_back(
    serve: Serve, client_of: ClientOf
) -> None:
    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        environ["wsgi.input"].read()
        with contextlib.suppress(ConnectionError):
            environ["werkzeug.socket"].sendall(bytes(32 * MIB))
        return []

    server = serve(app, validate=False)
    client = client_of(server)
    client.request("POST", "/", bytes(40_000))
    assert client.read(1)
    until(server, lambda: server.server.snapshot().buffered_size > 60_000)
    client.reset()
    until(server, lambda: server.server.snapshot().buffered_size == 0)
