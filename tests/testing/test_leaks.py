"""What a test leaves at its server is named, and nothing else is."""

from __future__ import annotations

import gc
import http.client
import socket
import ssl
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest
import requests
from flask import Flask
from flask_sock import Sock

from asyncwsgi import Server, WebSocket
from asyncwsgi.errors import BindError, ConfigError
from asyncwsgi.frontends.http import HttpConnection
from asyncwsgi.requests.exchange import Exchange
from asyncwsgi.requests.mailbox import Mailbox
from asyncwsgi.testing import LeakError, LeakWarning, LiveServer
from asyncwsgi.testing.leaks import check as leaks
from asyncwsgi.testing.leaks.check import Leak, left_connections
from asyncwsgi.testing.leaks.clients import peers_in_this_process
from tests.client import TIMEOUT, connect
from tests.websockets.clients import raw_websocket
from tests.websockets.handlers import echo

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

OWNER = "test_x.py::test_y"


def hello(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Length", "5"), ("Content-Type", "text/plain")])
    return [b"hello"]


def big(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Length", str(1 << 26))])
    return [bytes(1 << 20)] * 64


def leaks_of(server: LiveServer) -> str:
    """What is said when `server` closes."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", LeakWarning)
        server.close()
    return "\n".join(str(w.message) for w in caught if w.category is LeakWarning)


@pytest.fixture
def server() -> Iterator[LiveServer]:
    with LiveServer(hello, leaks="warn", owner=OWNER) as server:
        yield server


@pytest.fixture
def left() -> Iterator[ExitStack]:
    """What the tests below leave, tidied up behind them."""
    with ExitStack() as stack:
        yield stack


class TestWhatIsNamed:
    def test_an_open_websocket(self, left: ExitStack) -> None:
        app = Flask(__name__)

        @Sock(app).route("/chat")  # type: ignore[untyped-decorator]
        def chat(ws: Any) -> None:
            ws.receive()

        with LiveServer(app, leaks="warn", owner=OWNER) as server:
            client = left.enter_context(connect(server.addresses[0]))
            client.request(
                "GET", "/chat", None, Connection="Upgrade", Upgrade="websocket",
                Sec_WebSocket_Version="13", Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==",
            )  # fmt: skip
            assert client.read_line() == b"HTTP/1.1 101 Switching Protocols\r\n"
            assert leaks_of(server) == (
                f"{OWNER} left behind:\n  GET /chat is still open: the application has taken its "
                "socket; close its WebSocket before the test is over"
            )

    def test_a_connection_that_was_kept(self, server: LiveServer, left: ExitStack) -> None:
        client = left.enter_context(connect(server.addresses[0]))
        assert client.get().body == b"hello"
        server.wait_for_request()
        port = client.sock.getsockname()[1]
        assert leaks_of(server) == (
            f"{OWNER} left behind:\n  a connection from 127.0.0.1:{port} to {server.url}, kept "
            "open after its last response; close the client, session or socket before the server "
            "closes"
        )

    def test_a_connection_that_was_never_used(self, server: LiveServer, left: ExitStack) -> None:
        left.enter_context(connect(server.addresses[0]))
        urlopen(server.url).read()  # the other was accepted before this one was answered
        assert "never used" in leaks_of(server)

    @pytest.mark.parametrize(
        "part", [b"GET / HT", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf"]
    )
    def test_a_connection_in_the_middle_of_a_request(self, part: bytes, left: ExitStack) -> None:
        with LiveServer(hello, leaks="warn", graceful_timeout=0.05) as server:
            left.enter_context(connect(server.addresses[0])).send(part)
            urlopen(server.url).read()  # the part was there before this request
            server.wait_for_request()
            assert "in the middle of a request" in leaks_of(server)

    def test_a_session_that_is_not_closed(self, server: LiveServer, left: ExitStack) -> None:
        session = left.enter_context(requests.Session())
        session.get(server.url)
        server.wait_for_request()
        assert "kept open after its last response" in leaks_of(server)

    def test_a_websocket_that_is_not_closed(self, left: ExitStack) -> None:
        with LiveServer(WebSocket(echo, close_timeout=0.1), leaks="warn") as server:
            left.enter_context(raw_websocket(server)).exchange()
            assert ", a WebSocket; close the client" in leaks_of(server)

    def test_a_client_of_a_unix_socket(self, tmp_path: Path, left: ExitStack) -> None:
        path = str(tmp_path / "socket")
        with LiveServer(hello, leaks="warn", bind=f"unix:{path}") as server:
            assert left.enter_context(connect(path)).get().body == b"hello"
            server.wait_for_request()
            said = leaks_of(server)
        assert f"a connection from unix client to unix:{path}, kept open" in said

    def test_a_client_by_ipv6(self, left: ExitStack) -> None:
        with LiveServer(hello, leaks="warn", bind="[::1]:0") as server:
            client = left.enter_context(connect(server.addresses[0]))
            assert client.get().body == b"hello"
            server.wait_for_request()
            said = leaks_of(server)
        assert f"a connection from [::1]:{client.sock.getsockname()[1]} to {server.url}, " in said

    @pytest.mark.usefixtures("patience")
    def test_a_response_that_is_neither_read_nor_closed(self, left: ExitStack) -> None:
        change = threading.Condition()

        class TellingExchange(Exchange):
            def __setattr__(self, name: str, value: object) -> None:
                super().__setattr__(name, value)
                if name in ("_writable", "_awaits_output"):
                    with change:
                        change.notify_all()

        class TellingServer(Server):
            exchange_class = TellingExchange

        options = {"server_class": TellingServer, "leaks": "warn", "graceful_timeout": 0.05}
        with LiveServer(big, **options) as server:  # type: ignore[arg-type]
            look_at_hanging = server.server.before_cut
            assert look_at_hanging is not None

            def look_when_it_waits() -> None:
                (exchange,) = server.server._dispatcher.exchanges

                def waits() -> bool:
                    rooms: Any = (exchange._writable, exchange._awaits_output)  # type: ignore[attr-defined]
                    return any(room is not None and not room.is_set() for room in rooms)

                # This holds the loop: nothing is sent meanwhile, so its thread comes to wait.
                with change:
                    assert change.wait_for(waits, TIMEOUT)
                look_at_hanging()

            server.server.before_cut = look_when_it_waits
            left.enter_context(closing(urlopen(server.url_for("/big", page=2))))
            said = leaks_of(server)
        assert said.splitlines()[1:] == [
            "  GET /big?page=2 is still being answered; read or close its response before the test "
            "is over"
        ]

    def test_a_thread_of_the_test(self, server: LiveServer, left: ExitStack) -> None:
        gate = threading.Event()
        arrival = threading.Barrier(2)
        thread = threading.Thread(target=wait_for, args=(arrival, gate), name="poller")
        left.callback(thread.join)
        left.callback(gate.set)
        thread.start()
        arrival.wait(TIMEOUT)
        said = leaks_of(server)
        assert f"the thread 'poller', which runs {__name__}.wait_for and stands at" in said
        assert f"{__file__}:{wait_for.__code__.co_firstlineno + 1}; end and join it" in said
        assert said.endswith("or name it in spared_threads")

    def test_the_threads_of_a_pool_that_is_not_shut_down(
        self, server: LiveServer, left: ExitStack
    ) -> None:
        pool = left.enter_context(ThreadPoolExecutor(1, thread_name_prefix="mailer"))
        pool.submit(int).result()
        assert "the thread 'mailer_0'" in leaks_of(server)

    def test_at_most_ten_things(self, server: LiveServer, left: ExitStack) -> None:
        for _ in range(12):
            left.enter_context(connect(server.addresses[0]))
        urlopen(server.url).read()
        said = leaks_of(server).splitlines()
        assert (len(said), said[-1]) == (12, "  and 2 more")


class TestWhatIsNot:
    def test_clients_that_close_by_themselves(self, server: LiveServer) -> None:
        urlopen(server.url).read()
        urlopen(server.url)
        requests.get(server.url).close()
        gc.collect()
        assert leaks_of(server) == ""

    def test_connections_closed_the_moment_before(self) -> None:
        for _ in range(20):
            with LiveServer(hello, leaks="warn") as server:
                connection = http.client.HTTPConnection("127.0.0.1", server.port)
                connection.request("GET", "/")
                assert connection.getresponse().read() == b"hello"
                connection.close()
                assert leaks_of(server) == ""

    def test_a_connection_of_another_process(self, server: LiveServer) -> None:
        code = (
            "import socket, sys; sock = socket.create_connection(('127.0.0.1', int(sys.argv[1])));"
            "sock.sendall(b'GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'); sock.recv(1); print('here');"
            "sys.stdout.flush(); sys.stdin.read()"
        )
        command = [sys.executable, "-c", code, str(server.port)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, **pipes) as browser:  # type: ignore[call-overload]
            assert browser.stdout.readline() == b"here\n"
            server.wait_for_request()
            assert leaks_of(server) == ""
            browser.communicate(timeout=250)

    def test_a_connection_that_the_server_has_closed(self, left: ExitStack) -> None:
        with LiveServer(hello, leaks="warn") as server:
            client = left.enter_context(connect(server.addresses[0]))
            client.request(Connection="close")
            assert client.read_all().endswith(b"hello")
            assert leaks_of(server) == ""

    def test_a_connection_that_the_server_is_closing(
        self, server: LiveServer, left: ExitStack
    ) -> None:
        left.enter_context(connect(server.addresses[0])).get()
        seen: Future[list[Leak]] = Future()

        def look_before_it_is_closed(_: None) -> None:
            (connection,) = server.server._registry._connections
            assert isinstance(connection, HttpConnection)
            connection.close()
            seen.set_result(left_connections(server.server, server.server.snapshot()))

        Mailbox(server.started.result()).post(look_before_it_is_closed, None)
        assert seen.result(timeout=30) == []

    def test_a_connection_to_another_server(self, server: LiveServer, left: ExitStack) -> None:
        other = left.enter_context(LiveServer(hello))
        client = left.enter_context(connect(other.addresses[0]))
        assert client.get().body == b"hello"
        port = client.sock.getsockname()[1]
        assert peers_in_this_process(other.addresses) == [f"127.0.0.1:{port}"]
        assert peers_in_this_process(server.addresses) == []
        assert leaks_of(server) == ""

    def test_an_answered_request_whose_iterable_is_being_closed(self, left: ExitStack) -> None:
        gate = threading.Event()
        closing_began = threading.Event()

        class Body(list[bytes]):
            def close(self) -> None:
                closing_began.set()
                gate.wait()

        def closing_slowly(
            environ: dict[str, Any], start_response: StartResponse
        ) -> Iterable[bytes]:
            hello(environ, start_response)
            return Body([b"hello"])

        with LiveServer(closing_slowly, leaks="warn") as server:
            left.callback(gate.set)
            with connect(server.addresses[0]) as client:
                assert client.get().body == b"hello"
                assert closing_began.wait(TIMEOUT)
                server._leak_check.look()
                gate.set()
            assert leaks_of(server) == ""

    def test_a_request_whose_end_is_about_to_be_told(
        self, left: ExitStack, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(leaks, "MOMENT", TIMEOUT)
        gate = threading.Event()

        def writing(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
            headers = [("Content-Length", "5"), ("Content-Type", "text/plain")]
            start_response("200 OK", headers)(b"hello")
            gate.wait()
            return []

        with LiveServer(writing, leaks="warn") as server:
            left.callback(gate.set)
            dispatcher = server.server._dispatcher
            wait_until_idle = dispatcher.wait_until_idle

            async def ending() -> None:
                gate.set()
                await wait_until_idle()

            monkeypatch.setattr(dispatcher, "wait_until_idle", ending)
            with connect(server.addresses[0]) as client:
                assert client.get().body == b"hello"
                server._leak_check.look()
            assert leaks_of(server).count("is still being answered") == 0

    def test_a_request_whose_client_has_left(self, left: ExitStack) -> None:
        gate = threading.Event()
        noticed = threading.Semaphore(0)

        def hanging(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
            environ["asyncwsgi.disconnected"].wait()
            noticed.release()
            gate.wait()
            return hello(environ, start_response)

        with LiveServer(hanging, leaks="warn") as server:
            left.callback(gate.set)
            with connect(server.addresses[0]) as client:
                client.request()
            assert noticed.acquire(timeout=30)
            server._leak_check.look()
            gate.set()
            assert leaks_of(server) == ""

    def test_what_ran_before(self, left: ExitStack) -> None:
        gate = threading.Event()
        thread = threading.Thread(target=gate.wait)
        left.callback(thread.join)
        left.callback(gate.set)
        thread.start()
        with LiveServer(hello, leaks="warn") as server:
            assert leaks_of(server) == ""

    def test_threads_of_an_executor_that_serves(self, left: ExitStack) -> None:
        pool = left.enter_context(ThreadPoolExecutor(2))
        with LiveServer(hello, leaks="warn", executor=pool) as server:
            urlopen(server.url).read()
            assert leaks_of(server) == ""

    def test_threads_whose_names_are_spared(self, left: ExitStack) -> None:
        pool = left.enter_context(ThreadPoolExecutor(1, thread_name_prefix="telemetry"))
        with LiveServer(hello, leaks="warn", spared_threads=["tele"]) as server:
            pool.submit(int).result()
            assert leaks_of(server) == ""

    def test_the_threads_of_another_server(self, server: LiveServer, left: ExitStack) -> None:
        other = left.enter_context(LiveServer(hello))
        urlopen(other.url).read()
        assert leaks_of(server) == ""

    def test_a_thread_that_is_about_to_end(self, server: LiveServer) -> None:
        gate = threading.Event()

        class Ending(threading.Thread):
            def join(self, timeout: float | None = None) -> None:
                gate.set()
                super().join(10)

        Ending(target=gate.wait, daemon=True).start()
        assert leaks_of(server) == ""


class TestWhatIsDone:
    def test_nothing_unless_it_is_asked_for(self, left: ExitStack) -> None:
        with warnings.catch_warnings(), LiveServer(hello) as server:
            warnings.simplefilter("error")
            left.enter_context(connect(server.addresses[0])).get()
            server.close()

    def test_an_error_once_the_server_has_stopped(self, left: ExitStack) -> None:
        server = LiveServer(hello, leaks="error", owner=OWNER)
        server.start()
        left.enter_context(connect(server.addresses[0])).get()
        with pytest.raises(LeakError, match=f"{OWNER} left behind"):
            server.close()
        assert server.ended.done()
        server.close()

    def test_another_word_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="leaks must be one of warn, error, ignore, got 'no'"):
            LiveServer(hello, leaks="no")  # type: ignore[arg-type]

    def test_a_server_that_was_told_to_stop_is_closed_as_well(self, server: LiveServer) -> None:
        server.shutdown()
        server.ended.result()
        assert leaks_of(server) == ""

    def test_a_server_that_could_not_start_needs_no_closing(self, server: LiveServer) -> None:
        unlucky = LiveServer(hello, leaks="error", port=server.port)
        unlucky.close()
        with pytest.raises(BindError):
            unlucky.start()
        unlucky.close()

    def test_tls_connections_are_seen_as_others(
        self, left: ExitStack, authority: tuple[ssl.SSLContext, ssl.SSLContext]
    ) -> None:
        context, trusting = authority
        with LiveServer(hello, leaks="warn", ssl_context=context) as server:
            client = left.enter_context(connect(server.addresses[0], trusting))
            assert client.get().body == b"hello"
            server.wait_for_request()
            assert "kept open after its last response" in leaks_of(server)


@pytest.fixture
def authority() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    trustme = pytest.importorskip("trustme")
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    trusting = ssl.create_default_context()
    ca.configure_trust(trusting)
    return context, trusting


def wait_for(arrival: threading.Barrier, gate: threading.Event) -> None:
    _ = arrival.wait(), gate.wait()  # in one line: from its arrival on, the thread stands there


def test_a_descriptor_that_is_no_socket_and_one_without_peer_are_passed_over(
    server: LiveServer,
) -> None:
    with socket.socket() as unconnected, Path(__file__).open() as file:
        assert unconnected.fileno() > 0
        assert file.fileno() > 0
        assert leaks_of(server) == ""
