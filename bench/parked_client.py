"""The load of `parked.py`: many requests at the same moment, each on a connection of its own.

``parked_client.py HOST PORT PATH CLIENTS PATIENCE`` connects all clients, says ``ready``, and sends
all requests once it is told to go on; it prints JSON when all are answered, or nothing was for
`PATIENCE` seconds, or `LONGEST` have passed. ``parked_client.py serve`` is the other service, which
takes a second.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

LONGEST = 90.0
AT_ONCE = 200
"""Connections that may be on their way."""
HEAD = "GET {path}/{name} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"


class Load:
    """All clients, and what came to them."""

    def __init__(self) -> None:
        self.answers: list[float] = []
        """When each came."""
        self.errors = 0
        self.progress_at = 0.0


class Client(asyncio.Protocol):
    """One request."""

    def __init__(self, load: Load, name: str) -> None:
        self._load = load
        self._name = name
        self._data = b""
        self.is_over = False

    def data_received(self, data: bytes) -> None:
        self._data += data

    def connection_lost(self, exc: Exception | None) -> None:
        if self.is_over:
            return
        self.is_over = True
        head, _, body = self._data.partition(b"\r\n\r\n")
        # Hypercorn and others send chunks where no length is known.
        if head.startswith(b"HTTP/1.1 200") and f"{self._name} {self._name}".encode() in body:
            self._load.answers.append(time.monotonic())
            self._load.progress_at = time.monotonic()
        else:
            self._load.errors += 1


async def load(host: str, port: int, path: str, count: int, patience: float) -> None:
    loop, found = asyncio.get_running_loop(), Load()
    places = asyncio.Semaphore(AT_ONCE)
    clients: list[tuple[asyncio.WriteTransport, Client, str]] = []

    async def connect(name: str) -> None:
        async with places:
            client = Client(found, name)
            transport, _ = await loop.create_connection(lambda: client, host, port)
            clients.append((transport, client, name))

    await asyncio.gather(*(connect(f"client-{number}") for number in range(count)))
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    began = found.progress_at = time.monotonic()
    for number, (transport, _, name) in enumerate(clients):
        if not transport.is_closing():
            transport.write(HEAD.format(path=path, name=name).encode())
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)
    while (  # noqa: ASYNC110 - what is waited for is also that nothing happens for a while
        len(found.answers) + found.errors < count
        and time.monotonic() - found.progress_at < patience
        and time.monotonic() - began < LONGEST
    ):
        await asyncio.sleep(0.02)
    answers = sorted(answer - began for answer in found.answers)
    result = {
        "answered": len(answers),
        "errors": found.errors,
        "p50": answers[len(answers) // 2] if answers else None,
        "last": answers[-1] if answers else None,
    }
    print(json.dumps(result), flush=True)
    for transport, client, _ in clients:
        client.is_over = True
        transport.abort()


class Service(asyncio.Protocol):
    """Answers each request, a second later, with the last part of its path."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        name = data.split(b" ", 2)[1].rpartition(b"/")[2]
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
        asyncio.get_running_loop().call_later(1.0, self._write, head % len(name) + name)

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)  # type: ignore[attr-defined]


async def serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Service, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    import uvloop

    if sys.argv[1] == "serve":
        uvloop.run(serve())
    else:
        host, port, path, count, patience = sys.argv[1:]
        uvloop.run(load(host, int(port), path, int(count), float(patience)))


if __name__ == "__main__":
    main()
