"""The load of `ws.py`, in a process of its own: `ws_client.py HOST PORT PATH`.

Does what the lines of standard input say, and answers each by a line of JSON:

``open COUNT``
    open WebSockets until there are so many, or none has been opened for `PATIENCE` seconds;
``talk COUNT SECONDS INTERVAL``
    so many of them say something each interval, spread over it; with an interval of 0 each speaks
    again as soon as it is answered.

Every answer is compared with what was said, byte by byte.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import sys
import time
from array import array
from typing import Any, cast

PATIENCE = 15.0
AT_ONCE = 50
"""Handshakes that may be under way."""
SIZE = 64
"""Bytes of a message; shown in one byte of a frame's head, as those below 126 are."""
TEXT, PING = 0x81, 0x89
MASK = 0x80


class Tally:
    """What has come to all clients."""

    def __init__(self) -> None:
        self.opened = 0
        self.lost = 0
        self.wrong = 0
        self.ends_at = 0.0
        self.answered = 0
        self.latencies = array("d")


class Client(asyncio.Protocol):
    """One WebSocket."""

    def __init__(self, number: int, path: str, tally: Tally, opened: asyncio.Future[None]) -> None:
        self._number = number
        self._path = path
        self._tally = tally
        self._opened: asyncio.Future[None] | None = opened
        self._received = b""
        self._count = 0
        self._said = b""
        self._said_at = 0.0
        self._speaks_on = False
        self.is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        key = base64.b64encode(os.urandom(16)).decode()
        self._transport.write(
            f"GET {self._path} HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        received = self._received + data
        if self._opened is not None:
            head, separator, received = received.partition(b"\r\n\r\n")
            if not separator:
                self._received = head
                return
            if not head.startswith(b"HTTP/1.1 101 "):
                self._transport.abort()
                return
            self.is_open = True
            self._tally.opened += 1
            self._opened.set_result(None)
            self._opened = None
        # No frame of these servers is longer than 125 bytes here.
        while len(received) >= 2 and len(received) >= (size := 2 + received[1]):
            self._take(received[0], received[2:size])
            received = received[size:]
        self._received = received

    def _take(self, kind: int, payload: bytes) -> None:
        if kind == PING:
            self._transport.write(frame(0x8A, payload))
            return
        tally = self._tally
        if kind != TEXT or payload != self._said:
            tally.wrong += 1
            return
        now = time.monotonic()
        self._said = b""
        if now <= tally.ends_at:
            tally.answered += 1
            tally.latencies.append(now - self._said_at)
            if self._speaks_on:
                self._say(now)

    def speak(self, *, on: bool) -> None:
        """Say something, unless the last thing was not answered yet.

        Args:
            on: again, as soon as it is answered.
        """
        self._speaks_on = on
        if self.is_open and not self._said:
            self._say(time.monotonic())

    def _say(self, now: float) -> None:
        self._count += 1
        self._said_at = now
        self._said = b"%d of %d " % (self._count, self._number)
        self._said = self._said.ljust(SIZE, b".")
        self._transport.write(frame(TEXT, self._said))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._opened is not None and not self._opened.done():
            self._opened.cancel()
        elif self.is_open:
            self._tally.lost += 1
        self.is_open = False


def frame(kind: int, payload: bytes) -> bytes:
    """As clients send it (RFC 6455 5.3): masked."""
    size = len(payload)
    key = os.urandom(4)
    mask = (key * (size // 4 + 1))[:size]
    masked = int.from_bytes(payload) ^ int.from_bytes(mask)
    return bytes((kind, MASK | size)) + key + masked.to_bytes(size)


class Load:
    """All clients.

    Args:
        host, port, path: of what they open.
    """

    def __init__(self, host: str, port: int, path: str) -> None:
        self._host, self._port, self._path = host, port, path
        self._tally = Tally()
        self._clients: list[Client] = []

    async def open(self, count: int) -> dict[str, Any]:
        """Open WebSockets until there are so many; give up on those that do not get on."""
        loop = asyncio.get_running_loop()
        tally, places = self._tally, asyncio.Semaphore(AT_ONCE)
        began = progress_at = time.monotonic()

        async def connect(number: int) -> None:
            nonlocal progress_at
            async with places:
                opened = loop.create_future()
                client = Client(number, self._path, tally, opened)
                await loop.create_connection(lambda: client, self._host, self._port)
                await opened
                self._clients.append(client)
                progress_at = time.monotonic()

        tasks = [asyncio.create_task(connect(n)) for n in range(len(self._clients), count)]
        # What is waited for is also that nothing happens for a while.
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0.05)
            if time.monotonic() - progress_at > PATIENCE:
                break
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return {"open": self._open_count(), "seconds": progress_at - began}

    async def talk(self, count: int, seconds: float, interval: float) -> dict[str, Any]:
        """Let so many speak for so long."""
        tally = self._tally
        talkers = [client for client in self._clients if client.is_open][:count]
        tally.answered, tally.latencies = 0, array("d")
        began = time.monotonic()
        tally.ends_at = began + seconds
        if not interval:
            for talker in talkers:
                talker.speak(on=True)
            await asyncio.sleep(seconds)
        else:
            said = 0
            while (now := time.monotonic()) < tally.ends_at:
                due = int((now - began) / interval * len(talkers))
                while said < due:
                    talkers[said % len(talkers)].speak(on=False)
                    said += 1
                await asyncio.sleep(0.001)
        latencies = sorted(tally.latencies)
        await asyncio.sleep(1)  # what is under way comes in, and does not count
        return {
            "talkers": len(talkers),
            "answered": len(latencies),
            "latency": [latencies[len(latencies) * p // 100] for p in (50, 99)]
            if latencies
            else [],
            "open": self._open_count(),
            "lost": tally.lost,
            "wrong": tally.wrong,
        }

    def _open_count(self) -> int:
        return sum(client.is_open for client in self._clients)


async def main() -> None:
    host, port, path = sys.argv[1:]
    load = Load(host, int(port), path)
    while line := await asyncio.to_thread(sys.stdin.readline):
        command, *words = line.split()
        if command == "open":
            answer = await load.open(int(words[0]))
        else:
            answer = await load.talk(int(words[0]), float(words[1]), float(words[2]))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        try:
            import uvloop
        except ImportError:
            asyncio.run(main())
        else:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(main())
