"""WebSockets through nginx: an upgrade, and bytes both ways from then on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import simple_websocket
from flask import Flask
from flask_sock import Sock
from websockets.sync import client

from asyncwsgi import WebSocketConnection, websocket
from tests.client import TIMEOUT
from tests.conftest import Serve
from tests.deployment.neighbours import nginx
from tests.serving.conftest import Start
from tests.serving.conftest import start as start


def test_flask_sock_speaks_through_nginx_below_werkzeug_s_hooks(start: Start, shared: Path) -> None:
    app = Flask(__name__)
    sock = Sock(app)

    @sock.route("/echo")  # type: ignore[untyped-decorator]
    def echo(ws: Any) -> None:
        while (message := ws.receive()) != "bye":
            ws.send(message * 2)

    running = start(app, validate=False)
    with nginx(shared, ("127.0.0.1", running.server.port)) as proxy:
        ws = simple_websocket.Client(f"ws://127.0.0.1:{proxy.port}/echo")
        for message in ("a", "b" * 100_000):
            ws.send(message)
            assert ws.receive(timeout=TIMEOUT) == message * 2
        ws.close()


def test_one_on_the_loop_speaks_through_nginx(serve: Serve, shared: Path) -> None:
    app = Flask(__name__)

    @app.route("/echo", websocket=True)
    @websocket
    async def echo(ws: WebSocketConnection) -> None:
        async for message in ws:
            await ws.send(message * 2)

    server = serve(app, validate=False)
    with (
        nginx(shared, server.addresses[0]) as proxy,
        client.connect(f"ws://127.0.0.1:{proxy.port}/echo", open_timeout=TIMEOUT) as ws,
    ):
        for message in ("a", "b" * 100_000):
            ws.send(message)
            assert ws.recv(TIMEOUT) == message * 2
