"""PEP 3333's rules for responses, without sockets: what leaves, when, and what is refused."""

from __future__ import annotations

import gc
import sys
import weakref
from typing import Any

import pytest

from asyncwsgi.errors import ApplicationError, ClientDisconnected
from asyncwsgi.http1.encoder import ResponseEncoder
from asyncwsgi.wsgi.response import JOINED_SIZE, Headers, Response
from tests.wsgi.recording import DATE, PLAIN, Outlet, Recording, length, started


class TestWhenTheHeadLeaves:
    """PEP 3333: "with the first body data yielded that is not an empty bytestring"."""

    def test_start_response_sends_nothing(self) -> None:
        response = started()
        assert response.transmitted == []
        assert not response.head_was_sent

    def test_empty_blocks_send_nothing(self) -> None:
        response = started()
        assert response.send(b"")
        assert response.transmitted == []

    def test_empty_writes_send_nothing(self) -> None:
        response = Recording()
        write = response.start_response("200 OK", PLAIN)
        write(b"")
        assert response.transmitted == []

    def test_the_first_block_takes_it_along(self) -> None:
        response = started()
        response.send(b"spam")
        assert response.head_was_sent
        [data] = response.transmitted
        assert data.startswith(b"HTTP/1.1 200 OK\r\n")
        assert data.endswith(b"\r\n\r\n4\r\nspam\r\n")

    def test_the_first_write_takes_it_along(self) -> None:
        response = Recording()
        response.start_response("200 OK", PLAIN)(b"spam")
        assert response.head_was_sent
        assert response.wire.endswith(b"\r\n\r\n4\r\nspam\r\n")

    def test_the_end_sends_it_if_nothing_else_did(self) -> None:
        response = started("201 Created")
        response.send(b"")
        response.finish()
        assert response.received().status == 201
        assert response.received().body == b""

    def test_the_end_of_an_announced_empty_body_sends_it(self) -> None:
        response = started(headers=length(0))
        response.finish()
        assert response.received().header(b"content-length") == b"0"
        assert response.keep_alive


class TestCrossings:
    """Bytes are handed over as seldom as it makes sense, and each block before the next."""

    def test_a_small_response_is_handed_over_once(self) -> None:
        response = started(headers=length(4))
        response.send(b"spam")
        response.finish()
        assert len(response.transmitted) == 1

    @pytest.mark.parametrize("size", [JOINED_SIZE, JOINED_SIZE + 1])
    def test_a_large_block_arrives_whole(self, size: int) -> None:
        response = started()
        block = b"x" * size
        response.send(block)
        response.finish()
        assert response.received().body == block

    def test_every_block_is_handed_over_before_send_returns(self) -> None:
        response = started()
        response.send(b"spam")
        before = len(response.wire)
        response.send(b"eggs")
        assert response.wire[before:] == b"4\r\neggs\r\n"

    def test_nothing_is_handed_over_empty(self) -> None:
        response = started(version="1.0")
        for block in (b"", b"spam", b""):
            response.send(block)
        response.finish()
        assert b"" not in response.transmitted


