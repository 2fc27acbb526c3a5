"""The applications under load: the least a WSGI application can do, Flask views sync and async.

Every path answers 200, so that a load script may ask for what it likes.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIEnvironment

GREETING = b"Hello, world!"
HEADERS = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(GREETING)))]


def plain(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    # PEP 3333 lets a server change the list it is given, so each response gets its own.
    start_response("200 OK", HEADERS.copy())
    return [GREETING]


flask_app = Flask(__name__)


@flask_app.get("/events")
def events() -> Response:
    """A tick at each full interval of the machine's clock, and its number."""
    interval = request.args.get("interval", 1.0, type=float)

    def ticks() -> Iterator[str]:
        number = int(time.monotonic() / interval)
        while True:
            number += 1
            time.sleep(max(0, number * interval - time.monotonic()))
            yield f"data: {number}\n\n"

    return Response(ticks(), mimetype="text/event-stream")


@flask_app.get("/async-events")
def async_events() -> Any:
    """The same, as asyncwsgi lets one write it."""
    from asyncwsgi import EventStream

    interval = request.args.get("interval", 1.0, type=float)

    async def ticks() -> AsyncIterator[str]:
        number = int(time.monotonic() / interval)
        while True:
            number += 1
            await asyncio.sleep(number * interval - time.monotonic())
            yield str(number)

    return EventStream(ticks())


@flask_app.get("/user/<name>")
def user(name: str) -> str:
    return f"Hello, {name}!"


@flask_app.get("/", defaults={"rest": "world"})
@flask_app.get("/<path:rest>")
def anywhere(rest: str) -> str:
    return f"Hello, {rest}!"


flask_async_app = Flask(__name__)


@flask_async_app.get("/user/<name>")
async def user_async(name: str) -> str:
    # The least that a coroutine can wait: what is measured is the way to a loop and back.
    await asyncio.sleep(0)
    return f"Hello, {name}!"


@flask_async_app.get("/", defaults={"rest": "world"})
@flask_async_app.get("/<path:rest>")
async def anywhere_async(rest: str) -> str:
    await asyncio.sleep(0)
    return f"Hello, {rest}!"
