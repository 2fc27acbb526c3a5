"""What a request leaves is gone at once, however it ended: no cycle waits for the collector."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from asyncwsgi import Server, ServerThread, stream
from asyncwsgi.errors import WorkersBusy
from asyncwsgi.frontends.http import HttpConnection
from asyncwsgi.requests.exchange import Exchange
from asyncwsgi.requests.request_body import RequestBody
from asyncwsgi.requests.worker_threads import Job, WorkerThreads
from tests.client import TIMEOUT, Client, connect
from tests.http.helpers import come_round
from tests.loops import LOOPS

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

    from asyncwsgi.config import Loop

PART = b"spam"
"""Fills the buffer, so that the application is called for it; what comes before does not."""
SIZED = b"POST %b HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"POST %b HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
EXPECTING = (
    b"POST /read HTTP/1.1\r\nHost: test\r\nContent-Length: 8\r\nExpect: 100-continue\r\n\r\n"
)
TOO_MUCH = b"30\r\n" + bytes(48) + b"\r\n"


async def endless() -> AsyncIterator[bytes]:
    yield b"first\n"
    while True:
        yield bytes(1024)


class Stage:
    """A server that counts what is alive of what it has made, and one client of it."""

    def __init__(self, loop: Loop) -> None:
        self._remains = remains = []  # type: list[weakref.ref[Any]]
        self.entered = threading.Semaphore(0)

        class CountedConnection(HttpConnection):
            def __init__(self, *args: Any) -> None:
                super().__init__(*args)
                remains.append(weakref.ref(self))

        class CountedExchange(Exchange):
            def __init__(self, *args: Any) -> None:
                super().__init__(*args)
                remains.append(weakref.ref(self))

        class CountedBody(RequestBody):
            def __init__(self, *args: Any, **options: Any) -> None:
                super().__init__(*args, **options)
                remains.append(weakref.ref(self))

        class BusyThreads(WorkerThreads):
            def submit(self, job: Job) -> None:
                if isinstance(job, Exchange) and job.target == "/busy":
                    raise WorkersBusy("too many wait")
                super().submit(job)

        class CountingServer(Server):
            connection_class = CountedConnection
            exchange_class = CountedExchange
            request_body_class = CountedBody
            worker_threads_class = BusyThreads

        self.server = ServerThread(
            CountingServer(
                self._application, port=0, loop=loop, threads=1, access_log=False,
                body_buffer_size=len(PART), max_body_size=40, body_timeout=0.2, drain_timeout=0.2,
                stream_chunked_bodies=True,
            )
        )  # fmt: skip
        self.server.start()
        self.client = connect(self.server.addresses[0])

    def _application(
        self, environ: dict[str, Any], start_response: StartResponse
    ) -> Iterable[bytes]:
        self.entered.release()
        if environ["PATH_INFO"] == "/read":
            environ["wsgi.input"].read()
        if environ["PATH_INFO"].startswith("/socket"):
            sock = environ["werkzeug.socket"]
            if environ["PATH_INFO"] == "/socket/spoken":
                sock.sendall(b"spoken")
            sock.recv(1)
        start_response("200 OK", [("Content-Type", "text/plain")])
        if environ["PATH_INFO"] == "/stream":
            return stream(endless())
        return [b"Hello, world!"]

    def send(self, data: bytes) -> None:
        """Send, and wait until the server has read it."""
        self.client.send(data)
        come_round(self.server)

    def enter(self, data: bytes) -> None:
        """Send, and wait until the application is called."""
        self.client.send(data)
        assert self.entered.acquire(timeout=TIMEOUT)

    def alive(self) -> list[Any]:
        """What is alive some time after the client has left."""
        self.client.close()
        # By now the one thread has let go of the last request.
        with connect(self.server.addresses[0]) as other:
            assert other.get(Connection="close").status == 200
            other.read_all()
        began = time.monotonic()
        while alive := [remain() for remain in self._remains if remain() is not None]:
            if time.monotonic() - began > TIMEOUT:
                return alive
            del alive
            come_round(self.server)
        assert self._remains
        return []


@pytest.fixture(params=LOOPS)
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    stage = Stage(request.param)
    gc.collect()
    gc.disable()
    try:
        yield stage
    finally:
        gc.enable()
        stage.client.close()
        stage.server.close()


def hear(client: Client) -> None:
    """Wait for the server's end of the connection."""
    with contextlib.suppress(ConnectionResetError):
        client.read_all()