class TestStartResponse:
    def test_it_returns_a_callable_that_writes(self) -> None:
        response = Recording()
        write = response.start_response("200 OK", PLAIN)
        write(b"spam ")
        write(b"eggs")
        response.finish()
        assert response.received().body == b"spam eggs"

    def test_exc_info_may_be_none(self) -> None:
        response = Recording()
        response.start_response("200 OK", PLAIN, None)
        response.finish()
        assert response.received().status == 200

    def test_exc_info_may_be_given_by_its_name(self) -> None:
        # PEP 3333 has it positional, and programs that have met laxer servers name it.
        response = started()
        response.start_response("404 Not Found", PLAIN, exc_info=(LookupError, LookupError(), None))  # type: ignore[arg-type]
        response.finish()
        assert response.received().status == 404

    def test_a_second_call_raises(self) -> None:
        response = started()
        with pytest.raises(AssertionError, match="twice"):
            response.start_response("404 Not Found", PLAIN)
        response.finish()
        assert response.received().status == 200

    @pytest.mark.parametrize(
        ("status", "headers"),
        [("spam", PLAIN), ("200 OK", [("X-A", "\n")]), ("200 OK", [("Content-Length", "spam")])],
        ids=["status", "headers", "length"],
    )
    def test_a_second_call_raises_even_if_the_first_was_refused(
        self, status: str, headers: Headers
    ) -> None:
        response = Recording()
        with pytest.raises(ApplicationError):
            response.start_response(status, headers)
        with pytest.raises(AssertionError, match="twice"):
            response.start_response("200 OK", PLAIN)

    def test_a_refused_call_leaves_nothing_to_send(self) -> None:
        response = Recording()
        with pytest.raises(ApplicationError):
            response.start_response("200 OK", [("X-A", "\n")])
        with pytest.raises(ApplicationError, match="start_response"):
            response.send(b"spam")
        with pytest.raises(ApplicationError, match="start_response"):
            response.finish()
        assert response.transmitted == []

    def test_a_refused_replacement_leaves_nothing_of_itself(self) -> None:
        response = started("200 OK", [("X-Old", "1"), ("Date", "then")])
        with pytest.raises(ApplicationError):
            replace(response, "404 Not Found", [("X-New", "1"), ("Content-Length", "spam")])
        response.finish()
        received = response.received()
        assert (received.status, received.header(b"date")) == (200, b"then")
        assert received.header(b"x-new") is None

    def test_without_it_there_is_no_body(self) -> None:
        response = Recording()
        with pytest.raises(AssertionError, match="start_response"):
            response.send(b"spam")
        assert response.transmitted == []

    def test_without_it_there_is_no_end(self) -> None:
        response = Recording()
        with pytest.raises(AssertionError, match="start_response"):
            response.finish()
        assert response.transmitted == []

    def test_the_list_of_headers_stays_the_application_s(self) -> None:
        headers = [*PLAIN, ("Connection", "keep-alive"), ("Content-Length", "0")]
        before = headers.copy()
        response = started("204 No Content", headers)
        response.finish()
        assert headers == before

    def test_the_list_of_headers_is_taken_as_it_is(self) -> None:
        headers = [("X-A", "1")]
        response = started(headers=headers)
        headers.append(("X-B", "\r\n\r\n"))
        response.finish()
        assert response.received().header(b"x-b") is None


def replace(response: Response, status: str, headers: Headers) -> None:
    """What an error handler does."""
    try:
        raise LookupError("spam")
    except LookupError:
        response.start_response(status, headers, sys.exc_info())


class TestExcInfo:
    def test_before_the_head_left_it_replaces_status_and_headers(self) -> None:
        old = [("X-Old", "1"), ("Set-Cookie", "a=b"), ("Content-Length", "99"), ("Date", "then")]
        response = started("200 OK", [*old, ("Server", "spam"), ("Connection", "close")])
        replace(response, "404 Not Found", [("X-New", "1")])
        response.send(b"spam")
        response.finish()
        received = response.received()
        assert (received.status, received.reason) == (404, b"Not Found")
        assert received.headers == [
            (b"X-New", b"1"),
            (b"Server", b"asyncwsgi"),
            (b"Date", DATE.encode()),
            (b"Transfer-Encoding", b"chunked"),
        ]
        assert (received.body, response.keep_alive) == (b"spam", True)

    def test_it_may_come_with_the_first_call(self) -> None:
        response = Recording()
        replace(response, "500 Oops", PLAIN)
        response.finish()
        assert response.received().status == 500

    def test_it_may_come_more_than_once(self) -> None:
        response = started()
        replace(response, "404 Not Found", PLAIN)
        replace(response, "500 Oops", PLAIN)
        response.finish()
        assert response.received().status == 500

    def test_after_the_head_left_the_exception_is_raised_with_its_traceback(self) -> None:
        response = started()
        response.send(b"spam")
        error = LookupError("spam")

        def fail() -> None:
            raise error

        try:
            fail()
        except LookupError:
            exc_info = sys.exc_info()
        with pytest.raises(LookupError) as raised:
            response.start_response("404 Not Found", PLAIN, exc_info)
        assert raised.value is error
        assert "fail" in [entry.name for entry in raised.traceback]
        assert response.status == 200
        assert not response.keep_alive

    def test_after_the_head_left_an_empty_one_is_refused(self) -> None:
        response = started()
        response.send(b"spam")
        with pytest.raises(ApplicationError, match="exc_info"):
            response.start_response("404 Not Found", PLAIN, (None, None, None))

    @pytest.mark.parametrize("is_late", [False, True], ids=["before the head", "after it"])
    def test_it_is_let_go_without_the_garbage_collector(self, is_late: bool) -> None:
        # PEP 3333: "start_response() must not hold a reference to exc_info ... to avoid creating a
        # circular reference through the traceback".
        class Local:
            """Something that a frame of the application holds."""

        kept: list[weakref.ref[Local]] = []

        def fail() -> None:
            local = Local()
            kept.append(weakref.ref(local))
            raise LookupError("spam")

        def application() -> None:
            response = started()
            if is_late:
                response.send(b"spam")
            try:
                fail()
            except LookupError:
                response.start_response("500 Oops", PLAIN, sys.exc_info())

        gc.disable()
        try:
            try:
                application()
            except LookupError:
                assert is_late
            assert kept[0]() is None
        finally:
            gc.enable()


