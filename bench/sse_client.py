"""The load of `sse.py`: many event streams and a few ordinary requests; prints JSON.

`sse_client.py HOST PORT PATH CLIENTS TICKS INTERVAL`.  Runs with the interpreter of the benchmark's
environment.  It connects until all clients have a response, or none got one for `PATIENCE` seconds;
then it says ``ready`` and, once it is told to go on, notes the ticks to come.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import sys
import time
from array import array
from typing import cast

PATIENCE = 10.0
AT_ONCE = 100
"""Clients that may be on their way to a response."""
PAUSE = 0.1
"""Seconds between two ordinary requests."""
TIMEOUT = 2.0
_TICK = re.compile(rb"data: ?(\d+)\n")


class Load:
    """All clients, and what came to them."""

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self.connected = 0
        self.progress_at = time.monotonic()
        self.ticks = range(0)
        self.received = 0
        self.lost_connections = 0
        self.is_over = False
        self.latencies = array("d")


class Client(asyncio.Protocol):
    """One event stream."""

    def __init__(self, load: Load, path: str, responded: asyncio.Future[None]) -> None:
        self._load = load
        self._path = path
        self._responded = responded
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's.
        cast("asyncio.Transport", transport).write(
            f"GET {self._path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        load = self._load
        if not self._responded.done() and data.startswith(b"HTTP/1.1 200"):
            load.connected += 1
            load.progress_at = now
            self._responded.set_result(None)
        # A tick may come in two parts.
        data = self._rest + data
        end = data.rfind(b"\n") + 1
        self._rest = data[end:]
        for tick in _TICK.findall(data[:end]):
            if int(tick) in load.ticks:
                load.received += 1
                load.latencies.append(now - int(tick) * load.interval)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._load.is_over:
            self._load.lost_connections += 1
        if not self._responded.done():
            self._responded.cancel()


async def connect_all(load: Load, host: str, port: int, path: str, clients: int) -> None:
    """Open the streams; give up on those to which the server does not come."""
    loop = asyncio.get_running_loop()
    places = asyncio.Semaphore(AT_ONCE)

    async def connect() -> None:
        async with places:
            responded = loop.create_future()
            await loop.create_connection(lambda: Client(load, path, responded), host, port)
            await responded

    tasks = [asyncio.create_task(connect()) for _ in range(clients)]
    load.progress_at = time.monotonic()
    # What is waited for is also that nothing happens for a while.
    while load.connected < clients and time.monotonic() - load.progress_at < PATIENCE:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def ask(host: str, port: int) -> float:
    """The seconds that an ordinary view takes, on a new connection; infinite if it is refused."""
    began = time.monotonic()
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(TIMEOUT):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"GET /user/x HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n")
            body = await reader.read()
        return time.monotonic() - began if b"Hello, x!" in body else math.inf
    except (OSError, TimeoutError):
        return math.inf
    finally:
        if writer is not None:
            writer.close()


async def main() -> None:
    host, port, path, clients, ticks, interval = sys.argv[1:]
    load = Load(float(interval))
    began = time.monotonic()
    await connect_all(load, host, int(port), f"{path}?interval={interval}", int(clients))
    connecting = load.progress_at - began
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    first = int(time.monotonic() / load.interval) + 2
    load.ticks = range(first, first + int(ticks))
    end = load.ticks.stop * load.interval
    await asyncio.sleep(first * load.interval - 0.5 - time.monotonic())
    views = []
    while time.monotonic() < end:
        views.append(await ask(host, int(port)))
        await asyncio.sleep(PAUSE)
    # The last tick was due an interval ago; late is not lost.
    expected = load.connected * len(load.ticks)
    deadline = end + PATIENCE
    while load.received < expected and time.monotonic() < deadline:  # noqa: ASYNC110 - as above
        await asyncio.sleep(0.1)
    load.is_over = True
    answered = sorted(view for view in views if view < math.inf)
    result = {
        "connected": load.connected,
        "connecting_seconds": connecting,
        "connections_lost": load.lost_connections,
        "received": load.received,
        "latency": quantiles(sorted(load.latencies)),
        "views": len(views),
        "answered": len(answered),
        "view": quantiles(answered),
    }
    print(json.dumps(result), flush=True)


def quantiles(values: list[float]) -> list[float] | None:
    """p50, p99 and the greatest; None of nothing."""
    if not values:
        return None
    return [values[len(values) // 2], values[len(values) * 99 // 100], values[-1]]


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(main())
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())
