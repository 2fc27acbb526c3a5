"""Server-sent events: their encoding (WHATWG HTML 9.2), and the application that sends them."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from datetime import date
from enum import Enum, IntEnum
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncwsgi import Event, EventStream
from tests.conftest import Serve
from tests.http.helpers import ClientOf, messages


@pytest.fixture(autouse=True)
def _patience(patience: None) -> None:
    """Lets the threads of event streams, which a server cuts when it stops, take notice of it."""


def dispatched(text: str) -> list[tuple[str, str, str]]:
    """(type, data, last event ID) of each event that a browser dispatches: 9.2.6."""
    events = []
    kind = data = last_id = ""
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                events.append((kind or "message", data.removesuffix("\n"), last_id))
            kind = data = ""
        elif field == "data":
            data += f"{value}\n"
        elif field == "event":
            kind = value
        elif field == "id" and "\0" not in value:
            last_id = value
    return events


class Kind(str, Enum):  # noqa: UP042 - unlike a StrEnum it formats as "Kind.NEWS"
    NEWS = "news"


class Number(IntEnum):
    SEVEN = 7


@pytest.mark.parametrize(
    ("event", "encoded"),
    [
        (Event("spam"), b"data: spam\n\n"),
        (Event(""), b"data: \n\n"),
        (Event("a\nb\r\nc\rd"), b"data: a\ndata: b\ndata: c\ndata: d\n\n"),
        (Event("a\n"), b"data: a\ndata: \n\n"),
        (Event("a\u2028b\x0bc"), "data: a\u2028b\x0bc\n\n".encode()),
        (Event({"a": 1}), b'data: {"a": 1}\n\n'),
        (Event([]), b"data: []\n\n"),
        (Event(0), b"data: 0\n\n"),
        (Event(1.5), b"data: 1.5\n\n"),
        (Event(False), b"data: false\n\n"),
        (Event("x", id=7), b"id: 7\ndata: x\n\n"),
        (Event(id=0), b"id: 0\n\n"),
        (Event(id=Number.SEVEN), b"id: 7\n\n"),
        (
            Event(Kind.NEWS, event=Kind.NEWS, id=Kind.NEWS, comment=Kind.NEWS),
            b": news\nevent: news\nid: news\ndata: news\n\n",
        ),
        (
            Event("x", event="e", id="7", retry=100, comment="a\nb"),
            b": a\n: b\nevent: e\nid: 7\nretry: 100\ndata: x\n\n",
        ),
        (Event(id=""), b"id: \n\n"),
        (Event(comment=""), b": \n\n"),
    ],
)
def test_encoding(event: Event, encoded: bytes) -> None:
    assert bytes(event) == encoded


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
FIELD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"))


@settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(data=TEXT, event=FIELD, id_=FIELD, comment=TEXT)
def test_a_browser_gets_what_was_meant_and_nothing_else(
    data: str, event: str, id_: str, comment: str
) -> None:
    text = bytes(Event(data, event=event, id=id_, comment=comment)).decode()
    expected = data.replace("\r\n", "\n").replace("\r", "\n")
    if text.count("data:") and expected:
        assert dispatched(text) == [(event or "message", expected, id_)]


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
@pytest.mark.parametrize("name", ["event", "id"])
def test_a_line_end_cannot_begin_another_field(name: str, end: str) -> None:
    fields: dict[str, Any] = {name: f"a{end}data: forged"}
    with pytest.raises(ValueError, match=f"{name} .* holds a line end"):
        Event("spam", **fields)


def test_an_id_with_nul_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        Event("spam", id="a\0b")


class Lying(str):
    """A str that finds nothing wrong with itself."""

    __slots__ = ()

    def __contains__(self, _: object) -> bool:
        return False


def test_a_subclass_of_str_cannot_begin_another_field() -> None:
    with pytest.raises(ValueError, match="line end"):
        Event(event=Lying("a\ndata: forged"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"event": 5}, "event 5 of an event is of type int; expected str"),
        ({"id": True}, "id True of an event is of type bool; expected str or int"),
        ({"id": 1.5}, "id 1.5 of an event is of type float; expected str or int"),
        ({"id": b"7"}, "id b'7' of an event is of type bytes; expected str or int"),
        ({"comment": 5}, "comment 5 of an event is of type int; expected str"),
        ({"data": b"x"}, "data of an event is .* JSON .* bytes"),
        ({"data": {"day": date(2024, 2, 29)}}, "data of an event is .* JSON .* date"),
    ],
    ids=str,
)
def test_what_is_neither_text_nor_json_is_refused_when_the_event_is_made(
    fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        Event(**fields)


@pytest.mark.parametrize("retry", [-1, 1.5, "1", True])
def test_retry_is_whole_milliseconds(retry: Any) -> None:
    with pytest.raises(ValueError, match="whole milliseconds"):
        Event("spam", retry=retry)


class Counting:
    """Numbers from behind the last event on; three of them."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []

    async def __call__(self, last_event_id: str | None) -> AsyncIterator[Any]:
        self.asked.append(last_event_id)
        first = int(last_event_id or 0) + 1
        for number in range(first, first + 3):
            yield Event(number, id=number)


def test_it_is_a_wsgi_application(serve: Serve, client_of: ClientOf) -> None:
    client = client_of(serve(EventStream(Counting()), validate=False))
    for _ in range(2):
        reply = client.get()
        assert reply.header("Content-Type") == "text/event-stream; charset=utf-8"
        assert reply.header("X-Accel-Buffering") == "no"
        assert [event[1] for event in dispatched(reply.body.decode())] == ["1", "2", "3"]