def end(client: Client) -> None:
    client.half_close()
    hear(client)


def too_much(client: Client) -> None:
    client.send(TOO_MUCH)
    hear(client)


def malformed(client: Client) -> None:
    client.send(b"no size\r\n")
    hear(client)


Part = Callable[[Client], None]
IN_BODY = pytest.mark.parametrize(
    "part",
    [
        pytest.param(Client.reset, id="reset"),
        pytest.param(end, id="end"),
        pytest.param(too_much, id="413"),
        pytest.param(malformed, id="400"),
        pytest.param(hear, id="408"),
    ],
)


@IN_BODY
def test_of_an_upload_that_breaks_off_before_the_application_is_called(
    stage: Stage, part: Part
) -> None:
    stage.send(CHUNKED % b"/")
    part(stage.client)
    assert stage.alive() == []


@IN_BODY
def test_of_an_upload_that_breaks_off_while_the_application_reads_it(
    stage: Stage, part: Part
) -> None:
    stage.enter(CHUNKED % b"/read" + b"4\r\n" + PART + b"\r\n")
    part(stage.client)
    assert stage.alive() == []


@IN_BODY
def test_of_an_upload_that_breaks_off_when_it_was_answered(stage: Stage, part: Part) -> None:
    stage.send(CHUNKED % b"/" + b"4\r\n" + PART + b"\r\n")
    assert stage.client.reply().status == 200
    part(stage.client)
    assert stage.alive() == []


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(b"spam\r\n\r\n", 400, id="no request"),
        pytest.param(SIZED % (b"/", 41), 413, id="an upload of more than may be"),
        pytest.param(SIZED % (b"/busy", 4) + PART, 503, id="one too many"),
    ],
)
def test_of_a_request_that_is_refused(stage: Stage, data: bytes, status: int) -> None:
    stage.client.send(data)
    assert stage.client.reply().status == status
    assert stage.alive() == []


@pytest.mark.parametrize("is_read", [False, True], ids=["not asked for", "asked for"])
def test_of_an_upload_that_waits_to_be_asked_for(stage: Stage, is_read: bool) -> None:
    stage.enter(EXPECTING if is_read else EXPECTING.replace(b"/read", b"/"))
    assert stage.client.read_line() == b"HTTP/1.1 %s\r\n" % (
        b"100 Continue" if is_read else b"200 OK"
    )
    stage.client.reset()
    assert stage.alive() == []


def test_of_a_stream_whose_client_leaves(stage: Stage) -> None:
    stage.client.request(target="/stream")
    stage.client.read(1000)
    stage.client.reset()
    assert stage.alive() == []


@pytest.mark.parametrize("target", ["/socket", "/socket/spoken"])
@pytest.mark.parametrize(
    "leave",
    [
        pytest.param(Client.reset, id="reset"),
        pytest.param(end, id="end"),
        pytest.param(lambda client: client.send(b"x"), id="last byte"),
    ],
)
def test_of_a_socket_that_was_taken(
    stage: Stage, target: str, leave: Callable[[Client], None]
) -> None:
    stage.enter(b"GET %b HTTP/1.1\r\nHost: test\r\n\r\n" % target.encode())
    if target == "/socket/spoken":
        assert stage.client.read(6) == b"spoken"
    leave(stage.client)
    assert stage.alive() == []
