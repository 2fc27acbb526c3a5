"""What the server tests share: clients beside the loop, requests in flight, open descriptors."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from asyncwsgi import Server
from tests.apps import Held, hello
from tests.client import TIMEOUT, Client, Reply, connect

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication

T = TypeVar("T")
Address = tuple[str, int] | str

FOREVER = 1000.0
"""Seconds that a test never lives to see."""


def get(address: Address, target: str = "/", tls: ssl.SSLContext | None = None) -> Reply:
    """One request on a connection of its own."""
    with connect(address, tls) as client:
        return client.get(target)


async def aget(address: Address, target: str = "/", tls: ssl.SSLContext | None = None) -> Reply:
    """As `get`, beside the loop."""
    return await asyncio.to_thread(get, address, target, tls)


def refuses(address: Address) -> bool:
    """Whether nobody listens there (any more)."""
    if isinstance(address, str):
        family = socket.AF_UNIX
    else:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family) as sock:
        try:
            sock.connect(address)
        except (ConnectionRefusedError, FileNotFoundError):
            return True
    return False


def descriptors() -> dict[str, str]:
    """What this process has open: descriptor numbers and what they stand for."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found[entry.name] = str(entry.readlink())
        except FileNotFoundError:
            continue  # that of the directory being listed
    return found


class TwoBlocks:
    """Streams ``first``, waits for the test, streams ``second``."""

    def __init__(self) -> None:
        self._release = threading.Event()

    def __call__(self, _environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return self._blocks()

    def _blocks(self) -> Iterator[bytes]:
        yield b"first "
        assert self._release.wait(10), "the test never asked for the second block"
        yield b"second"

    def release(self) -> None:
        self._release.set()


async def turns(count: int = 20) -> None:
    """Let the loop come round `count` times: it has then done all that it is going to do."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until_read(address: Address) -> None:
    """Return when the server has read what was sent to it before.

    What is no HTTP is answered by the loop, in its turn, without the application.
    """
    with connect(address) as client:
        client.send(b"no HTTP\r\n\r\n")
        assert (await asyncio.to_thread(client.reply)).status == 400


async def begin_shutdown(server: Server, idle: Client | None = None) -> asyncio.Task[None]:
    """Ask for a graceful shutdown and return when it is under way.

    `idle` is a silent client that the server has accepted. It gets the end when the listeners are
    closed.
    """
    if idle is None:
        with connect(server.addresses[0]) as idle:
            await until_read(server.addresses[0])
            return await begin_shutdown(server, idle)
    stopping = asyncio.create_task(server.shutdown())
    await asyncio.to_thread(idle.is_closed)
    return stopping


@asynccontextmanager
async def connected(
    application: WSGIApplication, **options: Any
) -> AsyncIterator[tuple[Server, Client]]:
    """A running server and one connection to it."""
    server = Server(application, port=0, **options)
    await server.start()
    try:
        with connect(server.addresses[0]) as client:
            yield server, client
    finally:
        await soon(server.shutdown())


@dataclass
class InFlight:
    """A server with one request inside its application."""

    server: Server
    application: Held
    client: Client
    """Sent the request, and waits for the reply."""
    idle: Client
    """Connected and silent."""

    @property
    def address(self) -> Address:
        return self.server.addresses[0]

    async def begin_shutdown(self) -> asyncio.Task[None]:
        """See the function of this name."""
        return await begin_shutdown(self.server, self.idle)

    async def reply(self) -> Reply:
        """The reply to the request in flight."""
        return await asyncio.to_thread(self.client.reply)


@asynccontextmanager
async def request_in_flight(
    application: WSGIApplication = hello,
    *,
    server_class: type[Server] = Server,
    **options: Any,
) -> AsyncIterator[InFlight]:
    """A running server and a request that its application holds until it is released."""
    held = Held(application)
    if "bind" not in options:
        options.setdefault("port", 0)
    server = server_class(held, **options)
    await server.start()
    try:
        # Connections are accepted in order: once the second is served, the first is known.
        with connect(server.addresses[0]) as idle, connect(server.addresses[0]) as client:
            client.request()
            await asyncio.to_thread(held.wait_until_entered)
            try:
                yield InFlight(server, held, client, idle)
            finally:
                held.release()
                await soon(server.shutdown())
    finally:
        await soon(server.shutdown())


def in_threads(*calls: Callable[[], object]) -> None:
    """Run calls at the same time, each in a thread; wait for all."""
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


async def soon(awaitable: Awaitable[T]) -> T:
    """What `awaitable` gives; fails if it takes longer than anything here can take."""
    async with asyncio.timeout(TIMEOUT):
        return await awaitable
