"""pytest-flask: its `live_server` forks and calls `app.run()` in the child."""

from __future__ import annotations

import socket
import urllib.request

import pytest
from flask import Flask, url_for
from keep_alive import get_on_one_connection
from pytest_flask.live_server import LiveServer


@pytest.fixture(scope="session")
def app() -> Flask:
    app = Flask(__name__)
    app.config["SERVER_NAME"] = "localhost"  # the fixture adds the port

    @app.get("/")
    def index() -> str:
        return "served live"

    return app


@pytest.mark.usefixtures("live_server")
def test_the_url_of_a_view_leads_to_the_live_server() -> None:
    with urllib.request.urlopen(url_for("index", _external=True), timeout=30) as response:
        assert response.read() == b"served live"


def test_the_live_server_keeps_its_connections(live_server: LiveServer) -> None:
    bodies = get_on_one_connection(live_server.host, live_server.port, "/", "/", "/")
    assert bodies == [b"served live"] * 3


def test_the_live_server_stops_cleanly(app: Flask, live_server: LiveServer) -> None:
    another = LiveServer(app, live_server.host, free_port(), wait=5, clean_stop=True)
    another.start()
    # It serves: a signal before that would meet a program that is still starting.
    assert get_on_one_connection(another.host, another.port, "/") == [b"served live"]
    another.stop()
    # The clean stop sends what Ctrl+C sends, which ends a server in order.
    assert another._process.exitcode == 0


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("", 0))
        port: int = sock.getsockname()[1]
        return port
