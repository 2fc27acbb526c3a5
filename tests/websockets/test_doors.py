"""WebSockets come by every door there is."""

from __future__ import annotations

import asyncio
import signal
import ssl
from pathlib import Path
from textwrap import dedent
from typing import Any
from urllib.parse import urlsplit

import flask
import pytest
from websockets.exceptions import ConnectionClosedOK
from websockets.sync.client import connect as websockets_connect
from wsproto.events import CloseConnection, TextMessage

import asyncwsgi
from asyncwsgi import websocket
from asyncwsgi.serving import make_server
from asyncwsgi.testing import LiveServer
from tests.client import TIMEOUT, connect
from tests.doors.conftest import Start
from tests.doors.processes import address_of
from tests.loops import LOOPS
from tests.reloading.conftest import Project, has_ended
from tests.serving.conftest import Running
from tests.websockets.clients import RawWebSocket
from tests.websockets.handlers import echo

PROGRAM = dedent(
    """
    import os

    import flask

    import asyncwsgi

    app = flask.Flask(__name__)
    VERSION = "{version}"


    @app.get("/")
    def version():
        return VERSION


    @app.get("/pid")
    def pid():
        return str(os.getpid())


    @app.route("/echo", websocket=True)
    @asyncwsgi.websocket
    async def echo(ws):
        async for message in ws:
            await ws.send(message)
        open("closed", "w").write(str(ws.close_code))


    if __name__ == "__main__":
        app.run(port=0)
    """
)


STUBBORN = """
import asyncio
import asyncwsgi


async def stubborn(ws):
    await ws.send("open")
    await asyncio.Event().wait()


app = asyncwsgi.WebSocket(stubborn)
"""


@pytest.fixture
def app() -> flask.Flask:
    app = flask.Flask(__name__)
    app.route("/echo", websocket=True)(websocket(echo))
    return app


def echoes(address: tuple[str, int] | str, tls: ssl.SSLContext | None = None) -> bool:
    """Whether a client gets its message back, and an orderly end."""
    url = f"{'ws' if tls is None else 'wss'}://localhost/echo"
    with (
        connect(address) as client,
        websockets_connect(url, sock=client.sock, ssl=tls, close_timeout=TIMEOUT) as ws,
    ):
        ws.send("spam")
        return ws.recv(TIMEOUT) == "spam"


@pytest.mark.parametrize("loop", LOOPS)
def test_tls(app: flask.Flask, loop: Any) -> None:
    with LiveServer(app, tls=True, loop=loop) as server:
        assert echoes(server.addresses[0], server.authority.client_context())


@pytest.mark.parametrize("loop", LOOPS)
def test_unix_sockets(app: flask.Flask, loop: Any) -> None:
    with LiveServer(app, unix_socket=True, loop=loop) as server:
        assert echoes(server.socket_path)


def test_serve_in_thread(app: flask.Flask) -> None:
    with asyncwsgi.serve_in_thread(app, port=0) as server:
        assert echoes(server.addresses[0])


async def test_a_server_in_a_loop_of_the_program(app: flask.Flask) -> None:
    async with asyncwsgi.Server(app, port=0) as server:
        assert await asyncio.to_thread(echoes, server.addresses[0])


@pytest.mark.parametrize("threaded", [True, False])
def test_servers_of_werkzeug(app: flask.Flask, threaded: bool) -> None:
    server = make_server("127.0.0.1", 0, app, threaded=threaded)
    running = Running(server)
    try:
        assert echoes(("127.0.0.1", server.port))
    finally:
        running.close()


def test_the_command_line(start: Start, tmp_path: Path) -> None:
    (tmp_path / "web.py").write_text(PROGRAM)
    process = start("-m", "asyncwsgi", "--port", "0", "web:app")
    address = address_of(process.urls()[0])
    assert echoes(address)


def test_several_workers(start: Start, tmp_path: Path) -> None:
    (tmp_path / "web.py").write_text(PROGRAM)
    process = start("-m", "asyncwsgi", "--port", "0", "--workers", "2", "web:app")
    address = address_of(process.urls()[0])
    with websockets_connect(f"ws://127.0.0.1:{address[1]}/echo") as ws:
        ws.send("spam")
        assert ws.recv(TIMEOUT) == "spam"
        process.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosedOK, match="1001"):
            ws.recv(TIMEOUT)
    process.wait()


def test_a_second_signal_cuts(start: Start, tmp_path: Path) -> None:
    (tmp_path / "web.py").write_text(STUBBORN)
    process = start("-m", "asyncwsgi", "--port", "0", "--graceful-timeout", "1000", "web:app")
    with connect(address_of(process.urls()[0])) as client:
        websocket = RawWebSocket(client)
        assert websocket.receive() == TextMessage("open")
        process.send_signal(signal.SIGINT)
        assert websocket.receive() == CloseConnection(1001, "the server stops")
        process.send_signal(signal.SIGINT)
        assert client.read_all() == b""
        process.wait()
    assert "Traceback" not in process.log


def test_app_run_in_the_place_of_werkzeug(start: Start, tmp_path: Path) -> None:
    (tmp_path / "web.py").write_text(PROGRAM)
    process = start("-m", "asyncwsgi.serving", "web.py")
    url = urlsplit(process.read_until(" * Running on ").rpartition(" ")[2].strip())
    assert echoes(("127.0.0.1", url.port or 0))


def test_a_reload_closes_with_1001_and_waits_for_nobody(project: Project) -> None:
    project.write("web.py", PROGRAM.replace("{version}", "one"))
    project.start("--reload", "--graceful-timeout", "1000")
    project.address = address_of(project.process.urls()[0])
    pid = project.pid()
    with websockets_connect(f"ws://127.0.0.1:{project.address[1]}/echo") as ws:
        ws.send("spam")
        assert ws.recv(TIMEOUT) == "spam"
        project.write("web.py", PROGRAM.replace("{version}", "two"))
        with pytest.raises(ConnectionClosedOK, match="1001"):
            ws.recv(TIMEOUT)
    assert has_ended(pid)
    assert (project.directory / "closed").read_text() == "1001"
    assert project.answers("two")
    assert echoes(project.address)