class TestWrite:
    """PEP 3333, "The write() Callable"."""

    def test_what_was_written_precedes_what_is_yielded(self) -> None:
        response = Recording()
        write = response.start_response("200 OK", PLAIN)
        write(b"spam ")
        response.send(b"eggs")
        response.finish()
        assert response.received().body == b"spam eggs"

    def test_it_hands_over_before_it_returns(self) -> None:
        response = Recording()
        write = response.start_response("200 OK", PLAIN)
        write(b"spam")
        before = len(response.wire)
        write(b"eggs")
        assert response.wire[before:] == b"4\r\neggs\r\n"

    @pytest.mark.parametrize("first", [b"", b"sp"])
    def test_beyond_the_content_length_it_raises(self, first: bytes) -> None:
        response = Recording()
        write = response.start_response("200 OK", length(4))
        write(first)
        with pytest.raises(ApplicationError, match="beyond the Content-Length of 4"):
            write(b"spam!"[len(first) :])
        response.finish()
        assert response.received().body == b"spam"

    def test_up_to_the_content_length_it_does_not(self) -> None:
        response = Recording()
        write = response.start_response("200 OK", length(4))
        write(b"spam")
        write(b"")
        response.finish()
        assert response.received().body == b"spam"

    @pytest.mark.parametrize(
        ("status", "method"),
        [("200 OK", "HEAD"), ("204 No Content", "GET"), ("304 Not Modified", "GET")],
    )
    def test_where_no_body_is_sent_it_drops_any(self, status: str, method: str) -> None:
        response = Recording(method)
        write = response.start_response(status, length(4))
        write(b"spam")
        write(b"spam and eggs")
        response.finish()
        assert response.wire.endswith(b"\r\n\r\n")
        assert response.keep_alive

    def test_behind_the_end_it_raises_and_sends_nothing(self) -> None:
        response = Recording()
        write = response.start_response("200 OK", PLAIN)
        write(b"spam")
        response.finish()
        before = response.wire
        with pytest.raises(ApplicationError, match="end"):
            write(b"eggs")
        assert response.wire == before


class Lying(bytes):
    """Bytes whose methods speak of other bytes."""

    def __len__(self) -> int:
        return 100

    def __bool__(self) -> bool:
        return False

    def __getitem__(self, _: Any) -> Any:
        return b"forged"

    def __bytes__(self) -> bytes:
        return b"forged"

    def __radd__(self, _: bytes) -> bytes:
        return b"forged"


@pytest.mark.parametrize("headers", [PLAIN, length(8)], ids=["chunked", "with a length"])
def test_of_a_subclass_of_bytes_its_bytes_are_sent(headers: Headers) -> None:
    response = Recording()
    write = response.start_response("200 OK", headers)
    write(Lying(b"spam"))
    response.send(Lying(b"eggs"))
    response.finish()
    assert response.received().body == b"spameggs"


