"""How an exchange ends: once, for all who know it, and with nothing of it left."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import pytest

from asyncwsgi import AsyncWSGIError, Server
from asyncwsgi.access_log import AccessEntry, AccessLogger
from asyncwsgi.from_thread import create_task
from asyncwsgi.requests.request_body import RequestBody
from tests.apps import hello
from tests.client import TIMEOUT
from tests.conftest import Serve
from tests.http.helpers import ClientOf, Gate, Paths

if TYPE_CHECKING:
    from wsgiref.types import StartResponse


def test_a_failing_access_logger_holds_up_nothing(serve: Serve, client_of: ClientOf) -> None:
    # An exchange that never ends would hold its connection, and the server when it stops.
    class FailingLogger(AccessLogger):
        def is_enabled(self) -> bool:
            return True

        def log(self, entry: AccessEntry) -> None:
            raise RuntimeError("disk full")

    class FailingServer(Server):
        access_logger_class = FailingLogger

    server = serve(hello, server_class=FailingServer, threads=1)
    client = client_of(server)
    assert client.get(Connection="close").status == 200
    assert client.is_closed()
    second = client_of(server)
    assert second.get().status == 200
    assert second.get().status == 200


def test_an_abandoned_thread_that_writes_late_is_told_that_it_is_over(
    serve: Serve, client_of: ClientOf
) -> None:
    # A response that has ended is the next one's: not a byte may follow.
    outcome: list[Exception | None] = []
    threads: list[threading.Thread] = []
    gate = threading.Event()

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", [("Content-Type", "text/plain")])

        def write_late() -> None:
            assert gate.wait(TIMEOUT)
            try:
                write(b"late")
                outcome.append(None)
            except Exception as error:
                outcome.append(error)

        if environ["PATH_INFO"] == "/late":
            threads.append(threading.Thread(target=write_late))
            threads[-1].start()
        return [b"spam"]

    client = client_of(serve(app, validate=False))
    assert client.get("/late").body == b"spam"
    gate.set()
    threads[0].join(TIMEOUT)
    assert isinstance(outcome[0], AsyncWSGIError)
    assert client.get().body == b"spam"


def test_a_thread_that_reads_late_is_told_that_it_is_over(
    serve: Serve, client_of: ClientOf
) -> None:
    # Nobody feeds the body any more: the thread would wait for ever.
    outcome: list[BaseException | bytes] = []
    threads: list[threading.Thread] = []
    reads = threading.Event()

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        stream = environ["wsgi.input"]

        def read_late() -> None:
            reads.set()
            try:
                outcome.append(stream.read(8))
            except OSError as error:
                outcome.append(error)

        threads.append(threading.Thread(target=read_late))
        threads[-1].start()
        assert reads.wait(TIMEOUT)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"spam"]

    client = client_of(serve(app, validate=False, body_buffer_size=1))
    client.request("POST", Content_Length="8")
    client.send(b"eggs")
    assert client.reply().body == b"spam"
    threads[0].join(TIMEOUT)
    assert isinstance(outcome[0], OSError)


class Mark:
    """Put into the environ, to see how long that lives."""


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Cycles stay where they are."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
def test_nothing_keeps_a_request_alive_when_it_is_over(serve: Serve, client_of: ClientOf) -> None:
    remains: list[weakref.ref[Mark]] = []
    paths = Paths()

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "POST":
            mark = Mark()
            remains.append(weakref.ref(mark))
            environ["mark"] = mark
        return paths(environ, start_response)

    client = client_of(serve(app, validate=False, threads=1))
    for _ in range(10):
        assert client.post(body=b"x" * 100_000).status == 200
    assert client.get().status == 200  # by now the thread has let the last one go
    assert [remain() for remain in remains] == [None] * 10


@pytest.mark.usefixtures("no_collector")
def test_a_background_task_keeps_neither_the_body_nor_the_environ_of_its_request(
    serve: Serve, client_of: ClientOf
) -> None:
    remains: list[weakref.ref[Any]] = []
    futures: list[Future[bool]] = []

    class MarkedBody(RequestBody):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            remains.append(weakref.ref(self))

    class MarkingServer(Server):
        request_body_class = MarkedBody

    async def last(go_on: asyncio.Event) -> bool:
        return await go_on.wait()

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "POST":
            environ["mark"] = mark = Mark()
            remains.append(weakref.ref(mark))
            futures.append(create_task(last(asyncio.Event())))
        return hello(environ, start_response)

    server = serve(app, validate=False, threads=1, server_class=MarkingServer)
    client = client_of(server)
    client.post(body=b"x" * 100_000)
    client.get()  # by now the thread has let the first one go
    assert [remain() for remain in remains] == [None, None]
    assert not futures[0].done()
    futures[0].cancel()


def test_a_draining_server_says_that_it_closes(serve: Serve, client_of: ClientOf) -> None:
    gate = Gate()
    server = serve(gate)
    client, idle = client_of(server), client_of(server)
    client.request(target="/held")
    gate.wait_until_entered()
    stopping = threading.Thread(target=server.close)
    stopping.start()
    assert idle.is_closed()  # so draining has begun
    gate.open()
    assert client.reply().header("Connection") == "close"
    assert client.is_closed()
    stopping.join(TIMEOUT)
