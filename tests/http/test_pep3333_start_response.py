"""PEP 3333, "The start_response() Callable", over real sockets."""

from __future__ import annotations

import gc
import logging
import sys
import threading
import weakref
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import pytest

from asyncwsgi import serve_in_thread
from tests.client import Reply, connect
from tests.conftest import Serve
from tests.http.staging import (
    PLAIN,
    Blocks,
    ClientOf,
    Environ,
    read_head,
    wait_for,
)

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication


def reply_of(serve: Serve, client_of: ClientOf, application: WSGIApplication) -> Reply:
    return client_of(serve(application)).get()


def test_start_response_returns_a_callable_that_writes(serve: Serve, client_of: ClientOf) -> None:
    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", PLAIN)
        write(b"spam ")
        write(b"eggs")
        return []

    assert reply_of(serve, client_of, application).body == b"spam eggs"


def test_exc_info_is_the_third_positional_argument(serve: Serve, client_of: ClientOf) -> None:
    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", PLAIN, None)
        return [b"spam"]

    assert reply_of(serve, client_of, application).body == b"spam"


def refuse_late(start_response: StartResponse) -> None:
    """What an error handler does."""
    try:
        raise LookupError("spam")
    except LookupError:
        start_response("404 Not Found", [*PLAIN, ("X-Late", "yes")], sys.exc_info())


def test_start_response_sends_nothing(serve: Serve, client_of: ClientOf) -> None:
    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", PLAIN)
        refuse_late(start_response)
        return []

    assert reply_of(serve, client_of, application).status == 404


@pytest.mark.parametrize("is_written", [False, True], ids=["yielded", "written"])
def test_empty_strings_do_not_send_the_headers(
    is_written: bool, serve: Serve, client_of: ClientOf
) -> None:
    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", PLAIN)
        if is_written:
            write(b"")
        else:
            yield b""
        refuse_late(start_response)
        yield b"spam"

    reply = reply_of(serve, client_of, application)
    assert (reply.status, reply.body) == (404, b"spam")


@pytest.mark.parametrize("is_written", [False, True], ids=["yielded", "written"])
def test_the_headers_go_with_the_first_block_that_is_not_empty(
    is_written: bool, serve: Serve, client_of: ClientOf
) -> None:
    goes_on = threading.Event()

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", PLAIN)
        if is_written:
            write(b"spam")
        else:
            yield b"spam"
        wait_for(goes_on)
        yield b"eggs"

    client = client_of(serve(application))
    client.request()
    assert read_head(client)[0] == b"HTTP/1.1 200 OK"
    assert client.read(9) == b"4\r\nspam\r\n"
    goes_on.set()
    assert client.read(14) == b"4\r\neggs\r\n0\r\n\r\n"


def test_the_headers_go_at_the_end_of_an_empty_body(serve: Serve, client_of: ClientOf) -> None:
    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("201 Created", PLAIN)
        return [b"", b""]

    reply = reply_of(serve, client_of, application)
    assert (reply.status, reply.body) == (201, b"")


