"""A suite that was written for pytest-flask, with what its documentation shows."""

from __future__ import annotations

from typing import Any
from urllib.request import urlopen

import flask
import pytest


@pytest.fixture(scope="session")
def app() -> flask.Flask:
    app = flask.Flask("app")
    app.config["visits"] = 0

    @app.get("/ping")
    def ping() -> dict[str, str]:
        app.config["visits"] += 1
        return {"ping": "pong"}

    return app


def test_url_for(live_server: Any) -> None:
    url = flask.url_for("ping", _external=True)
    assert url == live_server.url("/ping") == f"http://localhost:{live_server.port}/ping"
    assert urlopen(url).status == 200


def test_server_name_is_left_alone(live_server: Any, app: flask.Flask) -> None:
    assert app.config["SERVER_NAME"] is None
    assert live_server.app is app


def test_what_the_application_does_is_seen_here(live_server: Any, app: flask.Flask) -> None:
    before = app.config["visits"]
    urlopen(live_server.url() + "/ping").read()
    assert app.config["visits"] == before + 1


def test_starting_what_runs_does_nothing(live_server: Any) -> None:
    live_server.start()
    assert live_server.host == "localhost"
    assert urlopen(live_server.url("/ping")).status == 200


@pytest.mark.usefixtures("live_server")
class TestLiveServer:
    def test_server_is_up_and_running(self) -> None:
        assert urlopen(flask.url_for("ping", _external=True)).read() == b'{"ping":"pong"}\n'


def test_without_a_server_the_suite_is_as_it_was(app: flask.Flask) -> None:
    with app.test_client() as client:
        assert client.get("/ping").json == {"ping": "pong"}
