"""Two applications, two servers, one event loop: a public one, and one for administrators.

Run it with

    python examples/several_servers.py

or, with the administration on a Unix socket,

    python examples/several_servers.py --admin unix:/tmp/asyncwsgi-admin.sock

and try

    curl http://127.0.0.1:8000/
    curl http://127.0.0.1:8001/
    curl -X POST http://127.0.0.1:8001/maintenance/on
    curl -i http://127.0.0.1:8000/
    curl -X POST http://127.0.0.1:8001/shutdown
    curl --unix-socket /tmp/asyncwsgi-admin.sock http://localhost/

Ctrl+C ends both.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable

from flask import Flask, Response, jsonify
from werkzeug.exceptions import ServiceUnavailable

import asyncwsgi


class Shop:
    """What both applications work on. Their views run in many threads, so it has a lock."""

    def __init__(self) -> None:
        self.is_open = True
        self._lock = threading.Lock()
        self._visitors = 0

    @property
    def visitors(self) -> int:
        return self._visitors

    def enter(self) -> int:
        """Count a visitor; their number."""
        with self._lock:
            self._visitors += 1
            return self._visitors


def make_public_app(shop: Shop) -> Flask:
    app = Flask("public")

    @app.before_request
    def check_open() -> None:
        if not shop.is_open:
            raise ServiceUnavailable("closed for maintenance")

    @app.get("/")
    def index() -> str:
        return f"Welcome, visitor {shop.enter()}!\n"

    return app


def make_admin_app(shop: Shop, stop: Callable[[], object]) -> Flask:
    app = Flask("admin")

    @app.get("/")
    def index() -> Response:
        return jsonify(visitors=shop.visitors, is_open=shop.is_open)

    @app.post("/maintenance/<any(on, off):state>")
    def maintenance(state: str) -> Response:
        shop.is_open = state == "off"
        return jsonify(is_open=shop.is_open)

    @app.post("/shutdown")
    def shutdown() -> str:
        stop()
        return "Going.\n"

    return app


async def main(public: str, admin: str) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    shop = Shop()
    admin_app = make_admin_app(shop, stop=lambda: loop.call_soon_threadsafe(stopped.set))
    async with (
        asyncwsgi.Server(admin_app, bind=admin, threads=2, access_log=False),
        asyncwsgi.Server(make_public_app(shop), bind=public),
    ):
        await stopped.wait()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Two servers in one event loop.")
    forms = "HOST:PORT or unix:PATH"
    parser.add_argument("--public", default="127.0.0.1:8000", help=forms)
    parser.add_argument("--admin", default="127.0.0.1:8001", help=forms)
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse_arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(arguments.public, arguments.admin))
