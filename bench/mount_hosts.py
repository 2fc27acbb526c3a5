"""Serves a WSGI application inside another server: `mount_hosts.py KIND APP PORT`.

One kind is one bridge between the two. All of one host run with the same settings, 8 threads, and
without an access log.
"""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

HOST = "127.0.0.1"
THREADS = 8
GREETING = b"Hello, world!"
BLOCK = b"x" * (64 * 1024)
BLOCKS = 16
OWN = "asyncwsgi"


def plain(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    size = str(len(GREETING))
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", size)])
    return [GREETING]


def post(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def blocks(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    size = str(len(BLOCK) * BLOCKS)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", size)])
    for _ in range(BLOCKS):
        yield BLOCK


def flask() -> WSGIApplication:
    from flask import Flask, request

    app = Flask(__name__)

    @app.get("/")
    def index() -> str:
        return f"Hello, {request.args.get('name', 'world')}!"

    return app


APPLICATIONS: dict[str, Callable[[], WSGIApplication]] = {
    "plain": lambda: plain,
    "flask": flask,
    "post": lambda: post,
    "blocks": lambda: blocks,
}


def by_asyncwsgi(app: WSGIApplication) -> Any:
    from asyncwsgi.asgi import WSGIApp

    return WSGIApp(app, threads=THREADS)


def by_a2wsgi(app: WSGIApplication) -> Any:
    from a2wsgi import WSGIMiddleware

    return WSGIMiddleware(app, workers=THREADS)  # type: ignore[arg-type]


def by_asgiref(app: WSGIApplication) -> Any:
    from asgiref.wsgi import WsgiToAsgi

    return WsgiToAsgi(app)  # type: ignore[no-untyped-call]


def by_starlette(app: WSGIApplication) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated
        from starlette.middleware.wsgi import WSGIMiddleware

    return WSGIMiddleware(app)


BRIDGES: dict[str, Callable[[WSGIApplication], Any]] = {
    OWN: by_asyncwsgi,
    "a2wsgi": by_a2wsgi,
    "starlette": by_starlette,
    "asgiref": by_asgiref,
}


def aiohttp_asyncwsgi(app: WSGIApplication) -> Any:
    from asyncwsgi.aiohttp import WSGIHandler

    return WSGIHandler(app, threads=THREADS)


def aiohttp_wsgi(app: WSGIApplication) -> Any:
    from aiohttp_wsgi import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
        WSGIHandler,
    )

    return WSGIHandler(app)


AIOHTTP_BRIDGES: dict[str, Callable[[WSGIApplication], Any]] = {
    f"aiohttp {OWN}": aiohttp_asyncwsgi,
    "aiohttp aiohttp-wsgi": aiohttp_wsgi,
}
KINDS = (*BRIDGES, *AIOHTTP_BRIDGES)


def serve_by_uvicorn(app: Any, port: int) -> None:
    import uvicorn

    uvicorn.run(app, host=HOST, port=port, log_level="error", access_log=False)


def serve_by_aiohttp(handler: Any, port: int) -> None:
    import uvloop
    from aiohttp import web

    app = web.Application()
    app.router.add_route("*", "/{path_info:.*}", handler)
    loop = uvloop.new_event_loop()
    web.run_app(app, host=HOST, port=port, print=None, access_log=None, loop=loop)


if __name__ == "__main__":
    kind, name, port_number = sys.argv[1:]
    application = APPLICATIONS[name]()
    if kind in BRIDGES:
        serve_by_uvicorn(BRIDGES[kind](application), int(port_number))
    else:
        serve_by_aiohttp(AIOHTTP_BRIDGES[kind](application), int(port_number))