@pytest.mark.parametrize(
    "block",
    ["spam", "", None, 4, bytearray(b"spam"), memoryview(b"spam"), [b"spam"]],
    ids=lambda block: f"{type(block).__name__} {block or '(empty)'!s}"[:20],
)
@pytest.mark.parametrize("is_first", [True, False], ids=["first", "later"])
def test_blocks_that_are_no_bytes_are_refused(block: Any, is_first: bool) -> None:
    response = Recording()
    write = response.start_response("200 OK", PLAIN)
    if not is_first:
        response.send(b"spam")
    before = response.wire
    with pytest.raises(ApplicationError, match=f"{type(block).__name__}.*bytes"):
        response.send(block)
    with pytest.raises(ApplicationError):
        write(block)
    assert response.wire == before


class TestFail:
    """The answer to what an application raised before its head left."""

    def test_it_replaces_everything(self) -> None:
        old = [("X-Old", "1"), ("Content-Length", "99"), ("Date", "then"), ("Server", "spam")]
        response = started("200 OK", old)
        response.fail("500 Internal Server Error", b"sorry\n")
        received = response.received()
        assert (received.status, received.reason) == (500, b"Internal Server Error")
        assert received.headers == [
            (b"Content-Type", b"text/plain; charset=utf-8"),
            (b"Content-Length", b"6"),
            (b"Server", b"asyncwsgi"),
            (b"Date", DATE.encode()),
            (b"Connection", b"close"),
        ]
        assert received.body == b"sorry\n"
        assert response.status == 500
        assert response.is_finished
        assert not response.keep_alive

    def test_it_needs_no_start_response(self) -> None:
        response = Recording()
        response.fail("500 Internal Server Error", b"sorry\n")
        assert response.received().body == b"sorry\n"

    def test_it_needs_no_start_response_that_succeeded(self) -> None:
        response = Recording()
        with pytest.raises(ApplicationError):
            response.start_response("200 OK", [("Content-Length", "4"), ("X-A", "\n")])
        response.fail("500 Internal Server Error", b"sorry\n")
        assert response.received().body == b"sorry\n"

    @pytest.mark.parametrize("old", ["204 No Content", "304 Not Modified"])
    def test_it_has_a_body_where_the_application_would_have_had_none(self, old: str) -> None:
        response = started(old)
        response.fail("500 Internal Server Error", b"sorry\n")
        assert response.received().body == b"sorry\n"

    def test_head_has_no_body_here_either(self) -> None:
        response = Recording("HEAD")
        response.fail("500 Internal Server Error", b"sorry\n")
        assert response.received().header(b"content-length") == b"6"
        assert response.wire.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_client_that_left_is_told_to_who_sends(count: int) -> None:
    response = Response("GET", ResponseEncoder("1.1"), Outlet(count))
    write = response.start_response("200 OK", PLAIN)
    for _ in range(count):
        write(b"spam")
    with pytest.raises(ClientDisconnected):
        write(b"spam")
    assert not response.is_finished
    assert not response.is_complete


class TestEndless:
    """A response whose media type says that it has no end of its own."""

    @pytest.mark.parametrize(
        "media_type",
        [
            "text/event-stream",
            "text/event-stream; charset=utf-8",
            "Text/Event-Stream",
            "multipart/x-mixed-replace; boundary=frame",
        ],
    )
    def test_streams_of_events_and_of_pictures_are(self, media_type: str) -> None:
        assert started(headers=[("content-TYPE", media_type)]).is_endless

    def test_others_are_not(self) -> None:
        assert not started().is_endless
        assert not started(headers=[]).is_endless
        assert not Recording().is_endless

    def test_one_with_a_length_is_not(self) -> None:
        headers = [("Content-Type", "text/event-stream"), ("Content-Length", "4")]
        assert not started(headers=headers).is_endless

    def test_one_without_a_body_is_not(self) -> None:
        response = Recording("HEAD")
        response.start_response("200 OK", [("Content-Type", "text/event-stream")])
        assert not response.is_endless
