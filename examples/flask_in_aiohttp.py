"""A Flask application in an aiohttp program, on one port: WebSockets there, pages here.

Run it with

    python examples/flask_in_aiohttp.py

open http://127.0.0.1:8000/ in two windows, and say something. Or

    curl http://127.0.0.1:8000/say -d text=Hello

The page is Flask's. It listens to a WebSocket of aiohttp, and what is posted to Flask is sent to
all who listen. Both work on one `Room` without a lock: only the loop touches it.

aiohttp's server reads HTTP; what no route of its own answers goes to Flask, whose views run in
worker threads, and `async def` ones on the loop.

Ctrl+C ends it. It needs `pip install aiohttp flask`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging

import flask
from aiohttp import WSCloseCode, web

from asyncwsgi.aiohttp import WSGIHandler

logger = logging.getLogger("room")

PAGE = """<!doctype html>
<title>Room</title>
<form><input name="text" autofocus> <button>Say</button></form>
<ul></ul>
<script>
new WebSocket(`ws://${location.host}/listen`).onmessage = ({data}) => {
  const item = document.createElement("li");
  item.textContent = data;
  document.querySelector("ul").append(item);
};
document.querySelector("form").onsubmit = (event) => {
  event.preventDefault();
  fetch("/say", {method: "POST", body: new FormData(event.target)});
  event.target.reset();
};
</script>
"""


class Room:
    """Those who listen. For the loop only."""

    def __init__(self) -> None:
        self._listeners: set[web.WebSocketResponse] = set()

    async def listen(self, request: web.Request) -> web.WebSocketResponse:
        """Be one WebSocket, until it is closed."""
        socket = web.WebSocketResponse(heartbeat=30)
        await socket.prepare(request)
        self._listeners.add(socket)
        try:
            await socket.send_str(f"{len(self._listeners)} here")
            async for _ in socket:
                pass  # what listeners send does not matter
        finally:
            self._listeners.discard(socket)
        return socket

    async def say(self, text: str) -> int:
        """Tell everybody; how many that were."""
        listeners = list(self._listeners)
        # One who has just left is no reason not to tell the others.
        await asyncio.gather(*(each.send_str(text) for each in listeners), return_exceptions=True)
        return len(listeners)

    async def close(self, _: web.Application) -> None:
        """Send everybody home."""
        code = WSCloseCode.GOING_AWAY
        await asyncio.gather(*(socket.close(code=code) for socket in list(self._listeners)))


def make_pages(room: Room) -> flask.Flask:
    app = flask.Flask(__name__)

    @app.get("/")
    def index() -> str:
        return PAGE

    @app.post("/say")
    async def say() -> dict[str, int]:
        # On the loop of the server.
        return {"heard_by": await room.say(flask.request.form["text"])}

    return app


def make_app() -> web.Application:
    room = Room()
    pages = WSGIHandler(make_pages(room))
    app = web.Application()
    app.router.add_get("/listen", room.listen)
    app.router.add_route("*", "/{path:.*}", pages)  # whatever is left
    app.on_shutdown.append(room.close)  # or the end would wait for them
    app.cleanup_ctx.append(pages.cleanup_ctx)
    return app


async def main(port: int) -> None:
    runner = web.AppRunner(make_app())
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        host, port = runner.addresses[0][:2]
        logger.info("listening on http://%s:%d", host, port)
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Flask in an aiohttp program.")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse_arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(arguments.port))
