"""The load: clients with a cookie and a kept connection each, asking for one kind after another."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.storm.application import BLOCKS, KINDS, STREAMS
from tests.storm.bodies import body_of, choose_size, chunked
from tests.storm.crossing import GROUP

LEAVES = 0.03
"""Of the requests for streams: those whose client leaves behind the first block."""
FRAMINGS = ("", "Content-Length", "Transfer-Encoding")
"""Headers that say where the body of a request ends; a third of them have none."""


@dataclass
class Load:
    """What the clients have done and found.

    Args:
        port: of the server on this machine.
        requests: how many there are in all.
        clients: how many there are at a time.
        seed: of what they ask for.
        few_are_left: called when the clients that are left may not complete a group.
        few: how many those are.
    """

    port: int
    requests: int
    clients: int
    seed: int
    few_are_left: Callable[[], None]
    few: int = 3 * GROUP
    mix_ups: list[str] = field(default_factory=list)
    answered: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)
    """Requests whose client did not wait for the end."""
    framings: Counter[str] = field(default_factory=Counter)
    """How many requests had a body of which framing."""
    _active: int = 0

    async def run(self) -> None:
        self._active = self.clients
        async with asyncio.TaskGroup() as tasks:
            for number in range(self.clients):
                tasks.create_task(self._run_client(number))

    async def _run_client(self, number: int) -> None:
        choice = random.Random(f"{self.seed} {number}")
        client = StormClient(self.port, str(number))
        try:
            for turn in range(self.requests // self.clients):
                kind = choice.choice(KINDS)
                leaves = kind in STREAMS and choice.random() < LEAVES
                request = f"{kind}/{number}/{turn}"
                framing = choice.choice(FRAMINGS)
                self.framings[framing] += 1
                size = choose_size(choice) if framing else 0
                blocks = await client.ask(kind, request, framing, size, leaves=leaves)
                (self.left if leaves else self.answered).add(request)
                expected = [request] * (1 if leaves else BLOCKS)
                if blocks != expected or client.visits != turn + 1:
                    self.mix_ups.append(f"{request} got {blocks}, visit {client.visits}")
        finally:
            client.close()
            self._active -= 1
            if self._active < self.few:
                self.few_are_left()


class StormClient:
    """One client, on one connection until it leaves."""

    def __init__(self, port: int, name: str) -> None:
        self.visits = 0
        """As the session said in the last response."""
        self._port = port
        self._name = name
        self._cookie = ""
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(
        self, kind: str, request: str, framing: str, size: int, *, leaves: bool
    ) -> list[str]:
        """One request; the lines of its response, or the first if the client leaves then."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        method, headers, body = "GET", "", b""
        if framing:
            method, body = "POST", body_of(request, size)
            headers = f"{framing}: {len(body) if framing == 'Content-Length' else 'chunked'}\r\n"
        if framing == "Transfer-Encoding":
            body = chunked(body, random.Random(request))
        head = (
            f"{method} /{kind}?id={request}&client={self._name} HTTP/1.1\r\nHost: test\r\n"
            f"X-Id: {request}\r\nX-Size: {size}\r\n{headers}Cookie: {self._cookie}\r\n\r\n"
        ).encode()
        await self._send(writer, head + body, len(head) + len(body) // 2)
        fields = await self._read_head(reader)
        if leaves:
            await reader.readline()
            first = (await reader.readline()).decode().strip()
            self.close()
            return [first]
        if "content-length" in fields:
            return (await reader.readexactly(int(fields["content-length"]))).decode().split()
        assert fields["transfer-encoding"] == "chunked"
        lines = []
        while size := int(await reader.readline(), 16):
            lines += (await reader.readexactly(size)).decode().split()
            await reader.readline()
        await reader.readline()
        return lines

    async def _send(self, writer: asyncio.StreamWriter, data: bytes, first: int) -> None:
        """Bodies arrive in parts, those of other requests between them."""
        writer.write(data[:first])
        await writer.drain()
        await asyncio.sleep(0)
        writer.write(data[first:])
        await writer.drain()

    async def _read_head(self, reader: asyncio.StreamReader) -> dict[str, str]:
        status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        assert status == "HTTP/1.1 200 OK", status
        headers = dict(line.lower().split(": ", 1) for line in lines if line)
        # Headers keep their case here: the cookie is signed.
        for line in lines:
            name, _, value = line.partition(": ")
            if name.lower() == "set-cookie":
                self._cookie = value.partition(";")[0]
        self.visits = int(headers["x-visits"])
        return headers

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
