"""Coroutines as tests, by anyio's plugin: on asyncio and trio."""

from __future__ import annotations

import anyio
import flask
import pytest

from asyncwsgi.testing import LiveServer

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="session")
def app() -> flask.Flask:
    app = flask.Flask("app")

    @app.get("/")
    def index() -> str:
        return "hello"

    return app


async def test_each_scope(
    asyncwsgi_server: LiveServer, asyncwsgi_module_server: LiveServer
) -> None:
    for server in asyncwsgi_server, asyncwsgi_module_server:
        async with await anyio.connect_tcp("127.0.0.1", server.port) as stream:
            await stream.send(b"GET / HTTP/1.0\r\n\r\n")
            assert b"".join([block async for block in stream]).endswith(b"hello")


async def test_threads(asyncwsgi_server: LiveServer) -> None:
    await anyio.to_thread.run_sync(asyncwsgi_server.url_for)


async def test_urls_of_flask(live_server: LiveServer) -> None:
    assert flask.url_for("index", _external=True) == f"{live_server.url}/"