def test_start_response_may_be_called_in_the_first_iteration(
    serve: Serve, client_of: ClientOf
) -> None:
    def application(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", PLAIN)
        yield b"spam"

    assert reply_of(serve, client_of, application).body == b"spam"


def test_a_second_call_without_exc_info_raises(serve: Serve, client_of: ClientOf) -> None:
    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", PLAIN)
        with pytest.raises(AssertionError, match="twice"):
            start_response("404 Not Found", PLAIN)
        return [b"spam"]

    reply = reply_of(serve, client_of, application)
    assert (reply.status, reply.body) == (200, b"spam")


def test_a_second_call_without_exc_info_raises_even_if_the_first_one_failed(
    serve: Serve, client_of: ClientOf
) -> None:
    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        with pytest.raises(AssertionError):
            start_response("200 OK", [*PLAIN, ("X-Spam", "\u20ac")])
        with pytest.raises(AssertionError, match="twice"):
            start_response("200 OK", PLAIN)
        refuse_late(start_response)
        return [b"spam"]

    assert reply_of(serve, client_of, application).status == 404


def test_headers_that_were_refused_are_not_sent_by_carrying_on(
    serve: Serve, client_of: ClientOf
) -> None:
    # No start_response() has succeeded, so there is nothing to send: the same as never called.
    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        with pytest.raises(AssertionError):
            start_response("200 OK", [*PLAIN, ("X-Spam", "\u20ac")])
        return [b"spam"]

    # Not validated: wsgiref.validate takes the refusal for a call that was never made.
    assert client_of(serve(application, validate=False)).get().status == 500


def test_a_second_call_with_exc_info_replaces_status_and_headers(
    serve: Serve, client_of: ClientOf
) -> None:
    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        old = [("X-Old", "1"), ("Set-Cookie", "a=b"), ("Content-Length", "99"), ("Date", "then")]
        start_response("200 OK", [*PLAIN, *old, ("Connection", "close")])
        refuse_late(start_response)
        return [b"spam"]

    client = client_of(serve(application))
    reply = client.get()
    assert (reply.status, reply.reason, reply.body) == (404, "Not Found", b"spam")
    assert reply.header("X-Late") == "yes"
    assert reply.header("Content-Length") in (None, "4")
    assert reply.header("Date") != "then"
    assert (reply.header("X-Old"), reply.header("Set-Cookie")) == (None, None)
    assert client.get().status == 404  # the old Connection: close is gone, too


def test_a_second_call_that_is_refused_changes_nothing(serve: Serve, client_of: ClientOf) -> None:
    # The first call stands as a whole: a status and headers of which only a part was replaced were
    # asked for by nobody.
    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [*PLAIN, ("Date", "then"), ("Connection", "close")])
        try:
            raise LookupError("spam")
        except LookupError:
            bad = [*PLAIN, ("Content-Length", "spam")]
            with pytest.raises(AssertionError):
                start_response("404 Not Found", bad, sys.exc_info())
        return [b"spam"]

    client = client_of(serve(application))
    reply = client.get()
    assert (reply.status, reply.header("Date"), reply.body) == (200, "then", b"spam")
    assert reply.header("Connection") == "close"
    assert client.is_closed()


def test_with_exc_info_after_the_headers_that_exception_is_raised_again(
    serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    returned: list[Blocks] = []

    def produce(start_response: StartResponse) -> Iterator[bytes]:
        yield b"spam"
        refuse_late(start_response)
        yield b"eggs"

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", PLAIN)
        returned.append(Blocks(produce(start_response)))
        return returned[0]

    server = serve(application)
    client = client_of(server)
    client.request()
    # The last chunk is missing: the client sees that the body is not whole.
    assert client.read_all().endswith(b"\r\n\r\n4\r\nspam\r\n")
    server.close()
    assert returned[0].closings == 1
    [record] = caplog.records
    assert record.exc_info is not None
    error, traceback = record.exc_info[1], record.exc_info[2]
    assert repr(error) == "LookupError('spam')"
    functions = []
    while traceback is not None:
        functions.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    assert "refuse_late" in functions


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


def answers_nothing(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    return []


def answers_without_start(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    return [b"spam"]


def starts_too_late(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    yield b"spam"
    start_response("200 OK", PLAIN)


@pytest.mark.parametrize(
    "application",
    [answers_nothing, answers_without_start, starts_too_late],
    ids=lambda a: a.__name__,
)
def test_a_body_without_start_response_is_answered_with_500(
    application: WSGIApplication,
    serve: Serve,
    client_of: ClientOf,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Not validated: wsgiref.validate would raise in place of the server.
    reply = client_of(serve(application, validate=False)).get()
    assert reply.status == 500
    [record] = caplog.records
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], AssertionError)
