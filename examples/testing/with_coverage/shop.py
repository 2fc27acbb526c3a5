"""The application that is measured: `test_shop.py` says how."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import flask

import asyncwsgi


def make_app() -> flask.Flask:
    app = flask.Flask("shop")

    @app.get("/price")
    def price() -> dict[str, int]:
        # In a worker thread.
        cents = 1999
        return {"cents": cents}

    @app.get("/rating")
    async def rating() -> dict[str, int]:
        # On the loop of the server, which has a thread of its own.
        await asyncio.sleep(0)
        stars = 4
        return {"stars": stars}

    @app.get("/export")
    def export() -> flask.Response:
        # Its iterator runs on the loop when the view has returned.
        return flask.Response(asyncwsgi.stream(lines()), mimetype="text/plain")

    @app.get("/untested")
    def untested() -> str:
        return "no test asks for this"

    return app


async def lines() -> AsyncIterator[bytes]:
    yield b"spam\n"
    await asyncio.sleep(0)
    yield b"eggs\n"
