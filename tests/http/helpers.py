"""What tests over sockets share: applications that tell what they saw, ways to stage a stall."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from asyncwsgi import Server
from asyncwsgi.frontends.http import HttpConnection
from asyncwsgi.requests.worker_threads import Job, WorkerThreads
from asyncwsgi.running import ServerThread
from asyncwsgi.testing import LiveServer
from tests.client import TIMEOUT, Client
from tests.http.wire import PLAIN, Headers

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication

Environ = dict[str, Any]
Application = Callable[..., Iterable[bytes]]
Read = Callable[[Any], object]
ClientOf = Callable[[LiveServer], Client]
MIB = 1024 * 1024

leavings = pytest.mark.parametrize("leave", [Client.close, Client.reset], ids=["end", "reset"])
"""The two ways in which a client leaves."""
TURNS = 20
"""Rounds of the server's loop after which it has done all that it is going to do."""


def wait_for(event: threading.Event) -> None:
    """Wait for what another thread must do."""
    assert event.wait(TIMEOUT), "it never happened"


def take(semaphore: threading.Semaphore, count: int = 1) -> None:
    """Wait for something that another thread must do `count` times."""
    for _ in range(count):
        assert semaphore.acquire(timeout=TIMEOUT), "it never happened"


def answer(
    blocks: Callable[[], Any], headers: Headers = PLAIN, status: str = "200 OK"
) -> WSGIApplication:
    """An application that returns what `blocks` makes."""

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response(status, headers)
        body: Iterable[bytes] = blocks()
        return body

    return application


class Recorder:
    """Keeps every environ it is called with; answers with an empty body."""

    def __init__(self) -> None:
        self.environs: list[Environ] = []

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        self.environs.append(environ)
        start_response("200 OK", PLAIN)
        return []


class Reads:
    """Does something with ``wsgi.input`` and keeps what comes of it."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self.entered = threading.Semaphore(0)
        self.result: object = None
        self.error: BaseException | None = None

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        self.entered.release()
        try:
            self.result = self._read(environ["wsgi.input"])
        except Exception as error:
            self.error = error
            raise
        start_response("200 OK", PLAIN)
        return []


class Paths:
    """Answers with the path that was asked for; remembers the requests."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        path: str = environ["PATH_INFO"]
        self.calls.append(f"{environ['REQUEST_METHOD']} {path}")
        body = path.encode("latin-1")
        start_response(
            "200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
        )
        return [body]


class Gate:
    """Holds requests for ``/held`` inside the application; passes all others at once."""

    def __init__(self, application: Application | None = None) -> None:
        self._application = application or Paths()
        self._release = threading.Event()
        self.entered = threading.Semaphore(0)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"].startswith("/held"):
            self.entered.release()
            assert self._release.wait(TIMEOUT), "the test never opened the gate"
        return self._application(environ, start_response)

    def wait_until_entered(self) -> None:
        """Wait until one more request is held."""
        assert self.entered.acquire(timeout=TIMEOUT), "no request reached the application"

    def open(self) -> None:
        self._release.set()


class Blocks:
    """Streams `total` bytes in blocks; counts how many were taken, and its closings.

    Not endless, so that a server without back-pressure fails the test and not the machine.
    """

    def __init__(self, total: int, block_size: int = 16 * 1024) -> None:
        self._block = b"x" * block_size
        self._total = total
        self.produced = 0
        self.closings = 0
        self.was_closed = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return self

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self.produced >= self._total:
            raise StopIteration
        self.produced += len(self._block)
        return self._block

    def close(self) -> None:
        self.closings += 1
        self.was_closed.set()


