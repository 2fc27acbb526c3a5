"""How a WebSocket is opened, and why it is not, as a client sees it."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import flask
import pytest
from websockets.exceptions import InvalidStatus
from werkzeug.middleware.proxy_fix import ProxyFix

import asyncwsgi
from asyncwsgi import WebSocket, WebSocketConnection, websocket
from tests.apps import hello
from tests.client import TIMEOUT, connect
from tests.conftest import Serve
from tests.http.helpers import ClientOf, messages
from tests.websockets.clients import ACCEPT, UPGRADE, open_websocket, raw_websocket, read_head
from tests.websockets.handlers import Told, echo


def test_the_response_says_what_was_agreed_on(serve: Serve) -> None:
    server = serve(WebSocket(echo, subprotocols=["b", "a"]), validate=False)
    more = {
        "Sec_WebSocket_Protocol": "c, a, b",
        "Sec_WebSocket_Extensions": "spam, permessage-deflate; client_max_window_bits",
    }
    with raw_websocket(server, **more) as client:
        headers = client.reply.headers
        assert [name for name, _ in headers if name not in ("Date", "Server")] == [
            "Upgrade",
            "Sec-WebSocket-Accept",
            "Sec-WebSocket-Protocol",
            "Sec-WebSocket-Extensions",
            "Connection",
        ]
        assert client.reply.header("Upgrade") == "websocket"
        assert client.reply.header("Connection") == "Upgrade"
        assert client.reply.header("Sec-WebSocket-Accept") == ACCEPT
        assert client.reply.header("Sec-WebSocket-Protocol") == "a"
        assert client.reply.header("Sec-WebSocket-Extensions") == (
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        )


def test_without_compression_none_is_agreed_on(serve: Serve) -> None:
    server = serve(WebSocket(echo, compression=False), validate=False)
    with raw_websocket(server, Sec_WebSocket_Extensions="permessage-deflate") as client:
        assert client.reply.header("Sec-WebSocket-Extensions") is None


def test_the_handler_knows_the_subprotocol(serve: Serve) -> None:
    async def handler(ws: WebSocketConnection) -> None:
        await ws.send(f"{ws.subprotocol}")

    server = serve(WebSocket(handler, subprotocols=["a"]), validate=False)
    with open_websocket(server, subprotocols=["b", "a"]) as client:
        assert (client.recv(TIMEOUT), client.subprotocol) == ("a", "a")
    with open_websocket(server, subprotocols=["b"]) as client:
        assert (client.recv(TIMEOUT), client.subprotocol) == ("None", None)


def test_what_asks_for_no_websocket_is_told_to(serve: Serve, client_of: ClientOf) -> None:
    client = client_of(serve(WebSocket(echo), validate=False))
    reply = client.get()
    assert (reply.status, reply.header("Upgrade")) == (426, "websocket")
    assert reply.header("Connection") == "Upgrade"
    assert b"new WebSocket()" in reply.body
    assert client.get().status == 426, "the connection is kept"


def test_http_1_0_is_told_to(serve: Serve, client_of: ClientOf) -> None:
    client = client_of(serve(WebSocket(echo), validate=False))
    client.send(b"GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert client.reply().status == 426


@pytest.mark.parametrize("origin", ["http://evil.example", "null"])
def test_foreign_pages_are_refused(origin: str, serve: Serve, client_of: ClientOf) -> None:
    client = client_of(serve(WebSocket(echo), validate=False))
    reply = client.get(Origin=origin, **UPGRADE)
    assert reply.status == 403
    assert reply.body == f"WebSockets of pages of {origin} are not accepted here\n".encode()
    assert client.get(**UPGRADE, Origin=origin).status == 403, "the connection is kept"


def test_the_servers_own_pages_and_those_that_are_named_are_not(serve: Serve) -> None:
    server = serve(WebSocket(echo, origins=["https://friend.example"]), validate=False)
    for origin in ("http://test", "https://friend.example"):
        with raw_websocket(server, Origin=origin) as client:
            client.exchange()


def test_the_host_that_a_trusted_proxy_tells_is_the_one_that_counts(serve: Serve) -> None:
    server = serve(ProxyFix(WebSocket(echo), x_host=1), validate=False)
    forwarded = {"X_Forwarded_Host": "public.example", "Origin": "https://public.example"}
    with raw_websocket(server, **forwarded) as client:
        client.exchange()
    with connect(server.addresses[0]) as plain:
        forwarded["X-Forwarded-Host"] = "other.example"
        assert plain.get(**UPGRADE, **forwarded).status == 403


def test_a_request_that_is_refused_may_be_followed_by_one_that_is_not(
    serve: Serve, client_of: ClientOf
) -> None:
    client = client_of(serve(WebSocket(echo), validate=False))
    assert client.get(**{**UPGRADE, "Sec_WebSocket_Version": "8"}).status == 426
    client.request("GET", "/", None, **UPGRADE)
    assert read_head(client).status == 101


def test_a_101_without_a_websocket_is_an_error_as_ever(
    serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("101 Switching Protocols", [])
        return []

    client = client_of(serve(app, validate=False))
    assert client.get(**UPGRADE).status == 500
    assert "expected a final status such as '200 OK'" in caplog.text


def test_what_the_application_answers_in_its_place_counts(
    serve: Serve, client_of: ClientOf
) -> None:
    application = WebSocket(echo)

    def app(environ: Any, start_response: Any) -> Any:
        list(application(environ, lambda *_: print))
        return hello(environ, start_response)

    client = client_of(serve(app, validate=False))
    for _ in range(2):
        assert client.get(**UPGRADE).body == b"Hello, world!"


def test_a_server_without_it_says_what_serves_it() -> None:
    class Quiet(WSGIRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    application: Any = WebSocket(echo)
    with (
        make_server("127.0.0.1", 0, application, handler_class=Quiet) as server,
        connect(("127.0.0.1", server.server_port)) as client,
    ):
        client.request("GET", "/", None, **UPGRADE)
        server.handle_request()
        reply = client.reply()
    assert reply.status == 501
    assert b"run the program by asyncwsgi" in reply.body


class TestFlask:
    """Views that open WebSockets."""

    @pytest.fixture
    def app(self) -> flask.Flask:
        app = flask.Flask(__name__)
        app.secret_key = "secret"
        return app

    def test_a_handler_reads_the_request_the_session_and_g(
        self, app: flask.Flask, serve: Serve
    ) -> None:
        @app.before_request
        def before() -> None:
            flask.g.user = "me"

        @app.route("/chat/<room>", websocket=True)
        @websocket
        async def chat(ws: WebSocketConnection, room: str) -> None:
            async for name in ws:
                session = flask.session.get("name")
                query = flask.request.query_string.decode()
                await ws.send(f"{query} {flask.g.user} {session} {room} {name!s}")

        @app.route("/login")
        def login() -> str:
            flask.session["name"] = "Ann"
            return ""

        server = serve(app, validate=False)
        with connect(server.addresses[0]) as client:
            cookie = client.get("/login").header("Set-Cookie")
        with open_websocket(
            server, "/chat/1?a=b", additional_headers={"Cookie": str(cookie)}
        ) as ws:
            for _ in range(2):
                ws.send("Ben")
                assert ws.recv(TIMEOUT) == "a=b me Ann 1 Ben"

    def test_what_a_view_returns_may_be_one(self, app: flask.Flask, serve: Serve) -> None:
        @app.route("/<int:times>", websocket=True)
        def view(times: int) -> WebSocket:
            async def handler(ws: WebSocketConnection) -> None:
                async for message in ws:
                    await ws.send(str(message) * times)

            return WebSocket(handler)

        with open_websocket(serve(app, validate=False), "/3") as ws:
            ws.send("x")
            assert ws.recv(TIMEOUT) == "xxx"

    def test_after_request_sees_the_101_and_cookies_go_out_with_it(
        self, app: flask.Flask, serve: Serve
    ) -> None:
        seen: list[str] = []

        @app.after_request
        def after(response: flask.Response) -> flask.Response:
            seen.append(response.status)
            response.headers["X-Spam"] = "eggs"
            return response

        @app.route("/", websocket=True)
        def view() -> WebSocket:
            flask.session["a"] = 1
            return WebSocket(echo)

        with open_websocket(serve(app, validate=False)) as ws:
            headers = ws.response.headers  # type: ignore[union-attr]
            assert headers["Set-Cookie"].startswith("session=")
            assert headers["X-Spam"] == "eggs"
        assert seen == ["101 Switching Protocols"]

    def test_who_is_refused_by_the_application_gets_its_answer(
        self, app: flask.Flask, serve: Serve
    ) -> None:
        @app.before_request
        def before() -> None:
            flask.abort(401)

        @app.route("/", websocket=True)
        @websocket
        async def view(ws: WebSocketConnection) -> None:
            raise AssertionError

        server = serve(app, validate=False)
        with pytest.raises(InvalidStatus) as caught, open_websocket(server):
            pass
        assert caught.value.response.status_code == 401

    def test_blueprints_may_have_them(self, app: flask.Flask, serve: Serve) -> None:
        blueprint = flask.Blueprint("chat", __name__, url_prefix="/chat")

        @blueprint.route("/<room>", websocket=True)
        @websocket(subprotocols=["a"])
        async def chat(ws: WebSocketConnection, room: str) -> None:
            await ws.send(f"{room} {ws.subprotocol} {flask.request.blueprint}")

        app.register_blueprint(blueprint)
        with open_websocket(serve(app, validate=False), "/chat/x", subprotocols=["a"]) as ws:
            assert ws.recv(TIMEOUT) == "x a chat"

    def test_the_access_line_says_101(
        self, app: flask.Flask, serve: Serve, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "asyncwsgi.access")
        app.route("/", websocket=True)(websocket(echo))
        with raw_websocket(serve(app, validate=False, access_log=True)) as client:
            client.exchange()
            (line,) = messages(caplog.records)
            assert '"GET / HTTP/1.1" 101 ' in line


def test_a_view_keeps_its_name() -> None:
    assert websocket(echo).__name__ == "echo"


def test_the_request_of_a_handler_answers_what_others_may_ask(serve: Serve) -> None:
    told = Told()

    def app(environ: Any, start_response: Any) -> Any:
        disconnected = environ["asyncwsgi.disconnected"]

        async def handler(ws: WebSocketConnection) -> None:
            asyncwsgi.from_thread.create_task(told.run(ws))
            with pytest.raises(RuntimeError, match="await the coroutine function instead"):
                asyncwsgi.from_thread.run(told.run, ws)
            assert not disconnected()
            async for message in ws:
                await ws.send(message)
            assert disconnected()

        return WebSocket(handler)(environ, start_response)

    with raw_websocket(serve(app, validate=False)) as client:
        told.wait_until_begun()
        client.client.reset()
    assert told.wait()[0] == 1006


def test_without_wsproto_it_is_said_what_to_install() -> None:
    program = "import sys; sys.modules['wsproto'] = None; import asyncwsgi; asyncwsgi.WebSocket"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: WebSockets want wsproto, which is not installed; pip install "
        "wsproto (the extra `websockets` does)"
    )


def test_what_makes_no_sense_is_refused() -> None:
    def view(ws: WebSocketConnection) -> None: ...

    make: Any = WebSocket
    with pytest.raises(TypeError, match="wants a coroutine function"):
        make(view)
    with pytest.raises(TypeError, match="decorates coroutine functions"):
        websocket(view)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="spam"):
        make(echo, spam=1)
    with pytest.raises(TypeError, match="spam"):
        websocket(spam=1)
    with pytest.raises(ValueError, match="ping_interval of a WebSocket is -1"):
        make(echo, ping_interval=-1)
    with pytest.raises(TypeError, match="lists of str"):
        make(echo, origins="https://a.example")
    with pytest.raises(ValueError, match="is not a token"):
        make(echo, subprotocols=["a b"])
