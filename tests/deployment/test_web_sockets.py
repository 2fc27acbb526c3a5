"""WebSockets through nginx: an upgrade, and bytes both ways from then on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import simple_websocket
from flask import Flask
from flask_sock import Sock

from tests.client import TIMEOUT
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
