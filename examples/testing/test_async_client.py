"""Tests that are coroutines, with an asynchronous client: pytest-asyncio and httpx.

The server has a loop and a thread of its own. So the loop of the test is free while a test waits
for a response, and it does not matter which plugin made it, or for how long it lives.

    python -m pytest examples/testing/test_async_client.py

aiohttp does as well: `async with aiohttp.ClientSession(asyncwsgi_server.url) as client`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import flask
import httpx
import pytest
import pytest_asyncio

from asyncwsgi.testing import LiveServer

pytestmark = pytest.mark.asyncio


@pytest.fixture
def app() -> flask.Flask:
    """Its async views run on the loop of the server: all requests share the queue."""
    app = flask.Flask("mailbox")
    letters: asyncio.Queue[str] = asyncio.Queue()

    @app.post("/letters")
    async def send() -> tuple[str, int]:
        await letters.put(flask.request.get_data(as_text=True))
        return "", 204

    @app.get("/letters/next")
    async def receive() -> str:
        return await letters.get()

    return app


@pytest_asyncio.fixture
async def client(asyncwsgi_server: LiveServer) -> AsyncIterator[httpx.AsyncClient]:
    """It asks for the server, and is therefore closed before it."""
    async with httpx.AsyncClient(base_url=asyncwsgi_server.url) as client:
        yield client


async def test_a_request_waits_for_another(client: httpx.AsyncClient) -> None:
    async with asyncio.TaskGroup() as tasks:
        received = tasks.create_task(client.get("/letters/next"))
        sent = tasks.create_task(client.post("/letters", content="spam"))
    assert (received.result().text, sent.result().status_code) == ("spam", 204)


async def test_many_requests_at_once(client: httpx.AsyncClient) -> None:
    texts = [f"letter {number}" for number in range(5)]
    await asyncio.gather(*(client.post("/letters", content=text) for text in texts))
    received = await asyncio.gather(*(client.get("/letters/next") for _ in texts))
    assert sorted(response.text for response in received) == texts


async def test_what_arrived(asyncwsgi_server: LiveServer, client: httpx.AsyncClient) -> None:
    await client.post("/letters", content="spam")
    request = await asyncwsgi_server.await_request("/letters", method="POST")
    assert (request.status, request.body) == (204, b"spam")
