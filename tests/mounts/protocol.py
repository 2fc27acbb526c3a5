"""An ASGI server of a few lines: what it gives and takes is what the test says, step by step."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, MutableMapping
from typing import Any

from asyncwsgi.asgi import WSGIApp
from asyncwsgi.mounts.lifecycle import Service

Message = MutableMapping[str, Any]

DISCONNECT: Message = {"type": "http.disconnect"}


def scope(
    method: str = "GET",
    path: str = "/",
    headers: Iterable[tuple[bytes, bytes]] = (),
    **more: Any,
) -> dict[str, Any]:
    """A request as ASGI tells it."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"test"), *headers],
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000),
        **more,
    }


def length(size: int) -> tuple[bytes, bytes]:
    return b"content-length", b"%d" % size


CHUNKED = (b"transfer-encoding", b"chunked")


class HandMade:
    """One call of an application by hand.

    What `give` is given the application receives; then it waits. What it sends is in `sent`, and
    waits there while `hold` says so.
    """

    def __init__(self, app: WSGIApp, request: Message, *messages: Message) -> None:
        self.sent: list[Message] = []
        self.received = 0
        """Calls of ``receive``."""
        self.send_error: Exception | None = None
        self._app = app
        self._scope = request
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._may_send = asyncio.Event()
        self._may_send.set()
        self._has_sent = asyncio.Event()
        self.give(*messages)

    def give(self, *messages: Message) -> None:
        for message in messages:
            self._messages.put_nowait(message)

    def give_body(self, *pieces: bytes, more: bool = False) -> None:
        for piece in pieces:
            self.give({"type": "http.request", "body": piece, "more_body": True})
        if not more:
            self.give({"type": "http.request", "body": b"", "more_body": False})

    def hold(self) -> None:
        """Let ``send`` wait, as a server does whose client reads nothing."""
        self._may_send.clear()

    def let_go(self) -> None:
        self._may_send.set()

    async def receive(self) -> Message:
        self.received += 1
        return await self._messages.get()

    async def send(self, message: Message) -> None:
        await self._may_send.wait()
        if self.send_error is not None:
            raise self.send_error
        self.sent.append(message)
        self._has_sent.set()

    async def __call__(self) -> HandMade:
        await self._app(self._scope, self.receive, self.send)
        return self

    def begin(self) -> asyncio.Task[HandMade]:
        return asyncio.ensure_future(self())

    async def until_sent(self, count: int) -> None:
        while len(self.sent) < count:
            self._has_sent.clear()
            await self._has_sent.wait()

    @property
    def status(self) -> int:
        status: int = self.sent[0]["status"]
        return status

    def header(self, name: bytes) -> bytes | None:
        values = [value for key, value in self.sent[0]["headers"] if key == name]
        assert len(values) < 2, values
        return values[0] if values else None

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])

    @property
    def is_complete(self) -> bool:
        return bool(self.sent) and self.sent[-1].get("more_body") is False


def service_of(app: WSGIApp) -> Service:
    """What serves it on this loop."""
    return app.mount.start()


async def turn() -> None:
    """Let everything on the loop run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def until_a_thread_waits_for_its_client(app: WSGIApp) -> None:
    await turn()
    (exchange,) = service_of(app).dispatcher.exchanges
    while not exchange.waits_until_writable:  # noqa: ASYNC110 - the thread tells nobody
        await asyncio.sleep(0)
    # Were it only to wait for the loop to take what it has posted, it would go on by now.
    for _ in range(20):
        await asyncio.to_thread(int)
