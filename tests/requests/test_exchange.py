"""One request on its worker thread: one thread, one Context, and no failure that is lost."""

from __future__ import annotations

import contextvars
import gc
import threading
import weakref
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from asyncwsgi import AsyncWSGIError, Server
from asyncwsgi.access_log import AccessEntry, AccessLogger
from tests.apps import hello
from tests.client import TIMEOUT
from tests.conftest import Serve
from tests.http.helpers import ClientOf, Gate, Paths, messages

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


class Stages:
    """Notes thread and context at each stage of a request."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self.values: list[str] = []
        self._blocks = iter([b"one", b"two"])

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        self._note()
        variable.set("set")
        start_response("200 OK", [("Content-Type", "text/plain")])
        return self

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        self._note()
        return next(self._blocks)

    def close(self) -> None:
        self._note()

    def _note(self) -> None:
        self.threads.append(threading.current_thread())
        self.values.append(variable.get())


def test_call_iteration_and_close_share_one_thread_and_one_context(
    serve: Serve, client_of: ClientOf
) -> None:
    # Flask pops on close() what it pushed in the call, by contextvars tokens.
    stages = Stages()
    server = serve(stages)
    assert client_of(server).get().body == b"onetwo"
    server.close()
    assert len(set(stages.threads)) == 1
    assert stages.values == ["unset", "set", "set", "set", "set"]


def test_no_context_leaks_from_one_request_to_the_next_or_from_the_program(
    serve: Serve, client_of: ClientOf
) -> None:
    def tell(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        before = variable.get()
        variable.set("of a request")
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [before.encode()]

    variable.set("of the program")
    client = client_of(serve(tell, threads=1))
    assert [client.get().body for _ in range(3)] == [b"unset"] * 3


def error_app(error: BaseException, *, early: bool) -> Any:
    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/fail":
            yield from hello(environ, start_response)
            return
        if early:
            raise error
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "8")])
        yield b"spam"
        raise error

    return app


ERRORS = pytest.mark.parametrize(
    "error",
    [ValueError("eggs"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()],
    ids=lambda error: type(error).__name__,
)


@ERRORS
def test_a_failure_before_the_response_is_answered_with_500(
    serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    server = serve(error_app(error, early=True), validate=False, threads=1)
    client = client_of(server)
    reply = client.get("/fail")
    assert (reply.status, reply.header("Connection")) == (500, "close")
    assert b"eggs" not in reply.body
    assert client.is_closed()
    assert client_of(server).get().body == b"Hello, world!"
    assert messages(caplog.records) == ["GET /fail failed with a traceback"]


@ERRORS
def test_a_failure_after_the_head_cuts_the_response(
    serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    server = serve(error_app(error, early=False), validate=False, threads=1)
    client = client_of(server)
    client.request(target="/fail")
    assert client.read_all().endswith(b"\r\n\r\nspam")
    assert client_of(server).get().body == b"Hello, world!"
    assert messages(caplog.records) == ["GET /fail failed with a traceback"]


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


def test_nothing_keeps_a_request_alive_when_it_is_over(serve: Serve, client_of: ClientOf) -> None:
    class Mark:
        """Put into the environ, to see how long that lives."""

    remains: list[weakref.ref[Mark]] = []
    paths = Paths()

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "POST":
            mark = Mark()
            remains.append(weakref.ref(mark))
            environ["mark"] = mark
        return paths(environ, start_response)

    gc.disable()
    try:
        client = client_of(serve(app, validate=False, threads=1))
        for _ in range(10):
            assert client.post(body=b"x" * 100_000).status == 200
        assert client.get().status == 200  # by now the thread has let the last one go
        assert [remain() for remain in remains] == [None] * 10
    finally:
        gc.enable()


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
