"""examples/redis_events.py: two servers of two workers behind nginx, with a Redis of their own.

``REDIS_EVENTS_CLIENTS=500 pytest tests/examples/test_redis_events.py`` has more clients.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest

from tests.client import connect
from tests.deployment.conftest import shared as shared
from tests.deployment.neighbours import nginx, program
from tests.doors.conftest import Start
from tests.doors.conftest import start as start
from tests.doors.processes import Process, address_of
from tests.examples.programs import EXAMPLES

CLIENTS = int(os.environ.get("REDIS_EVENTS_CLIENTS", "100"))
SERVERS = WORKERS = 2
LAST = "the last"


@dataclass
class Listener:
    """A client as a browser is one: it connects again, and says what it has got."""

    address: tuple[str, int]
    is_there: asyncio.Event = field(default_factory=asyncio.Event)
    id: str = ""
    got: list[tuple[str, str]] = field(default_factory=list)
    """The id and the data of each event."""
    connections: int = 0

    async def listen(self) -> None:
        while not self.got or self.got[-1][1] != LAST:
            reader, writer = await asyncio.open_connection(*self.address)
            self.connections += 1
            told = f"Last-Event-ID: {self.id}\r\n" if self.id else ""
            writer.write(f"GET /events HTTP/1.1\r\nHost: test\r\n{told}\r\n".encode())
            try:
                status = await reader.readline()
                assert b" 200 " in status, status
                with suppress(ConnectionError):
                    await self._read_events(reader)
            finally:
                writer.close()

    async def _read_events(self, reader: asyncio.StreamReader) -> None:
        data = None
        id_ = self.id
        async for line in reader:
            name, _, value = line.decode().rstrip("\r\n").partition(": ")
            if name == "id":
                id_ = value
            elif name == "data":
                data = value
            elif line == b"\n":  # the end of an event, and not that of a chunk
                self.id = id_
                if id_:
                    self.is_there.set()
                if data is not None:
                    self.got.append((id_, data))
                    if data == LAST:
                        return
                data = None


class Listeners(threading.Thread):
    """Many of them, on a loop of their own."""

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__()
        self._address = address
        self.all: list[Listener] = []
        self.are_there = threading.Event()
        self.fault: BaseException | None = None

    def run(self) -> None:
        try:
            asyncio.run(self._listen())
        except BaseException as error:
            self.fault = error
            self.are_there.set()

    async def _listen(self) -> None:
        self.all += [Listener(self._address) for _ in range(CLIENTS)]
        async with asyncio.TaskGroup() as tasks:
            for each in self.all:
                tasks.create_task(each.listen())
            for each in self.all:
                await each.is_there.wait()
            self.are_there.set()


@pytest.fixture
def redis_url(start: Start, shared: Path) -> str:
    """A Redis that keeps nothing on disk and listens on a Unix socket alone."""
    path = shared / "redis.sock"
    process = start(
        *("--port", "0", "--unixsocket", str(path), "--save", "", "--logfile", "/dev/stderr"),
        directory=shared,
        executable=program("redis-server"),
    )
    process.read_until("ready to accept connections")
    return f"unix://{path}"


@contextmanager
def served(start: Start, shared: Path, redis_url: str) -> Iterator[tuple[list[Process], int]]:
    """The servers, and the port of nginx in front of them."""
    servers = [
        start(
            *("-m", "asyncwsgi", "--port", "0", "--workers", str(WORKERS), "--no-access-log"),
            *("--lifespan", "redis_events:lifespan", "redis_events:app"),
            directory=EXAMPLES,
            environment={"REDIS_URL": redis_url},
        )
        for _ in range(SERVERS)
    ]
    urls = [server.urls()[0] for server in servers]
    for server in servers:
        for _ in range(WORKERS):
            server.read_until(" serves\n")
    first = address_of(urls[0])
    assert not isinstance(first, str)
    # A browser that closes its tab, or a worker that is killed, is no reason to shut out a server.
    lines = "".join(f"server {urlsplit(url).netloc} max_fails=0;" for url in urls)
    changes = [
        (f"server {first[0]}:{first[1]};", lines),
        ("worker_connections 1024;", "worker_connections 4096;"),
        # It has a line for each stream that a replacement has ended, which nobody reads.
        ("access.log;", f"access.log; error_log {shared}/error.log;"),
    ]
    with nginx(shared, first, *changes) as proxy:
        yield servers, proxy.port


def publish(port: int, text: str) -> None:
    with connect(("127.0.0.1", port)) as client:
        kind = "application/x-www-form-urlencoded"
        reply = client.post("/say", urlencode({"text": text}).encode(), Content_Type=kind)
    assert reply.status == 204, reply


def replace_workers(server: Process) -> None:
    server.send_signal(signal.SIGHUP)
    for _ in range(WORKERS):
        server.read_until("stopping; ")


def test_every_event_reaches_every_client_once_and_in_order_over_replacements(
    start: Start, shared: Path, redis_url: str
) -> None:
    with served(start, shared, redis_url) as (servers, port):
        listeners = Listeners(("127.0.0.1", port))
        listeners.start()
        assert listeners.are_there.wait(120)
        published = 0
        for server in servers:
            replacing = threading.Thread(target=replace_workers, args=(server,))
            replacing.start()
            while replacing.is_alive():
                publish(port, str(published))
                published += 1
        publish(port, LAST)
        listeners.join(120)
        assert listeners.fault is None
        assert not listeners.is_alive()
    expected = [*map(str, range(published)), LAST]
    for listener in listeners.all:
        assert [data for _, data in listener.got] == expected
    assert len({tuple(listener.got) for listener in listeners.all}) == 1  # ids, too
    # All have lost a connection with the worker that held it, and come to another one.
    assert all(listener.connections > 1 for listener in listeners.all)
    assert all(re.fullmatch(r"\d+-\d+", id_) for id_, _ in listeners.all[0].got)
