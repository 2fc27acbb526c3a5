"""A Flask application, tested through real requests.

Shows what a test sees of its server: URLs, the requests that arrived, what the application raised;
that test and views share one process, so that a test can change what a view finds; and how a server
misbehaves on demand, to see what a client does then.

    python -m pytest examples/testing/test_flask.py
"""

from __future__ import annotations

import json

import flask
import httpx
import pytest

from asyncwsgi.testing import LiveServer


@pytest.fixture
def app() -> flask.Flask:
    """What `asyncwsgi_server` serves. A project has this in conftest.py."""
    app = flask.Flask("shop")
    app.config["IS_OPEN"] = True

    @app.get("/search")
    def search() -> dict[str, list[str]]:
        return {"tags": flask.request.args.getlist("tag")}

    @app.post("/orders")
    def order() -> tuple[dict[str, str], int]:
        if not app.config["IS_OPEN"]:
            flask.abort(503)
        return {"ordered": flask.request.get_json()["item"]}, 201

    @app.get("/stock")
    def stock() -> str:
        raise LookupError("no stock is known")

    return app


def place_order(url: str, item: str, *, attempts: int = 3) -> httpx.Response:
    """The client under test: it tries again when the connection breaks."""
    for attempt in range(attempts):
        try:
            return httpx.post(url, json={"item": item})
        except httpx.TransportError:
            if attempt == attempts - 1:
                raise
    raise ValueError(f"attempts is {attempts}; expected at least 1")


def test_a_url_with_a_query(asyncwsgi_server: LiveServer) -> None:
    url = asyncwsgi_server.url_for("/search", tag=["red", "large"])
    assert httpx.get(url).json() == {"tags": ["red", "large"]}


def test_the_url_of_an_endpoint(asyncwsgi_server: LiveServer, app: flask.Flask) -> None:
    with app.test_request_context(base_url=asyncwsgi_server.url):
        url = flask.url_for("search", tag="red", _external=True)
    assert httpx.get(url).json() == {"tags": ["red"]}


def test_what_arrived(asyncwsgi_server: LiveServer) -> None:
    httpx.post(asyncwsgi_server.url_for("/orders"), json={"item": "spam"})
    request = asyncwsgi_server.wait_for_request("/orders", method="POST")
    assert request.status == 201
    assert request.header("Content-Type") == "application/json"
    assert json.loads(request.body) == {"item": "spam"}


def test_what_the_application_raised(asyncwsgi_server: LiveServer) -> None:
    assert httpx.get(asyncwsgi_server.url_for("/stock")).status_code == 500
    assert [str(error) for error in asyncwsgi_server.errors] == ["no stock is known"]
    with pytest.raises(LookupError, match="no stock"):
        asyncwsgi_server.raise_errors()


@pytest.mark.asyncwsgi(raise_errors=True)
def test_an_error_that_nobody_expects_would_fail_this(asyncwsgi_server: LiveServer) -> None:
    assert httpx.get(asyncwsgi_server.url_for("/search")).status_code == 200


def test_a_test_changes_what_a_view_finds(
    asyncwsgi_server: LiveServer, app: flask.Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.config, "IS_OPEN", False)
    url = asyncwsgi_server.url_for("/orders")
    assert httpx.post(url, json={"item": "spam"}).status_code == 503


def test_a_client_tries_again(asyncwsgi_server: LiveServer) -> None:
    cut = asyncwsgi_server.faults.cut_body("/orders", times=2)
    assert place_order(asyncwsgi_server.url_for("/orders"), "spam").status_code == 201
    assert cut.hits == 2
