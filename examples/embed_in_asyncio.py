"""A Flask application inside an asyncio program that has work of its own.

Run it with

    python examples/embed_in_asyncio.py --port 8000

and try

    curl http://127.0.0.1:8000/
    curl http://127.0.0.1:8000/next

Ctrl+C ends it: the server drains while the program's own task still runs, then that task ends too.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging

from flask import Flask, Response, jsonify

import asyncwsgi

logger = logging.getLogger("heartbeat")


class Heart:
    """The program's own work: it beats in the event loop, whatever the web does."""

    def __init__(self, interval: float) -> None:
        self.beats = 0
        self._interval = interval
        self._has_beaten = asyncio.Condition()

    async def beat(self) -> None:
        """Beat until cancelled."""
        while True:
            await asyncio.sleep(self._interval)
            async with self._has_beaten:
                self.beats += 1
                self._has_beaten.notify_all()
            logger.info("beat %d", self.beats)

    async def next_beat(self) -> int:
        """Wait for the next beat; its number."""
        async with self._has_beaten:
            await self._has_beaten.wait()
            return self.beats


def make_app(heart: Heart, loop: asyncio.AbstractEventLoop) -> Flask:
    """The Flask application. Its views run in worker threads, beside the loop."""
    app = Flask(__name__)

    @app.get("/")
    def index() -> Response:
        return jsonify(beats=heart.beats)

    @app.get("/next")
    def next_beat() -> Response:
        # From a view into the program's loop: asyncio's own way from threads.
        beat = asyncio.run_coroutine_threadsafe(heart.next_beat(), loop)
        return jsonify(beats=beat.result(timeout=30))

    return app


async def main(port: int, interval: float) -> None:
    heart = Heart(interval)
    app = make_app(heart, asyncio.get_running_loop())
    async with asyncio.TaskGroup() as tasks:
        beating = tasks.create_task(heart.beat())
        # Inside this block clients are served; leaving it drains.
        async with asyncwsgi.Server(app, port=port) as server:
            await server.serve_forever()
        beating.cancel()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="An asyncio program with a Flask application.")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between beats")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse_arguments()
    # An embedded server configures no logging: that is the program's affair.
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    # asyncio.run() turns Ctrl+C into the cancellation of main(), and raises when that has ended.
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(arguments.port, arguments.interval))
