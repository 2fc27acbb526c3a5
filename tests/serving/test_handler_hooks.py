"""Subclasses of WSGIRequestHandler: what they override and read, on a parser that is h11."""

from __future__ import annotations

import contextlib
import json
import logging
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from asyncwsgi.serving import BaseWSGIServer, ThreadedWSGIServer, WSGIRequestHandler
from tests.client import TIMEOUT, Client
from tests.server.certificates import Certificates
from tests.serving.apps import echo, hello, raising, show
from tests.serving.conftest import Running, Start

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

ClientOf = Callable[[Running], Client]


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, "werkzeug"):
        yield caplog


def environ_of(client: Client, target: str = "/", **headers: str) -> dict[str, str]:
    environ: dict[str, str] = json.loads(client.get(target, **headers).body)
    return environ


class TestMakeEnviron:
    def test_what_it_adds_reaches_the_application(self, start: Start, client_of: ClientOf) -> None:
        class Tagging(WSGIRequestHandler):
            def make_environ(self) -> WSGIEnvironment:
                return {**super().make_environ(), "tagged": "yes"}

        client = client_of(start(show, request_handler=Tagging))
        assert environ_of(client)["tagged"] == "yes"

    def test_it_may_wrap_the_input(self, start: Start, client_of: ClientOf) -> None:
        class Upper:
            def __init__(self, stream: Any) -> None:
                self._stream = stream

            def read(self, size: int = -1) -> bytes:
                return bytes(self._stream.read(size)).upper()

        class Wrapping(WSGIRequestHandler):
            def make_environ(self) -> WSGIEnvironment:
                environ = super().make_environ()
                environ["wsgi.input"] = Upper(environ["wsgi.input"])
                return environ

        client = client_of(start(echo, validate=False, request_handler=Wrapping))
        assert client.post(body=b"shout").body == b"SHOUT"

    def test_it_reads_what_the_request_was(self, start: Start, client_of: ClientOf) -> None:
        class Reading(WSGIRequestHandler):
            def make_environ(self) -> WSGIEnvironment:
                names = ("command", "path", "request_version", "requestline", "close_connection")
                read = {f"x.{name}": str(getattr(self, name)) for name in names}
                read["x.raw"] = self.raw_requestline.decode()
                read["x.agent"] = self.headers["user-agent"]
                read["x.peer"] = self.client_address[0]
                return {**super().make_environ(), **read}

        client = client_of(start(show, request_handler=Reading))
        client.request("POST", "//deep?a=1", b"", User_Agent="me")
        environ = json.loads(client.reply().body)
        assert {k: v for k, v in environ.items() if k.startswith("x.")} == {
            "x.command": "POST",
            "x.path": "/deep?a=1",
            "x.request_version": "HTTP/1.1",
            "x.requestline": "POST //deep?a=1 HTTP/1.1",
            "x.raw": "POST //deep?a=1 HTTP/1.1\r\n",
            "x.close_connection": "True",
            "x.agent": "me",
            "x.peer": "127.0.0.1",
        }

    def test_it_reads_the_clients_certificate(
        self, start: Start, certificates: Certificates
    ) -> None:
        class Certified(WSGIRequestHandler):
            def make_environ(self) -> WSGIEnvironment:
                certificate = self.connection.getpeercert(binary_form=True)
                return {**super().make_environ(), "x.pem": ssl.DER_cert_to_PEM_cert(certificate)}

        context = certificates.server_context()
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificates.files.authority)
        running = start(show, request_handler=Certified, ssl_context=context)
        with running.connect(tls=certificates.client_context(is_certified=True)) as client:
            environ = environ_of(client)
        assert environ["x.pem"] == environ["SSL_CLIENT_CERT"] == certificates.client_pem
        assert environ["wsgi.url_scheme"] == "https"

    def test_without_tls_there_is_no_certificate_to_ask_for(
        self, start: Start, client_of: ClientOf
    ) -> None:
        class Asking(WSGIRequestHandler):
            def make_environ(self) -> WSGIEnvironment:
                has = hasattr(self.connection, "getpeercert")
                return {**super().make_environ(), "x.has": str(has)}

        assert environ_of(client_of(start(show, request_handler=Asking)))["x.has"] == "False"

    def test_what_it_raises_is_answered_with_500(
        self, start: Start, client_of: ClientOf, log: pytest.LogCaptureFixture
    ) -> None:
        class Broken(WSGIRequestHandler):
            def make_environ(self) -> WSGIEnvironment:
                raise LookupError("no environ today")

        running = start(hello, request_handler=Broken)
        assert client_of(running).get().status == 500
        running.close()
        assert "no environ today" in log.text