class Clock:
    """The clock by which servers keep their deadlines: it goes on when the test says so.

    In the place of the server's own (`asyncwsgi.clock`), from before its start.
    """

    def __init__(self) -> None:
        self._now = time.monotonic()

    def monotonic(self) -> float:
        return self._now

    def let_pass(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self._now += seconds

    def pass_time(self, server: LiveServer, seconds: float) -> None:
        """Let `seconds` pass, and `server` act on deadlines; it has read all that was sent."""
        come_round(server)
        self.let_pass(seconds)
        ticked = threading.Event()

        def tick() -> None:
            server.server._registry.tick(self._now)
            ticked.set()

        server.started.result().call_soon_threadsafe(tick)
        assert ticked.wait(TIMEOUT), "the server's loop does not come round"


def come_round(server: ServerThread) -> None:
    """Have the loop of `server` come round many times."""

    async def turns() -> None:
        for _ in range(TURNS):
            await asyncio.sleep(0)

    asyncio.run_coroutine_threadsafe(turns(), server.started.result()).result(TIMEOUT)


def until(server: ServerThread, condition: Callable[[], bool]) -> None:
    """Have the loop come round until a thread has done what it is about to do."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < TIMEOUT, "it never happened"
        come_round(server)


class Witness:
    """Runs an application part and remembers what it raised."""

    def __init__(self) -> None:
        self.raised: BaseException | None = None
        self.is_done = threading.Event()

    def run(self, part: Callable[[], Any]) -> Any:
        try:
            return part()
        except BaseException as error:
            self.raised = error
            raise
        finally:
            self.is_done.set()

    def wait(self) -> BaseException | None:
        assert self.is_done.wait(TIMEOUT), "the application was never told"
        return self.raised


def fill(client: Client, data: bytes, turn: Callable[[], object], *, limit: int) -> int:
    """Send `data` over and over until the server stops reading; tells how many bytes it took.

    The loop reads every socket that has something on each of its rounds. So, if `turn` has taken
    it round many times and there is still no room to send, the server has stopped reading this
    connection.
    """
    sent = turns = 0
    client.sock.setblocking(False)
    while turns < TURNS:
        assert sent < limit, f"the server reads on and on: {sent} bytes"
        try:
            sent += client.sock.send(memoryview(data)[sent % len(data) :])
            turns = 0
        except BlockingIOError:
            turn()
            turns += 1
    client.sock.setblocking(True)
    client.sock.settimeout(TIMEOUT)
    return sent


def nothing_came(client: Client, turn: Callable[[], object]) -> bool:
    """Whether the server sent nothing to `client` while `turn` took its loop round many times."""
    for _ in range(TURNS):
        turn()
    client.sock.setblocking(False)
    try:
        client.sock.recv(1)
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    finally:
        client.sock.setblocking(True)
        client.sock.settimeout(TIMEOUT)
    return False


def watched() -> tuple[type[Server], threading.Event]:
    """A server, and an event that is set when one of its connections has ended on its side."""
    lost = threading.Event()

    class WatchedConnection(HttpConnection):
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            lost.set()

    class WatchedServer(Server):
        connection_class = WatchedConnection

    return WatchedServer, lost


def counting_submissions() -> tuple[type[Server], threading.Semaphore]:
    """A server, and a semaphore that counts the requests that it gave to its worker threads."""
    submitted = threading.Semaphore(0)

    class CountingThreads(WorkerThreads):
        def submit(self, job: Job) -> None:
            super().submit(job)
            submitted.release()

    class CountingServer(Server):
        worker_threads_class = CountingThreads

    return CountingServer, submitted


def listen(caplog: pytest.LogCaptureFixture) -> None:
    """Have `caplog` note every line of the server from now on, which is after its start."""
    caplog.set_level(logging.INFO, "asyncwsgi.server")


def messages(records: list[logging.LogRecord]) -> list[str]:
    """What was logged, without the levels; a traceback makes the message longer by itself."""
    return [
        record.getMessage() + (" with a traceback" if record.exc_info else "") for record in records
    ]


def passed(clock: Clock, server: LiveServer, seconds: float) -> bool:
    """Let time pass."""
    clock.pass_time(server, seconds)
    return True


def sockets() -> int:
    """How many descriptors of this process are sockets."""
    names = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]  # noqa: PTH208
    links = [os.readlink(name) for name in names if os.path.islink(name)]  # noqa: PTH114,PTH115
    return sum(link.startswith("socket:") for link in links)
