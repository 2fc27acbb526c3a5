"""A plain WSGI application: no framework, one callable.

Run it with either of

    asyncwsgi examples/wsgi_app.py
    PORT=8000 python examples/wsgi_app.py

and try

    curl http://127.0.0.1:8000/
    curl http://127.0.0.1:8000/echo --data 'spam and eggs'
    curl -T FILE http://127.0.0.1:8000/echo -o COPY
    curl -N http://127.0.0.1:8000/stream
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import asyncwsgi

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

BLOCK_SIZE = 64 * 1024
TEXT = ("Content-Type", "text/plain; charset=utf-8")
LONGEST_PAUSE = 5000
"""Milliseconds between two lines of the stream."""


def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """What the server calls for each request, in a worker thread."""
    view = ROUTES.get(environ["PATH_INFO"], not_found)
    return view(environ, start_response)


def hello(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """A small answer: its length is known, so the server adds the Content-Length."""
    start_response("200 OK", [TEXT])
    return [b"Hello from a plain WSGI application. Try /echo and /stream.\n"]


def echo(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Sends the request body back while it arrives, whatever its size."""
    body = environ["wsgi.input"]
    content_type = environ.get("CONTENT_TYPE") or "application/octet-stream"
    start_response("200 OK", [("Content-Type", content_type)])
    # read() waits for the next bytes and returns b"" at the end of the body, chunked or not.
    return iter(lambda: body.read(BLOCK_SIZE), b"")


def stream(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Ten lines, each sent when it is made; `?pause=0` leaves out the pauses."""
    pause = parse_qs(environ["QUERY_STRING"]).get("pause", ["300"])[0]
    if not (pause.isascii() and pause.isdigit()):
        start_response("400 Bad Request", [TEXT])
        return [b"pause must be a number of milliseconds\n"]
    start_response("200 OK", [TEXT])
    return count_down(10, min(int(pause), LONGEST_PAUSE))


def count_down(start: int, pause: int) -> Iterator[bytes]:
    for number in range(start, 0, -1):
        yield f"{number}\n".encode()
        time.sleep(pause / 1000)


def not_found(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    start_response("404 Not Found", [TEXT])
    return [b"There is nothing here. Try /, /echo and /stream.\n"]


ROUTES = {"/": hello, "/echo": echo, "/stream": stream}


if __name__ == "__main__":
    raise SystemExit(asyncwsgi.run(application, port=int(os.environ.get("PORT", "8000"))))
