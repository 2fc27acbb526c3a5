"""What programs do with the objects that make_server gives them."""

from __future__ import annotations

import http.server
import signal
import socket
import socketserver
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from wsgiref.validate import validator

import pytest
import werkzeug.serving

from asyncwsgi import serving
from asyncwsgi.running import ServerThread
from asyncwsgi.serving import BaseWSGIServer, ThreadedWSGIServer, make_server
from tests.client import TIMEOUT, Client, connect
from tests.requests.helpers import in_thread
from tests.server.certificates import Certificates
from tests.server.helpers import FOREVER
from tests.serving.apps import calling, hello, raising, show
from tests.serving.conftest import Running, Start

each_kind = pytest.mark.parametrize("threaded", [True, False], ids=["threaded", "one at a time"])


@each_kind
class TestBeforeServing:
    def test_it_is_bound_and_listens(self, threaded: bool) -> None:
        with make_server("127.0.0.1", 0, hello, threaded=threaded) as server:
            connect(("127.0.0.1", server.port)).close()

    def test_no_thread_is_started(self, threaded: bool) -> None:
        before = set(threading.enumerate())  # one that an earlier test has left may end any time
        with make_server("127.0.0.1", 0, hello, threaded=threaded):
            assert set(threading.enumerate()) <= before

    def test_it_is_one_of_werkzeugs_and_of_the_standard_librarys(self, threaded: bool) -> None:
        with make_server("127.0.0.1", 0, hello, threaded=threaded) as server:
            assert isinstance(server, BaseWSGIServer)
            assert isinstance(server, werkzeug.serving.BaseWSGIServer)
            assert isinstance(server, http.server.HTTPServer)
            assert isinstance(server, werkzeug.serving.ThreadedWSGIServer) is threaded

    def test_its_addresses_are_those_of_its_socket(self, threaded: bool) -> None:
        with make_server("127.0.0.1", 0, hello, threaded=threaded) as server:
            name = server.socket.getsockname()
            assert server.server_address == name
            assert (server.port, server.server_port) == (name[1], name[1])
            assert server.fileno() == server.socket.fileno()

    def test_its_flags_say_whether_it_has_threads(self, threaded: bool) -> None:
        with make_server("127.0.0.1", 0, hello, threaded=threaded) as server:
            assert (server.multithread, server.multiprocess) == (threaded, False)

    def test_closing_it_closes_the_socket(self, threaded: bool) -> None:
        server = make_server("127.0.0.1", 0, hello, threaded=threaded)
        server.server_close()
        assert server.fileno() == -1

    def test_shut_down_before_it_serves_it_serves_nothing(self, threaded: bool) -> None:
        server = make_server("127.0.0.1", 0, hello, threaded=threaded)
        server.shutdown()
        server.serve_forever()
        assert server.fileno() == -1

    def test_server_bind_is_where_a_test_learns_the_port(
        self, threaded: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Flask-Testing does this.
        ports = []
        bind = socketserver.TCPServer.server_bind

        def recording(server: socketserver.TCPServer) -> None:
            bind(server)
            ports.append(server.socket.getsockname()[1])

        monkeypatch.setattr(socketserver.TCPServer, "server_bind", recording)
        with make_server("127.0.0.1", 0, hello, threaded=threaded) as server:
            assert ports == [server.port]


@each_kind
class TestServing:
    def test_it_answers(
        self, start: Start, client_of: Callable[[Running], Client], threaded: bool
    ) -> None:
        assert client_of(start(hello, threaded=threaded)).get().body == b"hello"

    def test_shutdown_from_another_thread_ends_it(self, start: Start, threaded: bool) -> None:
        running = start(hello, threaded=threaded)
        with running.connect() as client:
            client.get()
            running.server.shutdown()
            running.thread.join()
        assert running.server.fileno() == -1
        assert running.error is None

    def test_shutdown_from_a_view_ends_it_behind_the_response(
        self, start: Start, threaded: bool
    ) -> None:
        running = start(calling(lambda: running.server.shutdown()), threaded=threaded)
        with running.connect() as client:
            assert client.get().body == b"None"
            running.thread.join()

    def test_nobody_is_accepted_once_shutdown_has_returned(
        self, start: Start, threaded: bool
    ) -> None:
        running = start(hello, threaded=threaded)
        with running.connect() as client:
            client.get()
        port = running.server.port
        running.server.shutdown()
        running.thread.join()
        with pytest.raises(ConnectionRefusedError):
            connect(("127.0.0.1", port))

    def test_server_close_ends_it_too(self, start: Start, threaded: bool) -> None:
        running = start(hello, threaded=threaded)
        with running.connect() as client:
            client.get()
            running.server.server_close()
            running.thread.join()

    def test_server_close_waits_for_a_start_that_is_under_way(
        self, start: Start, threaded: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Clients are answered before the thread that called serve_forever() goes on.
        has_started, is_closing, go_on = threading.Event(), threading.Event(), threading.Event()
        start_thread = ServerThread.start

        def held(thread: ServerThread) -> None:
            start_thread(thread)
            has_started.set()
            assert go_on.wait(TIMEOUT)

        class Asked:
            """A lock for which somebody waits."""

            def __init__(self, lock: threading.Lock) -> None:
                self.lock = lock

            def __enter__(self) -> None:
                is_closing.set()
                self.lock.acquire()

            def __exit__(self, *_: object) -> None:
                self.lock.release()

        monkeypatch.setattr(ServerThread, "start", held)
        running = start(hello, threaded=threaded)
        assert has_started.wait(TIMEOUT)
        running.server._lock = Asked(running.server._lock)  # type: ignore[attr-defined]
        closing = in_thread(running.server.server_close)
        assert is_closing.wait(TIMEOUT)
        go_on.set()
        closing.result(TIMEOUT)
        running.thread.join(TIMEOUT)
        assert not running.thread.is_alive()

    @pytest.mark.parametrize("method", ["shutdown", "server_close"])
    def test_a_signals_handler_may_end_it_while_it_starts(
        self, start: Start, threaded: bool, monkeypatch: pytest.MonkeyPatch, method: str
    ) -> None:
        # It runs in the thread that called serve_forever(), between any two instructions.
        is_known, start_thread = threading.Event(), ServerThread.start

        def interrupted(thread: ServerThread) -> None:
            start_thread(thread)
            assert is_known.wait(TIMEOUT)
            getattr(running.server, method)()

        monkeypatch.setattr(ServerThread, "start", interrupted)
        running = start(hello, threaded=threaded)
        is_known.set()
        running.thread.join(TIMEOUT)
        assert not running.thread.is_alive()

    def test_an_application_that_is_replaced_is_not_called_any_more(
        self, start: Start, client_of: Callable[[Running], Client], threaded: bool
    ) -> None:
        running = start(hello, threaded=threaded)
        client = client_of(running)
        client.get()
        running.server.app = show
        assert client_of(running).get().body.startswith(b"{")

    def test_a_unix_socket_serves(self, tmp_path: Path, start: Start, threaded: bool) -> None:
        path = tmp_path / "app.sock"
        server = make_server(f"unix://{path}", 0, show, threaded=threaded)
        running = Running(server)
        try:
            with connect(str(path)) as client:
                body = client.get().body
        finally:
            running.close()
        assert f'"SERVER_NAME": "{path}"'.encode() in body
        assert b'"REMOTE_ADDR": "<local>"' in body

    def test_a_unix_socket_may_be_called_by_its_path(self, tmp_path: Path, threaded: bool) -> None:
        # http.client, taught to connect to a path, sends it as Host.
        path = tmp_path / "app.sock"
        running = Running(make_server(f"unix://{path}", 0, show, threaded=threaded))
        try:
            with connect(str(path)) as client:
                assert f'"HTTP_HOST": "{path}"'.encode() in client.get(Host=str(path)).body
            with connect(str(path)) as client:
                assert client.get(Host="/another.sock").status == 400
        finally:
            running.close()


def test_a_request_in_flight_is_answered_after_shutdown(
    start: Start, client_of: Callable[[Running], Client]
) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def slow() -> str:
        entered.set()
        go_on.wait()
        return "late"

    running = start(calling(slow))
    client = client_of(running)
    client.request()
    entered.wait()
    running.server.shutdown()
    go_on.set()
    assert client.reply().body == b"late"


def test_a_hanging_request_does_not_keep_the_server(start: Start) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        entered.set()
        go_on.wait()

    running = start(calling(hang), graceful_timeout=0.05)
    with running.connect() as client:
        client.request()
        entered.wait()
        running.close()
        assert client.is_closed()
    go_on.set()


def test_the_loop_may_run_below_a_running_loop() -> None:
    """A notebook's cell runs in a loop, and app.run() in a cell blocks it."""
    import asyncio

    server = make_server("127.0.0.1", 0, calling(lambda: server.shutdown()), threaded=True)
    server.graceful_timeout = FOREVER  # type: ignore[attr-defined]
    answers: list[bytes] = []

    def ask() -> None:
        with connect(("127.0.0.1", server.port)) as client:
            answers.append(client.get().body)

    async def cell() -> None:
        asking = threading.Thread(target=ask)
        asking.start()
        server.serve_forever()
        asking.join()

    asyncio.run(cell())
    assert answers == [b"None"]


class TestOneRequest:
    """handle_request: one accept, one request, as of socketserver."""

    @each_kind
    def test_it_answers_one_request(self, threaded: bool) -> None:
        server = make_server("127.0.0.1", 0, validator(show), threaded=threaded)
        with server, connect(("127.0.0.1", server.port)) as client:
            client.request()
            server.handle_request()
            reply = client.reply()
            assert b'"REMOTE_ADDR": "127.0.0.1"' in reply.body
            assert reply.header("Connection") == "close"
            assert client.is_closed()

    @each_kind
    def test_another_client_is_for_the_next_call(self, threaded: bool) -> None:
        server = make_server("127.0.0.1", 0, hello, threaded=threaded)
        address = server.server_address
        with server, connect(address) as first, connect(address) as second:  # type: ignore[arg-type]
            for client in (first, second):
                client.request()
            server.handle_request()
            assert first.reply().body == b"hello"
            server.handle_request()
            assert second.reply().body == b"hello"

    @each_kind
    def test_tls_is_spoken(self, threaded: bool, certificates: Certificates) -> None:
        context = certificates.server_context()
        server = make_server("127.0.0.1", 0, hello, threaded=threaded, ssl_context=context)
        answers: list[bytes] = []

        def ask() -> None:
            tls = certificates.client_context()
            with connect(("127.0.0.1", server.port), tls) as client:
                answers.append(client.get().body)

        asking = threading.Thread(target=ask)
        with server:
            asking.start()
            server.handle_request()
            asking.join()
        assert answers == [b"hello"]

    @each_kind
    def test_a_client_that_leaves_was_a_request(self, threaded: bool) -> None:
        server = make_server("127.0.0.1", 0, hello, threaded=threaded)
        with server:
            connect(("127.0.0.1", server.port)).close()
            server.handle_request()

    def test_the_application_runs_in_the_calling_thread(self) -> None:
        server = make_server("127.0.0.1", 0, calling(threading.current_thread))
        with server, connect(("127.0.0.1", server.port)) as client:
            client.request()
            server.handle_request()
            assert client.reply().body == str(threading.current_thread()).encode()

    @pytest.mark.parametrize("error", [ValueError("oops"), KeyboardInterrupt()], ids=repr)
    def test_what_a_view_lets_out_leaves_it(self, error: BaseException) -> None:
        server = make_server("127.0.0.1", 0, raising(error), passthrough_errors=True)
        with server, connect(("127.0.0.1", server.port)) as client:
            client.request()
            with pytest.raises(type(error)):
                server.handle_request()
            assert client.is_closed()

    @each_kind
    def test_it_waits_no_longer_than_the_timeout(self, threaded: bool) -> None:
        waited = []

        class Patient(ThreadedWSGIServer if threaded else BaseWSGIServer):  # type: ignore[misc]
            timeout = 0.01

            def handle_timeout(self) -> None:
                waited.append(True)

        with Patient("127.0.0.1", 0, hello) as server:
            server.handle_request()
        assert waited == [True]

    def test_a_program_may_wait_for_one_answer(self) -> None:
        # The callback server of an OAuth client.
        seen: list[str] = []

        def callback(environ, start_response):  # type: ignore[no-untyped-def]
            seen.append(environ["QUERY_STRING"])
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"you may close this window"]

        with make_server("127.0.0.1", 0, callback) as server:
            url = f"http://127.0.0.1:{server.port}/?code=42"
            browser = threading.Thread(target=lambda: urllib.request.urlopen(url).close())
            browser.start()
            while not seen:
                server.handle_request()
            browser.join()
        assert seen == ["code=42"]


class TestOneThread:
    """threaded=False: the application runs where serve_forever was called."""

    def test_the_application_runs_in_the_calling_thread(
        self, start: Start, client_of: Callable[[Running], Client]
    ) -> None:
        running = start(calling(lambda: threading.current_thread().name), threaded=False)
        assert client_of(running).get().body == b"caller"

    def test_requests_run_one_at_a_time(self, start: Start) -> None:
        entered, go_on = threading.Event(), threading.Event()
        concurrent = []
        inside = threading.Semaphore(0)

        def view() -> str:
            concurrent.append(inside.acquire(blocking=False))
            inside.release()
            entered.set()
            go_on.wait()
            inside.acquire()
            return "done"

        running = start(calling(view), threaded=False)
        with running.connect() as first, running.connect() as second:
            first.request()
            second.request()
            entered.wait()
            go_on.set()
            assert (first.reply().body, second.reply().body) == (b"done", b"done")
        assert concurrent == [False, False]

    def test_signal_handlers_may_be_set_in_a_view(self) -> None:
        # Only the main thread may, and here it is the one that serves.
        def set_handler() -> str:
            signal.signal(signal.SIGUSR1, signal.getsignal(signal.SIGUSR1))
            server.shutdown()
            return "set"

        server = make_server("127.0.0.1", 0, calling(set_handler))
        server.graceful_timeout = FOREVER  # type: ignore[attr-defined]
        answers: list[bytes] = []

        def ask() -> None:
            with connect(("127.0.0.1", server.port)) as client:
                answers.append(client.get().body)

        asking = threading.Thread(target=ask)
        asking.start()
        server.serve_forever()
        asking.join()
        assert answers == [b"set"]

    def test_an_idle_connection_does_not_block_the_others(self, start: Start) -> None:
        # Browsers connect ahead; Werkzeug's own server then waits for their first byte.
        running = start(hello, threaded=False)
        with running.connect(), running.connect() as second:
            assert second.get().body == b"hello"


def test_a_threading_mix_in_makes_threads(start: Start) -> None:
    class Mixed(socketserver.ThreadingMixIn, BaseWSGIServer):
        pass

    running = start(calling(lambda: threading.current_thread().name), server_class=Mixed)
    with running.connect() as client:
        assert client.get().body.startswith(b"asyncwsgi-worker")


def test_a_view_finds_what_shuts_the_server_down(start: Start) -> None:
    # As in Werkzeug up to 2.0; Flask-SocketIO's stop() asks for it.
    def stop(environ, start_response):  # type: ignore[no-untyped-def]
        environ["werkzeug.server.shutdown"]()
        return hello(environ, start_response)

    running = start(stop)
    with running.connect() as client:
        assert client.get().body == b"hello"
        running.thread.join()


class TestManyProcesses:
    def test_processes_are_werkzeugs_own_forking_server(self) -> None:
        with make_server("127.0.0.1", 0, hello, processes=2) as server:
            assert type(server) is werkzeug.serving.ForkingWSGIServer

    # From 3.12 on Python warns of forks in programs with threads, such as this one.
    @pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
    def test_a_request_is_answered_by_another_process(self) -> None:
        import os

        server = make_server("127.0.0.1", 0, calling(os.getpid), processes=2)
        with server, connect(("127.0.0.1", server.port)) as client:
            client.request()
            server.handle_request()
            assert int(client.reply().body) != os.getpid()

    def test_threads_and_processes_exclude_each_other(self) -> None:
        with pytest.raises(ValueError, match="multi-thread and multi-process"):
            make_server("127.0.0.1", 0, hello, threaded=True, processes=2)


class TestBindErrors:
    def test_a_taken_port_exits_and_says_so(self, capsys: pytest.CaptureFixture[str]) -> None:
        with (
            socket.create_server(("127.0.0.1", 0)) as taken,
            pytest.raises(SystemExit) as exit_info,
        ):
            make_server("127.0.0.1", taken.getsockname()[1], hello, threaded=True)
        assert exit_info.value.code == 1
        assert "is in use by another program" in capsys.readouterr().err


def test_every_public_name_of_werkzeug_is_there() -> None:
    public = [name for name in vars(werkzeug.serving) if not name.startswith("_")]
    assert [name for name in public if not hasattr(serving, name)] == []


def test_what_is_not_ours_is_werkzeugs_own() -> None:
    ours = {"BaseWSGIServer", "ThreadedWSGIServer", "make_server", "run_simple"}
    theirs = [n for n in serving.__all__ if n not in ours and hasattr(werkzeug.serving, n)]
    assert theirs
    assert [n for n in theirs if getattr(serving, n) is not getattr(werkzeug.serving, n)] == []
