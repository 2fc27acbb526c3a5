"""The applications under load: the least that a WSGI application can do, and Flask views.

Every path answers 200, so that a load may ask for what it likes.
"""

from __future__ import annotations

import asyncio
import time
from itertools import repeat
from typing import TYPE_CHECKING, Any
from wsgiref.util import FileWrapper

from bodies import BLOCK, FILE, GREETING, STREAM_BLOCKS, UPLOAD_PIECE, WAIT
from flask import Flask, Response, request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIEnvironment

TEXT = ("Content-Type", "text/plain; charset=utf-8")
BINARY = ("Content-Type", "application/octet-stream")


def plain(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    # PEP 3333 lets a server change the list it is given, so each response gets its own.
    return _whole(start_response, GREETING, TEXT)


def post(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Reads a small body at once, as PEP 3333 lets an application do it everywhere."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    return _whole(start_response, b"%d bytes" % len(body), TEXT)


def upload(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Reads a large body by pieces and holds one of them at a time."""
    stream, rest = environ["wsgi.input"], int(environ.get("CONTENT_LENGTH") or 0)
    size = 0
    while piece := stream.read(min(UPLOAD_PIECE, rest - size)):
        size += len(piece)
    return _whole(start_response, b"%d bytes" % size, TEXT)


def block(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    return _whole(start_response, BLOCK, BINARY)


def stream(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """A generator of unknown length, as streams of views are: it goes out in chunks."""
    start_response("200 OK", [BINARY])
    yield from repeat(BLOCK, STREAM_BLOCKS)


def file(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """By the server's own wrapper, where it has one."""
    start_response("200 OK", [BINARY, ("Content-Length", str(FILE.stat().st_size))])
    wrapper = environ.get("wsgi.file_wrapper", FileWrapper)
    return wrapper(FILE.open("rb"), len(BLOCK))  # type: ignore[no-any-return]


def _whole(start_response: StartResponse, body: bytes, kind: tuple[str, str]) -> list[bytes]:
    start_response("200 OK", [kind, ("Content-Length", str(len(body)))])
    return [body]


COMPUTED_NUMBERS = 250_000
"""Of which the squares are added, for a view that computes."""

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


@flask_app.post("/form")
def form() -> str:
    return f"Hello, {request.form['name']}! {len(request.form['text'])} characters"


@flask_app.get("/wait/<name>")
def wait(name: str) -> str:
    """As a view that waits for a database: its thread is held and does nothing."""
    time.sleep(WAIT)
    return f"Hello, {name}!"


@flask_app.get("/compute")
def compute() -> str:
    """Some 10 ms of CPU, all of it with the GIL held."""
    total = 0
    for number in range(COMPUTED_NUMBERS):
        total += number * number % 7
    return "computed" if total else "nothing"


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
