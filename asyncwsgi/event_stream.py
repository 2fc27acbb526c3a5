"""Server-sent events (WHATWG HTML 9.2) as a WSGI application that holds no worker thread."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from asyncwsgi.coroutines.stream import close_iterator, stream

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

Data = str | dict[str, Any] | list[Any] | float
"""What an event says: text; or a dict, list, number or bool, which is sent as JSON."""
Item = Any
"""What a source may yield: `Event`, or the data of one."""
Source = AsyncIterable[Item] | Callable[[str | None], AsyncIterable[Item]]

# 9.2.5: lines end with CR LF, LF or CR and with nothing else, unlike those of str.splitlines().
_LINE_END = re.compile(r"\r\n|\r|\n")
_PING = b":\n\n"
PING = 15.0
"""Seconds; 9.2.7 recommends a comment "every 15 seconds or so" for proxies that give up early."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    Args:
        data: text of any number of lines; a dict, list, number or bool is sent as JSON. None: the
            client takes notice of the other fields and dispatches nothing.
        event: its type, ``message`` for the client if it is None.
        id: what the client sends as ``Last-Event-ID`` when it connects again; a number as digits.
        retry: milliseconds that the client waits before it does.
        comment: text that clients ignore.

    Raises:
        TypeError: a field of a type that cannot be sent.
        ValueError: a field that would end in the middle, or that the client would ignore.
    """

    data: Data | None = None
    event: str | None = None
    id: str | int | None = None
    retry: int | None = None
    comment: str | None = None
    # Made once: the same event may go to very many clients.
    _encoded: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        lines: list[str] = []
        if self.comment is not None:
            lines += [f": {line}" for line in _lines(_text("comment", self.comment))]
        if self.event is not None:
            lines.append(f"event: {_single_line('event', self.event)}")
        if self.id is not None:
            lines.append(f"id: {_id_text(self.id)}")
        if self.retry is not None:
            lines.append(f"retry: {_milliseconds(self.retry)}")
        if self.data is not None:
            lines += [f"data: {line}" for line in _lines(_data_text(self.data))]
        object.__setattr__(self, "_encoded", "\n".join([*lines, "", ""]).encode())

    def __bytes__(self) -> bytes:
        """As it is sent."""
        return self._encoded


def _lines(text: str) -> list[str]:
    return _LINE_END.split(text)


def _text(name: str, value: object, expected: str = "str") -> str:
    # A subclass may format as something else than it holds: an Enum of str as its member's name.
    # This method of str itself, called on the class, gives the characters.
    if isinstance(value, str):
        return str.__str__(value)
    raise TypeError(
        f"{name} {value!r} of an event is of type {type(value).__name__}; expected {expected}"
    )


def _single_line(name: str, value: object, expected: str = "str") -> str:
    text = _text(name, value, expected)
    # 9.2.6: an id with NUL is ignored.
    if "\n" in text or "\r" in text or "\0" in text:
        raise ValueError(
            f"{name} {text!r} of an event holds a line end or NUL, which would end the field or "
            "void it; only data may have several lines"
        )
    return text


def _id_text(value: object) -> str:
    # True is an int to Python, and to nobody an id.
    if isinstance(value, int) and not isinstance(value, bool):
        return int.__repr__(value)
    return _single_line("id", value, "str or int")


def _data_text(data: object) -> str:
    if isinstance(data, str):
        return _text("data", data)
    try:
        return json.dumps(data)
    except TypeError as error:
        raise TypeError(f"data of an event is sent as JSON unless it is str: {error}") from None


def _milliseconds(retry: int) -> int:
    if type(retry) is not int or retry < 0:
        raise ValueError(f"retry {retry!r} of an event; expected whole milliseconds")
    return retry


class EventStream:
    """A WSGI application that answers with events; views of Flask can return it as it is.

    Args:
        source: yields `Event`, or the data of one: str, or dict, list and numbers, sent as JSON. Or
            a function that is called with the client's ``Last-Event-ID``, None if it sent none,
            and returns such an async iterable.
        ping: seconds without an event after which a comment is sent, so that proxies keep the
            connection and a client that has vanished is noticed. 0 for never.
        headers: more headers of the response.

    Raises:
        ValueError: `ping` is negative.
        TypeError: `source` is neither.
    """

    headers: dict[str, str]
    """Headers of the response, for frameworks that want to make it themselves."""

    def __init__(
        self, source: Source, *, ping: float = PING, headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        if ping < 0:
            raise ValueError(f"ping is {ping!r}; expected seconds, or 0 for never")
        if not (callable(source) or hasattr(source, "__aiter__")):
            raise TypeError(
                f"EventStream() got a {type(source).__name__}; it wants an async iterable, or a "
                "function that makes one out of a Last-Event-ID"
            )
        self._source = source
        self._ping = ping
        self.headers = {
            "Content-Type": "text/event-stream; charset=utf-8",
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",  # nginx would hold events back until it has a bufferful
            **dict(headers),
        }

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        body = self.body(last_event_id(environ))
        start_response("200 OK", list(self.headers.items()))
        return body

    def body(self, last_event_id: str | None = None) -> stream:
        """The body alone, for a framework's own response."""
        source = self._source
        events = source if isinstance(source, AsyncIterable) else source(last_event_id)
        return stream(_Encoded(events), idle_block=_PING, idle_timeout=self._ping or None)


def last_event_id(environ: dict[str, Any]) -> str | None:
    """The id of the last event that the client has got; None if it tells none."""
    value: str | None = environ.get("HTTP_LAST_EVENT_ID")
    # 9.2.3: UTF-8, which PEP 3333 disguises as latin-1.
    return None if value is None else value.encode("latin-1").decode("utf-8", "replace")


class _Encoded:
    """The blocks of a body. No generator, since one that was never asked closes no source."""

    def __init__(self, events: AsyncIterable[Item]) -> None:
        self._events = events
        self._iterator: AsyncIterator[Item] | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._iterator is None:
            self._iterator = aiter(self._events)
            # Proxies, and servers that send the head with the first block, have something to pass
            # on.
            return _PING
        return _encode(await anext(self._iterator))

    async def aclose(self) -> None:
        if self._iterator is not None:
            await close_iterator(self._iterator)
        elif isinstance(self._events, AsyncIterator):
            await close_iterator(self._events)


def _encode(item: Item) -> bytes:
    if isinstance(item, str | dict | list | int | float):
        item = Event(item)
    if not isinstance(item, Event):
        raise TypeError(
            f"an event stream's source yielded a {type(item).__name__}; expected Event, str, dict, "
            "list or a number"
        )
    return bytes(item)