class TestTheEnviron:
    """Werkzeug's own code makes it; these are its promises and ours."""

    def test_every_key_without_a_dot_is_a_str(self, start: Start, client_of: ClientOf) -> None:
        # The validator of wsgiref raises otherwise, as it does on Werkzeug's own server.
        environ = environ_of(client_of(start(show)))
        assert environ["REMOTE_PORT"].isdigit()
        assert environ["REMOTE_ADDR"] == "127.0.0.1"

    def test_repeated_headers_are_joined(self, start: Start, client_of: ClientOf) -> None:
        client = client_of(start(show))
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\nX-A: a\r\nX-A: b\r\nX_A: evil\r\n\r\n")
        assert json.loads(client.reply().body)["HTTP_X_A"] == "a,b"

    def test_the_host_of_an_absolute_target_counts(self, start: Start, client_of: ClientOf) -> None:
        environ = environ_of(client_of(start(show)), "http://other.example/path?q")
        assert (environ["HTTP_HOST"], environ["PATH_INFO"]) == ("other.example", "/path")
        assert environ["QUERY_STRING"] == "q"

    def test_an_absolute_target_without_a_path_is_the_root(
        self, start: Start, client_of: ClientOf
    ) -> None:
        assert environ_of(client_of(start(show)), "http://other.example")["PATH_INFO"] == "/"

    def test_the_asterisk_is_the_root(self, start: Start, client_of: ClientOf) -> None:
        client = client_of(start(show))
        client.request("OPTIONS", "*")
        assert json.loads(client.reply().body)["PATH_INFO"] == "/"

    def test_a_chunked_body_arrives_decoded(self, start: Start, client_of: ClientOf) -> None:
        def application(environ: Any, start_response: Any) -> list[bytes]:
            start_response("200 OK", [("Content-Type", "text/plain")])
            keys = ("HTTP_TRANSFER_ENCODING", "wsgi.input_terminated", "CONTENT_LENGTH")
            told = [str(environ.get(key)) for key in keys]
            return [environ["wsgi.input"].read(100), repr(told).encode()]

        client = client_of(start(application))
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        assert client.reply().body == b"abcde['None', 'True', '5']"

    def test_content_keys_are_absent_unless_sent(self, start: Start, client_of: ClientOf) -> None:
        environ = environ_of(client_of(start(show)))
        assert not {"CONTENT_TYPE", "CONTENT_LENGTH", "wsgi.input_terminated"} & environ.keys()


