"""Handlers of WebSockets that several tests use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from typing import Any

from asyncwsgi import ConnectionClosed, WebSocketConnection
from tests.client import TIMEOUT


async def echo(ws: WebSocketConnection) -> None:
    """Sends back what comes."""
    async for message in ws:
        await ws.send(message)


class Told:
    """Runs a handler, and remembers how it ended.

    Args:
        handler: what to run; by default one that takes in all messages.
    """

    def __init__(
        self, handler: Callable[[WebSocketConnection], Coroutine[Any, Any, object]] | None = None
    ) -> None:
        self._handler = handler
        self.messages: list[str | bytes] = []
        self.began = threading.Event()
        self._ended = threading.Event()
        self.raised: BaseException | None = None
        self.close: tuple[int | None, str] = (None, "")

    async def __call__(self, ws: WebSocketConnection) -> None:
        self.began.set()
        try:
            if self._handler is not None:
                await self._handler(ws)
            while True:
                self.messages.append(await ws.receive())
        except BaseException as error:
            self.raised = error
            if not isinstance(error, ConnectionClosed):
                raise
        finally:
            self.close = ws.close_code, ws.close_reason
            self._ended.set()

    async def run(self, ws: WebSocketConnection) -> None:
        """As a coroutine function."""
        await self(ws)

    def wait(self) -> tuple[int | None, str]:
        """Wait for its end; code and reason of the WebSocket."""
        assert self._ended.wait(TIMEOUT), "the handler was never told"
        return self.close

    def wait_until_begun(self) -> None:
        assert self.began.wait(TIMEOUT), "the handler never began"
