"""Synchronous tests, with the clients that are used most."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.request import urlopen

import flask
import pytest
import requests

from asyncwsgi.testing import LiveServer


@pytest.fixture(scope="session")
def app() -> flask.Flask:
    app = flask.Flask("app")

    @app.get("/")
    def index() -> str:
        return "hello"

    @app.get("/stream")
    def stream() -> flask.Response:
        def blocks() -> Iterator[str]:
            yield from ["hello"] * 3

        return flask.Response(blocks())

    return app


def test_urlopen(asyncwsgi_server: LiveServer) -> None:
    assert urlopen(asyncwsgi_server.url).read() == b"hello"


def test_requests(asyncwsgi_server: LiveServer) -> None:
    response = requests.get(asyncwsgi_server.url_for("/stream"))
    assert response.text == "hellohellohello"


def test_a_session_that_is_closed(asyncwsgi_server: LiveServer) -> None:
    with requests.Session() as session:
        assert [session.get(asyncwsgi_server.url).text for _ in range(3)] == ["hello"] * 3


def test_httpx(asyncwsgi_server: LiveServer) -> None:
    httpx = pytest.importorskip("httpx")
    assert httpx.get(asyncwsgi_server.url).text == "hello"


@pytest.mark.parametrize("number", range(20))
def test_a_connection_closed_the_moment_before_the_server(
    asyncwsgi_server: LiveServer, number: int
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", asyncwsgi_server.port)
    connection.request("GET", "/")
    assert connection.getresponse().read() == b"hello"
    connection.close()


def test_threads_that_are_joined(asyncwsgi_session_server: LiveServer) -> None:
    with ThreadPoolExecutor(8) as pool:
        responses = pool.map(lambda _: requests.get(asyncwsgi_session_server.url), range(40))
        assert {response.text for response in responses} == {"hello"}


def test_several_servers(
    asyncwsgi_serve: Callable[..., LiveServer],
    app: flask.Flask,
    asyncwsgi_module_server: LiveServer,
) -> None:
    servers = [asyncwsgi_serve(app), asyncwsgi_serve(app), asyncwsgi_module_server]
    assert len({server.port for server in servers}) == 3
    assert {urlopen(server.url).read() for server in servers} == {b"hello"}
