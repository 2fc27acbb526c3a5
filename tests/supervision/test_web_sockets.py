"""WebSockets and async views of several processes, while these are replaced."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.client import TIMEOUT
from tests.reloading.conftest import has_ended
from tests.supervision.conftest import Workers

APP = """
import asyncio
import os

import asyncwsgi
from flask import Flask
from flask_sock import Sock

app = Flask(__name__)


@app.route("/loop", websocket=True)
@asyncwsgi.websocket
async def on_the_loop(ws):
    await ws.send(str(os.getpid()))
    async for message in ws:
        await ws.send(message)


@Sock(app).route("/thread")
def in_a_thread(ws):
    ws.send(str(os.getpid()))
    while True:
        ws.send(ws.receive())


@app.get("/async")
async def waits():
    await asyncio.sleep(0)
    return str(os.getpid())


@app.get("/")
def index():
    return str(os.getpid())
"""

preloads = pytest.mark.parametrize("options", [(), ("--preload",)], ids=["", "preload"])


@contextmanager
def opened(workers: Workers, path: str) -> Iterator[tuple[ClientConnection, int]]:
    """A WebSocket, and the process at its other end."""
    address = workers.project.address
    assert not isinstance(address, str)
    with connect(f"ws://127.0.0.1:{address[1]}{path}", open_timeout=TIMEOUT) as ws:
        yield ws, int(ws.recv(TIMEOUT))


@preloads
@pytest.mark.parametrize("path", ["/loop", "/thread"])
def test_a_replacement_ends_those_that_are_open_and_takes_new_ones(
    workers: Workers, path: str, options: tuple[str, ...]
) -> None:
    workers.project.write("web.py", APP)
    workers.serve(2, *options, "--graceful-timeout", "30")
    before = workers.pids(2)
    with opened(workers, path) as (ws, pid):
        assert pid in before
        workers.signal(signal.SIGHUP)
        for _ in range(2):
            workers.process.read_until("stopping; ")
        with pytest.raises(ConnectionClosed) as closed:
            ws.recv(TIMEOUT)
    if path == "/loop":
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001  # going away (RFC 6455 7.4.1)
    assert all(map(has_ended, before))
    with opened(workers, path) as (_, pid):
        assert pid not in before


@preloads
def test_async_views_run_in_each(workers: Workers, options: tuple[str, ...]) -> None:
    workers.project.write("web.py", APP)
    workers.serve(2, *options)
    pids = workers.pids(2)
    answers = {int(workers.get("/async").body) for _ in range(20)}
    assert answers <= pids
