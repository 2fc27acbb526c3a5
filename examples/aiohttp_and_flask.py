"""An aiohttp program and a Flask application in one event loop: WebSockets there, pages here.

Run it with

    python examples/aiohttp_and_flask.py

open http://127.0.0.1:8000/ in two windows, and say something. Or

    curl http://127.0.0.1:8000/say -d text=Hello

The page is Flask's. It listens to a WebSocket of aiohttp on port 8001, and what is posted to Flask
is sent to all who listen. Both work on one `Room` without a lock: only the loop touches it.

It is aiohttp because its server is an object that a program starts and stops, as this one is, and
leaves the signals alone. An ASGI program such as FastAPI goes the same way with a server that does:
`hypercorn.asyncio.serve(app, config, shutdown_trigger=...)`, or `uvicorn.Server(config).serve()`,
which handles Ctrl+C itself.

Ctrl+C ends both. It needs `pip install aiohttp flask`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import flask
from aiohttp import WSCloseCode, web

import asyncwsgi

logger = logging.getLogger("room")

PAGE = """<!doctype html>
<title>Room</title>
<form><input name="text" autofocus> <button>Say</button></form>
<ul></ul>
<script>
new WebSocket("{{ url }}").onmessage = ({data}) => {
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

    async def close(self) -> None:
        """Send everybody home."""
        code = WSCloseCode.GOING_AWAY
        await asyncio.gather(*(socket.close(code=code) for socket in list(self._listeners)))


def make_app(room: Room, url: str) -> flask.Flask:
    app = flask.Flask(__name__)

    @app.get("/")
    def index() -> str:
        return flask.render_template_string(PAGE, url=url)

    @app.post("/say")
    async def say() -> dict[str, int]:
        # On the loop of the server, which is also aiohttp's.
        return {"heard_by": await room.say(flask.request.form["text"])}

    return app


@contextlib.asynccontextmanager
async def serving_sockets(room: Room, port: int) -> AsyncIterator[str]:
    """The aiohttp program; yields the URL of its WebSocket."""
    app = web.Application()
    app.router.add_get("/listen", room.listen)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        host, port = runner.addresses[0][:2]
        logger.info("aiohttp is listening on http://%s:%d", host, port)
        yield f"ws://{host}:{port}/listen"
    finally:
        await room.close()  # or the cleanup would wait for them
        await runner.cleanup()


async def main(port: int, socket_port: int) -> None:
    room = Room()
    # Flask's server ends first: until then its views can reach those who listen.
    async with serving_sockets(room, socket_port) as url:
        await asyncwsgi.serve(make_app(room, url), port=port)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="aiohttp and Flask in one event loop.")
    parser.add_argument("--port", type=int, default=8000, help="of Flask; 0 takes a free one")
    parser.add_argument("--socket-port", type=int, default=8001, help="of aiohttp")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse_arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(arguments.port, arguments.socket_port))