def test_it_goes_on_behind_the_last_event(serve: Serve, client_of: ClientOf) -> None:
    counting = Counting()
    client = client_of(serve(EventStream(counting), validate=False))
    reply = client.get(Last_Event_ID="7")
    assert [event[1] for event in dispatched(reply.body.decode())] == ["8", "9", "10"]
    assert counting.asked == ["7"]


@pytest.mark.parametrize(
    ("sent", "got"), [("äöü".encode(), "äöü"), (b"\xff7", "\N{REPLACEMENT CHARACTER}7")]
)
def test_the_last_events_id_is_utf_8(
    serve: Serve, client_of: ClientOf, sent: bytes, got: str
) -> None:
    asked: list[str | None] = []

    async def source(last_event_id: str | None) -> AsyncIterator[str]:
        asked.append(last_event_id)
        yield "spam"

    client_of(serve(EventStream(source), validate=False)).get(Last_Event_ID=sent.decode("latin-1"))
    assert asked == [got]


def test_headers_are_added_and_replaced(serve: Serve, client_of: ClientOf) -> None:
    app = EventStream(Counting(), headers=[("Cache-Control", "no-cache"), ("X-Spam", "eggs")])
    reply = client_of(serve(app, validate=False)).get()
    assert (reply.header("Cache-Control"), reply.header("X-Spam")) == ("no-cache", "eggs")


def test_items_are_events_text_or_json(serve: Serve, client_of: ClientOf) -> None:
    async def items() -> AsyncIterator[Any]:
        for item in ("text", {"a": 1}, [2], 3, 4.5, Event("event")):
            yield item

    reply = client_of(serve(EventStream(items()), validate=False)).get()
    data = [event[1] for event in dispatched(reply.body.decode())]
    assert data == ["text", '{"a": 1}', "[2]", "3", "4.5", "event"]


@pytest.mark.parametrize("item", [b"bytes", None])
def test_other_items_are_refused(
    item: object, serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    async def items() -> AsyncIterator[Any]:
        yield item

    server = serve(EventStream(items()), validate=False)
    client = client_of(server)
    client.request()
    assert client.read_all().endswith(b"3\r\n:\n\n\r\n")
    server.close()
    # A busy machine brings warnings of its own.
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert messages(errors) == ["GET / failed with a traceback"]


def test_silence_is_filled_with_comments(serve: Serve, client_of: ClientOf) -> None:
    async def silent() -> AsyncIterator[str]:
        await asyncio.Event().wait()
        yield ""

    # The clock looks as often as the shortest timeout wants it to.
    app = EventStream(silent(), ping=0.02)
    client = client_of(serve(app, validate=False, thread_idle_timeout=0.04))
    client.request()
    while client.read_line() != b"\r\n":
        pass
    for _ in range(3):
        assert client.read(len(b"3\r\n:\n\n\r\n")) == b"3\r\n:\n\n\r\n"


def test_its_source_is_closed_with_it(serve: Serve, client_of: ClientOf) -> None:
    closed = threading.Event()

    class Subscription:
        def __aiter__(self) -> Subscription:
            return self

        async def __anext__(self) -> str:
            await asyncio.Event().wait()
            return ""

        async def aclose(self) -> None:
            closed.set()

    server = serve(EventStream(Subscription()), validate=False)
    client = client_of(server)
    client.request()
    while (line := client.read_line()) != b":\n":  # the head may come before the source is begun
        assert line, "the stream ended"
    client.close()
    assert closed.wait(10)


@pytest.mark.parametrize("is_iterator", [True, False])
async def test_a_source_that_was_never_asked_is_closed_if_it_is_an_iterator(
    is_iterator: bool,
) -> None:
    closed = []

    class Iterable:
        """Who has not made an iterator yet owes it nothing."""

        def __aiter__(self) -> AsyncIterator[str]:
            raise AssertionError("it was asked")

        async def aclose(self) -> None:
            closed.append(True)

    class Subscription(Iterable):
        async def __anext__(self) -> str:
            raise AssertionError("it was asked")

    EventStream(Subscription() if is_iterator else Iterable()).body().close()
    assert closed == [True] * is_iterator


def test_django_sends_its_body(serve: Serve, client_of: ClientOf) -> None:
    # Without django.core.wsgi, whose settings belong to the process: it returns this object.
    from django.http import (  # type: ignore[import-untyped,unused-ignore]
        StreamingHttpResponse,
    )

    threads: set[str] = set()

    async def events() -> AsyncIterator[str]:
        threads.add(threading.current_thread().name)
        yield "spam"

    def app(environ: Any, start_response: Any) -> Any:
        events_ = EventStream(events())
        response = StreamingHttpResponse(events_.body(), headers=events_.headers)
        start_response("200 OK", list(response.items()))
        return response

    reply = client_of(serve(app, validate=False)).get()
    assert reply.body == b":\n\ndata: spam\n\n"
    assert threads == {"asyncwsgi-server"}


@pytest.mark.parametrize(("source", "ping", "error"), [([], 1, TypeError), (print, -1, ValueError)])
def test_what_makes_no_sense_is_refused(source: Any, ping: float, error: type[Exception]) -> None:
    with pytest.raises(error):
        EventStream(source, ping=ping)
