"""Coroutines as tests, by pytest-asyncio."""

from __future__ import annotations

import asyncio

import flask
import pytest

from asyncwsgi.testing import LiveServer

pytestmark = pytest.mark.asyncio


@pytest.fixture(scope="session")
def app() -> flask.Flask:
    app = flask.Flask("app")

    @app.get("/")
    async def index() -> str:
        await asyncio.sleep(0)
        return "hello"

    return app


async def fetch(server: LiveServer) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    received = await reader.read()
    writer.close()
    await writer.wait_closed()
    return received.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("number", range(5))
async def test_each_scope(
    asyncwsgi_server: LiveServer,
    asyncwsgi_module_server: LiveServer,
    asyncwsgi_session_server: LiveServer,
    number: int,
) -> None:
    servers = asyncwsgi_server, asyncwsgi_module_server, asyncwsgi_session_server
    assert await asyncio.gather(*map(fetch, servers)) == [b"hello"] * 3


async def test_threads_of_the_loop(asyncwsgi_server: LiveServer) -> None:
    def connect() -> bytes:
        return asyncio.run(fetch(asyncwsgi_server))

    assert await asyncio.to_thread(connect) == b"hello"


async def test_httpx(asyncwsgi_server: LiveServer) -> None:
    httpx = pytest.importorskip("httpx")
    async with httpx.AsyncClient(base_url=asyncwsgi_server.url) as client:
        assert (await client.get("/")).text == "hello"
        assert (await client.get("/")).text == "hello"


async def test_urls_of_flask(live_server: LiveServer) -> None:
    assert flask.url_for("index", _external=True) == f"{live_server.url}/"
    assert flask.request.url == f"{live_server.url}/"
