"""A Flask application in a FastAPI program, on one port.

Run it with

    uvicorn --app-dir examples flask_in_fastapi:app

or by `python examples/flask_in_fastapi.py`, and open http://127.0.0.1:8000/. FastAPI answers what
is below /api; everything else is Flask's, an older application say, from which one view after the
other moves. Both work on the same stock, and Flask's `async def` views on the very loop that runs
FastAPI's.

    curl http://127.0.0.1:8000/api/stock
    curl http://127.0.0.1:8000/order -d item=spam
    curl -N http://127.0.0.1:8000/changes

It needs `pip install fastapi uvicorn flask[async]`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import fastapi
import flask

from asyncwsgi import EventStream
from asyncwsgi.asgi import WSGIApp


class Stock:
    """What there is to be had. For the loop only, so that no lock is needed."""

    def __init__(self) -> None:
        self.items = {"spam": 3, "eggs": 12}
        self._watchers: set[asyncio.Queue[str]] = set()

    async def take(self, item: str) -> bool:
        """Take one; whether there was one."""
        if not self.items.get(item):
            return False
        self.items[item] -= 1
        for watcher in self._watchers:
            watcher.put_nowait(json.dumps(self.items))
        return True

    async def changes(self) -> AsyncIterator[str]:
        """What there is, now and whenever that changes."""
        watcher: asyncio.Queue[str] = asyncio.Queue()
        self._watchers.add(watcher)
        try:
            yield json.dumps(self.items)
            while True:
                yield await watcher.get()
        finally:
            self._watchers.discard(watcher)


stock = Stock()
shop = flask.Flask(__name__)


@shop.get("/")
def index() -> str:
    # In a worker thread: it may block.
    return "".join(f"<li>{item}\n" for item in sorted(stock.items))


@shop.post("/order")
async def order() -> tuple[str, int]:
    # On the loop, as FastAPI's handlers.
    was_there = await stock.take(flask.request.form["item"])
    return ("Thank you!\n", 200) if was_there else ("There is none left.\n", 409)


@shop.get("/changes")
def changes() -> EventStream:
    # Its thread is free again once the head has left.
    return EventStream(stock.changes())


mounted = WSGIApp(shop)


@contextlib.asynccontextmanager
async def lifespan(_: fastapi.FastAPI) -> AsyncIterator[None]:
    # FastAPI does not tell its mounts when it begins and ends.
    async with mounted:
        yield


app = fastapi.FastAPI(lifespan=lifespan)


@app.get("/api/stock")
async def in_stock() -> dict[str, int]:
    return stock.items


app.mount("/", mounted)  # behind the routes above: it answers whatever is left

if __name__ == "__main__":
    import uvicorn

    parser = argparse.ArgumentParser(description="Flask in a FastAPI program.")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    uvicorn.run(app, port=parser.parse_args().port, timeout_graceful_shutdown=5)