class TestLogLines:
    def test_a_request_is_logged_as_werkzeug_does(
        self, start: Start, client_of: ClientOf, log: pytest.LogCaptureFixture
    ) -> None:
        client_of(start(hello)).get("/caf%C3%A9?x=1")
        (line,) = [r.getMessage() for r in log.records if "caf" in r.getMessage()]
        assert line.startswith("127.0.0.1 - - [")
        assert line.endswith('] "GET /café?x=1 HTTP/1.1" 200 -')

    def test_log_request_is_called_with_the_status(self, start: Start, client_of: ClientOf) -> None:
        calls: list[tuple[Any, Any]] = []

        class Quiet(WSGIRequestHandler):
            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                calls.append((code, size))

        client_of(start(hello, request_handler=Quiet)).get()
        assert calls == [(200, "-")]

    def test_log_gets_the_finished_line(
        self, start: Start, client_of: ClientOf, log: pytest.LogCaptureFixture
    ) -> None:
        lines = []

        class Own(WSGIRequestHandler):
            def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - its name
                lines.append((type, message % args))

        client_of(start(hello, request_handler=Own)).get()
        assert lines == [("info", '"GET / HTTP/1.1" 200 -')]
        assert "GET /" not in log.text

    def test_address_string_is_asked_at_the_request(
        self, start: Start, client_of: ClientOf, log: pytest.LogCaptureFixture
    ) -> None:
        class Scoped(WSGIRequestHandler):
            def address_string(self) -> str:
                return "fe80::1%eth0"  # a scope must not be taken for a format

            def port_integer(self) -> int:
                return 7

        environ = environ_of(client_of(start(show, request_handler=Scoped)))
        assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("fe80::1%eth0", "7")
        assert "fe80::1%eth0 - - [" in log.text

    def test_a_class_that_is_patched_later_is_heard(
        self, start: Start, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        running = start(hello)
        calls: list[Any] = []
        monkeypatch.setattr(
            WSGIRequestHandler, "log_request", lambda self, code="-", size="-": calls.append(code)
        )
        client_of(running).get()
        assert calls == [200]

    def test_a_refused_request_is_one_line(
        self, start: Start, client_of: ClientOf, log: pytest.LogCaptureFixture
    ) -> None:
        client = client_of(start(hello))
        client.send(b"GET / HTTP/9.9\r\nHost: x\r\n\r\n")
        assert client.reply().status == 505
        (record,) = [r for r in log.records if "code" in r.getMessage()]
        assert (record.name, record.levelname) == ("werkzeug", "ERROR")
        assert "code 505, message HTTP/9.9 is not served" in record.getMessage()

    def test_a_tls_handshake_on_a_plain_port_leaves_no_traceback(
        self, start: Start, log: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
    ) -> None:
        running = start(hello)
        context = ssl.create_default_context()
        with pytest.raises(ssl.SSLError):
            running.connect(tls=context)
        running.close()
        assert "code 400, message TLS handshake on a plain HTTP listener" in log.text
        assert "Traceback" not in log.text + capfd.readouterr().err


class TestTheResponsesHead:
    def test_server_and_date_come_from_the_handler(self, start: Start, client_of: ClientOf) -> None:
        class Named(WSGIRequestHandler):
            server_version = "mine/1"
            sys_version = "there"

            def date_time_string(self, timestamp: float | None = None) -> str:
                return "Sun, 06 Nov 1994 08:49:37 GMT"

        reply = client_of(start(hello, request_handler=Named)).get()
        assert reply.header("Server") == "mine/1 there"
        assert reply.header("Date") == "Sun, 06 Nov 1994 08:49:37 GMT"

    def test_version_string_may_hide_the_server(self, start: Start, client_of: ClientOf) -> None:
        class Hidden(WSGIRequestHandler):
            def version_string(self) -> str:
                return ""

        assert client_of(start(hello, request_handler=Hidden)).get().header("Server") is None

    def test_http_1_0_closes_behind_each_response(self, start: Start, client_of: ClientOf) -> None:
        class Old(WSGIRequestHandler):
            protocol_version = "HTTP/1.0"

        def stream(environ: Any, start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", [("Content-Type", "text/plain")])
            yield from (b"a", b"b")

        client = client_of(start(stream, request_handler=Old))
        reply = client.get()
        assert (reply.header("Connection"), reply.header("Transfer-Encoding")) == ("close", None)
        assert reply.body == b"ab"
        assert client.is_closed()

    @pytest.mark.parametrize("threaded", [True, False])
    def test_http_1_1_keeps_the_connection(
        self, start: Start, client_of: ClientOf, threaded: bool
    ) -> None:
        class New(WSGIRequestHandler):
            protocol_version = "HTTP/1.1"

        client = client_of(start(hello, request_handler=New, threaded=threaded))
        assert [client.get().body, client.get().body] == [b"hello", b"hello"]


@pytest.mark.parametrize("threaded", [True, False])
class TestSetupAndFinish:
    """Around each request, in the thread that runs it; their own super() touches no socket."""

    @pytest.fixture(autouse=True)
    def _http_1_1(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # Without threads Werkzeug's handler speaks HTTP/1.0, and its connections are not kept.
        monkeypatch.setattr(WSGIRequestHandler, "protocol_version", "HTTP/1.1")

    def test_they_are_called_around_the_request(
        self, start: Start, client_of: ClientOf, threaded: bool
    ) -> None:
        calls = []

        class Noting(WSGIRequestHandler):
            def setup(self) -> None:
                super().setup()
                calls.append(f"setup for {self.client_address[0]}")
                threading.current_thread().name = "of this request"

            def finish(self) -> None:
                super().finish()
                calls.append(f"finish of {self.path} in {threading.current_thread().name}")

        def application(environ: Any, start_response: Any) -> list[bytes]:
            calls.append(f"call in {threading.current_thread().name}")
            return echo(environ, start_response)  # type: ignore[return-value]

        running = start(application, request_handler=Noting, threaded=threaded)
        client = client_of(running)
        assert [client.post("/a", body=b"1").body, client.post("/b", body=b"2").body] == [
            b"1",
            b"2",
        ]
        running.close()
        around = ["setup for 127.0.0.1", "call in of this request"]
        assert calls == [
            *around, "finish of /a in of this request", *around, "finish of /b in of this request"
        ]  # fmt: skip

    def test_finish_is_called_when_the_application_fails(
        self, start: Start, client_of: ClientOf, threaded: bool
    ) -> None:
        finished = []

        class Noting(WSGIRequestHandler):
            def finish(self) -> None:
                finished.append(self.path)

        running = start(raising(LookupError()), request_handler=Noting, threaded=threaded)
        assert client_of(running).get("/failed").status == 500
        running.close()
        assert finished == ["/failed"]

    def test_what_setup_raises_is_answered_with_500(
        self,
        start: Start,
        client_of: ClientOf,
        threaded: bool,
        log: pytest.LogCaptureFixture,
    ) -> None:
        class Broken(WSGIRequestHandler):
            def setup(self) -> None:
                raise LookupError("no set-up today")

        running = start(hello, request_handler=Broken, threaded=threaded)
        assert client_of(running).get().status == 500
        running.close()
        assert "no set-up today" in log.text

    def test_a_socket_that_setup_gets_at_in_a_roundabout_way_is_told_to_be_the_loops(
        self, start: Start, client_of: ClientOf, threaded: bool, log: pytest.LogCaptureFixture
    ) -> None:
        class Hidden(WSGIRequestHandler):
            def setup(self) -> None:
                vars(self)["request"].recv(1)

        running = start(hello, request_handler=Hidden, threaded=threaded)
        assert client_of(running).get().status == 500
        running.close()
        assert "setup() has asked for 'recv' of the client's socket" in log.text

    def test_what_finish_raises_is_the_servers_to_handle(
        self, start: Start, client_of: ClientOf, threaded: bool
    ) -> None:
        handled = []

        class Broken(WSGIRequestHandler):
            def finish(self) -> None:
                raise LookupError("no end today")

        class Handling(ThreadedWSGIServer if threaded else BaseWSGIServer):  # type: ignore[misc]
            def handle_error(self, request: Any, client_address: Any) -> None:
                handled.append((str(sys.exc_info()[1]), client_address[0]))

        running = start(hello, server_class=Handling, handler=Broken)
        client = client_of(running)
        assert [client.get().status, client.get().status] == [200, 200]
        running.close()
        assert handled == [("no end today", "127.0.0.1")] * 2

    def test_finish_waits_for_no_thread_that_still_reads(
        self, start: Start, client_of: ClientOf, threaded: bool
    ) -> None:
        is_read, has_finished = threading.Event(), threading.Event()

        class Noting(WSGIRequestHandler):
            def finish(self) -> None:
                super().finish()
                has_finished.set()

        def application(environ: Any, start_response: Any) -> list[bytes]:
            def read() -> None:
                with contextlib.suppress(OSError):
                    environ["wsgi.input"].read(1)

            threading.Thread(target=read).start()
            is_read.wait()
            return hello(environ, start_response)  # type: ignore[return-value]

        running = start(application, validate=False, request_handler=Noting, threaded=threaded)
        client = client_of(running)
        client.send(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n"
        )
        assert client.read(12) == b"HTTP/1.1 100"  # the thread waits for the body
        is_read.set()
        assert has_finished.wait(TIMEOUT)

    def test_a_timeout_of_setup_is_its_clients(
        self, start: Start, client_of: ClientOf, threaded: bool
    ) -> None:
        class Impatient(WSGIRequestHandler):
            def setup(self) -> None:
                self.timeout = 0.05  # type: ignore[misc]
                super().setup()

        client = client_of(start(hello, request_handler=Impatient, threaded=threaded))
        assert client.get().header("Connection") is None
        assert client.is_closed()


class TestConnectionDropped:
    def test_it_hears_of_a_client_that_left(self, start: Start) -> None:
        heard = threading.Event()
        errors = []

        class Listening(WSGIRequestHandler):
            def connection_dropped(
                self, error: BaseException, environ: WSGIEnvironment | None = None
            ) -> None:
                errors.append((error, (environ or {}).get("PATH_INFO")))
                heard.set()

        def endless(environ: Any, start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", [("Content-Type", "text/plain")])
            while True:
                yield b"x" * 65536

        running = start(endless, request_handler=Listening)
        with running.connect() as client:
            client.request("GET", "/stream")
            client.read(10)
            client.reset()
        assert heard.wait(10)
        ((error, path),) = errors
        assert isinstance(error, ConnectionError)
        assert path == "/stream"

    def test_an_applications_own_connection_error_is_no_disconnect(
        self, start: Start, client_of: ClientOf, log: pytest.LogCaptureFixture
    ) -> None:
        # Werkzeug answers nothing and logs nothing here.
        def application(environ: Any, start_response: Any) -> list[bytes]:
            raise ConnectionResetError("the database has gone")

        running = start(application)
        assert client_of(running).get().status == 500
        running.close()
        assert "the database has gone" in log.text


def test_a_handlers_timeout_bounds_the_wait_for_its_client(
    start: Start, client_of: ClientOf
) -> None:
    class Impatient(WSGIRequestHandler):
        timeout = 0.05

    client = client_of(start(hello, request_handler=Impatient))
    assert client.is_closed()  # not behind a request, which may come too late


def test_a_log_that_fails_at_one_deadline_ends_no_other(
    start: Start, client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(WSGIRequestHandler):
        timeout = 0.05

        def log_error(self, format: str, *args: Any) -> None:  # noqa: A002 - its name
            raise LookupError("no log today")

    running = start(hello, request_handler=Failing)
    clients = [client_of(running) for _ in range(3)]
    for client in clients:
        client.send(b"GET / HTTP/1.1\r\n")
    assert [client.reply().status for client in clients] == [408] * 3
    running.close()
    assert "a connection's deadline failed" in caplog.text
