"""PEP 3333, "Error Handling", over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.apps import hello
from tests.conftest import Serve
from tests.http.staging import (
    GET,
    PLAIN,
    ClientOf,
    Environ,
    Headers,
    answer,
    read_head,
    sized,
)

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication


def fail_in_call(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    raise LookupError("secret")


def fail_after_start(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [*PLAIN, ("Set-Cookie", "a=b"), ("Content-Length", "99")])
    raise LookupError("secret")


def fail_in_iteration(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [*PLAIN, ("Set-Cookie", "a=b"), ("Content-Length", "99")])
    yield b""
    raise LookupError("secret")


BEFORE_OUTPUT = [
    pytest.param(fail_in_call, id="in the call"),
    pytest.param(fail_after_start, id="after start_response"),
    pytest.param(fail_in_iteration, id="in the iteration"),
]


@pytest.mark.parametrize("application", BEFORE_OUTPUT)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_an_error_before_any_output_is_answered_with_500(
    version: str, application: WSGIApplication, serve: Serve, client_of: ClientOf
) -> None:
    client = client_of(serve(application))
    client.send(f"GET / HTTP/{version}\r\nHost: test\r\n\r\n".encode())
    reply = client.reply()
    assert (reply.status, reply.reason) == (500, "Internal Server Error")
    assert reply.header("Content-Length") == str(len(reply.body))
    # Nothing of the response that was given up, nothing of what went wrong.
    assert reply.header("Set-Cookie") is None
    assert b"secret" not in reply.body
    assert reply.header("Connection") == "close"
    assert client.is_closed()


@pytest.mark.parametrize("application", BEFORE_OUTPUT)
def test_an_error_is_answered_without_a_body_to_head(
    application: WSGIApplication, serve: Serve, client_of: ClientOf
) -> None:
    client = client_of(serve(application))
    client.request("HEAD")
    assert read_head(client)[0] == b"HTTP/1.1 500 Internal Server Error"
    assert client.is_closed()


@pytest.mark.parametrize("application", BEFORE_OUTPUT)
def test_an_error_is_logged_once_with_its_traceback(
    application: WSGIApplication,
    serve: Serve,
    client_of: ClientOf,
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = client_of(serve(application))
    client.get("/spam?eggs")
    assert client.is_closed()
    [record] = caplog.records
    assert (record.name, record.levelname) == ("asyncwsgi.server", "ERROR")
    assert "GET /spam?eggs" in record.getMessage()
    assert record.exc_info is not None
    assert repr(record.exc_info[1]) == "LookupError('secret')"
    assert "fail_" in caplog.text  # the application's own frame


def fail_after_output(headers: Headers, *, is_written: bool) -> WSGIApplication:
    def application(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        write = start_response("200 OK", headers)
        if is_written:
            write(b"spam")
        else:
            yield b"spam"
        raise LookupError("secret")

    return application


@pytest.mark.parametrize("is_written", [False, True], ids=["yielded", "written"])
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
    is_written: bool,
    serve: Serve,
    client_of: ClientOf,
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = client_of(serve(fail_after_output(headers, is_written=is_written)))
    client.send(GET * 2)
    read_head(client)
    assert client.read_all() == body
    [record] = caplog.records
    assert record.exc_info is not None
    assert repr(record.exc_info[1]) == "LookupError('secret')"


def test_an_error_after_output_closes_the_connection_of_http_1_0(
    serve: Serve, client_of: ClientOf
) -> None:
    client = client_of(serve(fail_after_output(PLAIN, is_written=False)))
    client.send(b"GET / HTTP/1.0\r\n\r\n")
    read_head(client)
    assert client.read_all() == b"spam"


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


def test_a_generator_that_raises_stop_iteration_has_failed(
    serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    # PEP 479 makes it a RuntimeError.
    def produce() -> Iterator[bytes]:
        yield b"spam"
        raise StopIteration

    client = client_of(serve(answer(produce)))
    client.request()
    read_head(client)
    assert client.read_all() == b"4\r\nspam\r\n"
    assert len(caplog.records) == 1


@pytest.mark.parametrize("result", [None, 42], ids=repr)
def test_a_result_that_is_not_iterable_is_answered_with_500(
    result: Any, serve: Serve, client_of: ClientOf
) -> None:
    # Not validated: wsgiref.validate would raise in place of the server.
    assert client_of(serve(answer(lambda: result), validate=False)).get().status == 500
