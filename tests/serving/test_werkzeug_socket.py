"""``werkzeug.socket`` below Werkzeug's hooks: what its handlers are told, and what they raise.

The socket itself is the HTTP frontend's (see `tests/frontends/test_client_socket.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import simple_websocket
from flask import Flask
from flask_sock import Sock
from werkzeug.serving import WSGIRequestHandler

from tests.client import Client
from tests.serving.apps import PLAIN
from tests.serving.conftest import Running, Start

ClientOf = Callable[[Running], Client]
RAW_ANSWER = b"HTTP/1.1 203 Raw\r\nContent-Length: 3\r\n\r\nraw"


def using(use: Callable[[Any], Any]) -> Callable[..., Iterable[bytes]]:
    """An application that does something with its socket, and answers with what came of it."""

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        found = use(environ["werkzeug.socket"])
        start_response("200 OK", list(PLAIN))
        return [repr(found).encode()]

    return application


def test_flask_sock_speaks(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "werkzeug")
    app = Flask(__name__)

    @Sock(app).route("/echo")  # type: ignore[untyped-decorator]
    def echo(ws: Any) -> None:
        ws.send(ws.receive())

    running = start(app, validate=False)
    ws = simple_websocket.Client(f"ws://127.0.0.1:{running.server.port}/echo")
    ws.send("hello")
    assert ws.receive(timeout=30) == "hello"
    with pytest.raises(simple_websocket.ConnectionClosed):
        ws.receive(timeout=30)
    running.close()
    lines = [r.getMessage() for r in caplog.records if "/echo" in r.getMessage()]
    assert [line.rpartition('"')[2] for line in lines] == [" 101 -"]


def test_the_log_line_has_the_status_that_the_application_gave_itself(
    start: Start, client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "werkzeug")
    running = start(using(lambda sock: sock.sendall(RAW_ANSWER)), validate=False)
    client = client_of(running)
    client.request()
    assert client.read_all() == RAW_ANSWER
    running.close()
    assert '"GET / HTTP/1.1" 203 -' in caplog.text


def test_an_application_may_end_its_use_by_a_connection_error(
    start: Start, client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    # engineio does so behind each WebSocket, for the sake of Werkzeug's own server.
    dropped: list[BaseException] = []

    class Handler(WSGIRequestHandler):
        def connection_dropped(self, error: BaseException, environ: Any = None) -> None:
            dropped.append(error)

    def application(environ: Any, _: Any) -> Iterable[bytes]:
        environ["werkzeug.socket"].sendall(RAW_ANSWER)
        raise ConnectionError

    running = start(application, validate=False, request_handler=Handler)
    client = client_of(running)
    client.request()
    assert client.read_all() == RAW_ANSWER
    running.close()
    assert [type(error) for error in dropped] == [ConnectionError]
    assert "Traceback" not in caplog.text


def test_what_no_socket_has_is_not_there(start: Start, client_of: ClientOf) -> None:
    # By this Werkzeug tells a client that speaks TLS.
    client = client_of(start(using(lambda sock: hasattr(sock, "getpeercert"))))
    assert client.get().body == b"False"


def test_http_1_0_is_logged_once(
    start: Start, client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "werkzeug")
    running = start(using(lambda sock: sock.recv(1)), validate=False)
    client = client_of(running)
    client.send(b"GET / HTTP/1.0\r\n\r\n")
    assert client.reply().status == 501
    running.close()
    assert caplog.text.count('"GET / HTTP/1.0" 501 -') == 1


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
