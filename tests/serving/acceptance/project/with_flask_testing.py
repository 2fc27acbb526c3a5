"""Flask-Testing: its `LiveServerTestCase` learns the port through `TCPServer.server_bind`."""

from __future__ import annotations

import urllib.request
from urllib.parse import urlsplit

from flask import Flask
from flask_testing import LiveServerTestCase
from keep_alive import get_on_one_connection


class TestLiveServer(LiveServerTestCase):  # type: ignore[misc]  # not annotated
    def create_app(self) -> Flask:
        app = Flask(__name__)
        app.config["LIVESERVER_PORT"] = 0

        @app.get("/")
        def index() -> str:
            return "served live"

        return app

    def test_the_server_answers_where_it_says_it_is(self) -> None:
        with urllib.request.urlopen(self.get_server_url(), timeout=30) as response:
            assert response.read() == b"served live"

    def test_the_server_keeps_its_connections(self) -> None:
        url = urlsplit(self.get_server_url())
        assert url.hostname is not None
        assert url.port is not None
        bodies = get_on_one_connection(url.hostname, url.port, "/", "/", "/")
        assert bodies == [b"served live"] * 3
