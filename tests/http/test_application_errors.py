"""PEP 3333, "Error Handling": what becomes of an application that fails, and of its server."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
import weakref
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from asyncwsgi import serve_in_thread
from tests.apps import hello
from tests.client import connect
from tests.conftest import Serve
from tests.http.helpers import ClientOf, Environ, answer, wait_for
from tests.http.wire import GET, PLAIN, Headers, read_head, sized
from tests.requests.helpers import broken_logging

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication

BEGUN = [*PLAIN, ("Set-Cookie", "a=b"), ("Content-Length", "99")]


def fail_in_call(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    raise LookupError("secret")


def fail_after_start(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", BEGUN)
    raise LookupError("secret")


def fail_in_iteration(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", BEGUN)
    yield b""
    raise LookupError("secret")


def fail_to_start(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    return [b"secret"]


def fail_to_start_in_time(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    yield b"secret"
    start_response("200 OK", BEGUN)


def fail_to_send_a_header(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [*PLAIN, ("Set-Cookie", "secret\r\nX-Evil: 1")])
    return [b"secret"]


def fail_to_carry_on(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    with pytest.raises(AssertionError, match="Set-Cookie"):
        start_response("200 OK", [*PLAIN, ("Set-Cookie", "secret\r\nX-Evil: 1")])
    return [b"secret"]


def fail_to_send_bytes(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    text: Any = "secret"
    start_response("200 OK", BEGUN)
    return [text]


@pytest.mark.parametrize(
    ("application", "error"),
    [
        pytest.param(fail_in_call, LookupError, id="in the call"),
        pytest.param(fail_after_start, LookupError, id="after start_response"),
        pytest.param(fail_in_iteration, LookupError, id="in the iteration"),
        pytest.param(fail_to_start, AssertionError, id="no start_response"),
        pytest.param(fail_to_start_in_time, AssertionError, id="start_response too late"),
        pytest.param(fail_to_send_a_header, AssertionError, id="a header with a line end"),
        pytest.param(fail_to_carry_on, AssertionError, id="refused, and carries on"),
        pytest.param(fail_to_send_bytes, AssertionError, id="a block that is no bytes"),
    ],
)
def test_an_error_before_any_output_is_answered_with_500_and_logged_once(
    application: WSGIApplication,
    error: type[BaseException],
    serve: Serve,
    client_of: ClientOf,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Not validated: wsgiref.validate would refuse most of these in place of the server.
    client = client_of(serve(application, validate=False))
    reply = client.get("/spam?eggs")
    # Nothing of the response that was given up, nothing of what went wrong.
    assert (reply.status, reply.reason) == (500, "Internal Server Error")
    assert reply.body == b"500 Internal Server Error\n"
    names = {name.lower() for name, _ in reply.headers}
    assert names == {"connection", "content-length", "content-type", "date", "server"}
    assert reply.header("Connection") == "close"
    assert client.is_closed()
    [record] = caplog.records
    assert (record.name, record.levelname) == ("asyncwsgi.server", "ERROR")
    assert "GET /spam?eggs" in record.getMessage()
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], error)
    if error is LookupError:
        assert application.__name__ in caplog.text  # the application's own frame


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        pytest.param(PLAIN, b"4\r\nspam\r\n", id="chunked without the last chunk"),
        pytest.param(sized(9), b"spam", id="less than its length"),
    ],
)
def test_an_error_after_output_leaves_a_response_that_is_visibly_not_whole(
    headers: Headers,
    body: bytes,
    serve: Serve,
    client_of: ClientOf,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def blocks() -> Iterator[bytes]:
        yield b"spam"
        raise LookupError("secret")

    client = client_of(serve(answer(blocks, headers)))
    client.send(GET * 2)
    read_head(client)
    # Neither a last chunk, that would make it look whole, nor a reset, that might swallow it.
    assert client.read_all() == body
    [record] = caplog.records
    assert record.exc_info is not None
    assert repr(record.exc_info[1]) == "LookupError('secret')"


def test_an_error_after_output_resets_the_connection_of_http_1_0(
    serve: Serve, client_of: ClientOf
) -> None:
    # RFC 9112 8: what ends with the connection would seem to be whole.
    def fail_after_output(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", PLAIN)
        yield b"spam"
        raise LookupError("secret")

    client = client_of(serve(fail_after_output))
    client.send(b"GET / HTTP/1.0\r\n\r\n")
    with pytest.raises(ConnectionResetError):
        client.read_all()


class FailingClose:
    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"spam"])

    def close(self) -> None:
        raise self._error


class FailingIteration:
    def __init__(self, blocks: list[bytes], error: BaseException) -> None:
        self._blocks = blocks
        self._error = error

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._blocks:
            return self._blocks.pop()
        raise self._error


def fail_with(stage: str, error: BaseException) -> WSGIApplication:
    """An application that fails at the path ``/fail``."""

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/fail":
            return hello(environ, start_response)
        if stage == "call":
            raise error
        start_response("200 OK", PLAIN)
        if stage == "close":
            return FailingClose(error)
        return FailingIteration([b"spam"] if stage == "later iteration" else [], error)

    return application


# StopIteration in __next__ is the regular end; there it is no error.
NOT_EXCEPTIONS = [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError]
FAILURES = [
    *[
        pytest.param(stage, error, id=f"{error.__name__} in {stage}")
        for stage in ("call", "first iteration", "later iteration", "close")
        for error in NOT_EXCEPTIONS
    ],
    pytest.param("call", StopIteration, id="StopIteration in call"),
    pytest.param("close", StopIteration, id="StopIteration in close"),
]
FIRST_LINE = {
    "call": b"HTTP/1.1 500 Internal Server Error",
    "first iteration": b"HTTP/1.1 500 Internal Server Error",
    "later iteration": b"HTTP/1.1 200 OK",
    "close": b"HTTP/1.1 200 OK",
}


def test_a_log_that_cannot_be_written_keeps_no_client_from_its_answer(
    serve: Serve, client_of: ClientOf
) -> None:
    client = client_of(serve(fail_in_call, validate=False))
    with broken_logging("asyncwsgi.server") as was_asked:
        assert client.get().status == 500
    assert was_asked.is_set()


@pytest.mark.parametrize(("stage", "error"), FAILURES)
def test_whatever_the_application_raises_the_server_lives(
    stage: str,
    error: type[BaseException],
    serve: Serve,
    client_of: ClientOf,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # One thread: if it were lost, nobody would answer the second request.
    server = serve(fail_with(stage, error("spam")), threads=1)
    client, other = client_of(server), client_of(server)
    client.request(target="/fail", Connection="close")
    assert read_head(client)[0] == FIRST_LINE[stage]
    is_whole = stage == "close"
    is_cut = stage == "later iteration"
    body = client.read_all()
    assert body.endswith(b"0\r\n\r\n") is is_whole
    assert (body == b"4\r\nspam\r\n") is is_cut
    assert other.get().status == 200
    [record] = caplog.records
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], error)


class Local:
    """Something that a frame of the application holds."""


@pytest.mark.parametrize("is_late", [False, True], ids=["before the headers", "after the headers"])
def test_exc_info_is_let_go_without_the_garbage_collector(
    is_late: bool, caplog: pytest.LogCaptureFixture
) -> None:
    # PEP 3333: no reference may be held to exc_info beyond the call; a cycle would keep every frame
    # of the traceback alive.
    caplog.set_level(logging.CRITICAL + 1, "asyncwsgi.server")  # a record would hold the traceback
    has_gone = threading.Event()
    kept: list[object] = []

    def fail() -> None:
        local = Local()
        kept.append(weakref.ref(local, lambda _: has_gone.set()))
        raise LookupError("spam")

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", PLAIN)
        if is_late:
            write(b"spam")
        try:
            fail()
        except LookupError:
            start_response("404 Not Found", PLAIN, sys.exc_info())
        return [b"eggs"]

    # Not validated: wsgiref.validate keeps exc_info in a frame of its own. Nor recorded: a live
    # server of tests keeps what the application raised.
    with serve_in_thread(application, port=0) as server, connect(server.addresses[0]) as client:
        gc.disable()
        try:
            client.request()
            wait_for(has_gone)
        finally:
            gc.enable()
