"""A chat bot with a web page: an asyncio program whose views speak through its loop.

Run it with

    python examples/chat_bot.py --port 8000

and try

    curl -d "text=Hello, everybody" http://127.0.0.1:8000/say
    curl http://127.0.0.1:8000/said

Libraries for Discord, Matrix, Telegram and the like are built this way: the bot lives in an event
loop, and its methods are coroutines of that loop. The toy bot below stands for one of them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging

from flask import Flask, Response, jsonify, request

import asyncwsgi
from asyncwsgi import from_thread

logger = logging.getLogger("bot")


class Bot:
    """Sends messages to a chat, one after the other, as its connection does."""

    def __init__(self) -> None:
        self.said: list[str] = []
        # Queues and futures belong to the loop they are used in: nothing here may be called by a
        # worker thread.
        self._outbox: asyncio.Queue[tuple[str, asyncio.Future[int]]] = asyncio.Queue()

    async def run(self) -> None:
        """Talk to the chat until cancelled."""
        while True:
            text, sent = await self._outbox.get()
            await asyncio.sleep(0)  # the network
            self.said.append(text)
            logger.info("said %r", text)
            # The caller may have gone meanwhile: its timeout cancels what it waits for.
            if not sent.done():
                sent.set_result(len(self.said))

    async def send(self, text: str) -> int:
        """Send a message; its number when it has arrived."""
        sent: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        await self._outbox.put((text, sent))
        return await sent


def make_app(bot: Bot) -> Flask:
    """The Flask application. Its views are ordinary functions and run in worker threads."""
    app = Flask(__name__)

    @app.post("/say")
    def say() -> Response:
        # The server runs in the bot's loop: there this has bot.send() awaited, and waits for it.
        number = from_thread.run(bot.send, request.form["text"], timeout=30)
        return jsonify(number=number)

    @app.get("/said")
    def said() -> Response:
        return jsonify(bot.said)

    return app


async def main(port: int) -> None:
    bot = Bot()
    async with asyncio.TaskGroup() as tasks:
        talking = tasks.create_task(bot.run())
        # Inside this block clients are served. Leaving it drains, while the bot still talks: views
        # that wait for it get their answer.
        async with asyncwsgi.Server(make_app(bot), port=port) as server:
            await server.serve_forever()
        talking.cancel()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A chat bot with a web page.")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse_arguments()
    # An embedded server configures no logging: that is the program's affair.
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    # asyncio.run() turns Ctrl+C into the cancellation of main(), and raises when that has ended.
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(arguments.port))
