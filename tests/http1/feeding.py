"""Feeds request parsers and writes down what they make of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from asyncwsgi.errors import RequestRefused
from asyncwsgi.http1.head import RequestHead
from asyncwsgi.http1.parser import NEED_DATA, RequestParser

HeaderItems = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True)
class Request:
    """A request that was parsed to its end."""

    method: str
    target: str
    headers: HeaderItems = ((b"Host", b"test"),)
    version: str = "1.1"
    keep_alive: bool = True
    expects_continue: bool = False
    body: bytes = b""


@dataclass(frozen=True)
class Refusal:
    """The end of a connection; `request` is the one whose body was refused."""

    status: int
    reason: str = field(default="", compare=False)
    request: Request | None = None


@dataclass(frozen=True)
class Unfinished:
    """What had arrived of a request when the bytes ended; `request` if its head was complete."""

    request: Request | None
    unread_size: int


Outcome = Request | Refusal | Unfinished


class Reader:
    """Asks a parser for one request after the other."""

    def __init__(self, parser: RequestParser) -> None:
        self._parser = parser
        self._begun: Request | None = None

    def receive(self, piece: bytes) -> None:
        self._parser.receive(piece)

    def read(self) -> Request | Refusal | None:
        """The next request or the refusal in its place; None if more bytes are needed."""
        try:
            while (event := self._parser.next_event()) is not NEED_DATA:
                if isinstance(event, RequestHead):
                    assert self._begun is None, "a head came before the end of the body"
                    self._begun = describe(event)
                    if event.fields.has_body:
                        continue
                assert self._begun is not None, "a body came without a head"
                if isinstance(event, bytes):
                    assert event, "a piece of a body is empty"
                    self._begun = replace(self._begun, body=self._begun.body + event)
                else:
                    request, self._begun = self._begun, None
                    return request
        except RequestRefused as refused:
            return Refusal(refused.status, refused.reason, self._begun)
        return None

    def unfinished(self) -> list[Outcome]:
        """What the bytes at the end are; nothing if there are none."""
        unread_size = self._parser.unread_size
        if self._begun is None and not unread_size:
            return []
        return [Unfinished(self._begun, unread_size)]


def outcomes(parser: RequestParser, pieces: Iterable[bytes]) -> list[Outcome]:
    """Everything that `parser` makes of `pieces`, which arrive one after the other."""
    reader = Reader(parser)
    seen: list[Outcome] = []
    for piece in pieces:
        reader.receive(piece)
        while (outcome := reader.read()) is not None:
            seen.append(outcome)
            if isinstance(outcome, Refusal):
                return seen
    return seen + reader.unfinished()


def describe(head: RequestHead) -> Request:
    return Request(
        head.method,
        head.target,
        tuple(head.fields.items),
        head.http_version,
        head.keep_alive,
        head.fields.expects_continue,
    )


def check_refusal(seen: list[Outcome], status: int, says: str) -> None:
    """Check that nothing but one refusal came of it, and that it says why in one short line."""
    [refusal] = seen
    assert isinstance(refusal, Refusal)
    assert refusal.status == status
    assert re.search(says, refusal.reason)
    assert refusal.reason.isprintable()
    assert len(refusal.reason) < 300


NEXT = b"DELETE /next HTTP/1.1\r\nHost: next\r\n\r\n"
NEXT_REQUEST = Request("DELETE", "/next", ((b"Host", b"next"),))


class Feeding(NamedTuple):
    """A way to hand over the bytes of a table's row, and what comes of the bytes it adds."""

    pieces: Callable[[bytes], list[bytes]]
    behind: list[Outcome]


def whole(data: bytes) -> list[bytes]:
    return [data]


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


WHOLE = Feeding(whole, [])
BYTEWISE = Feeding(bytewise, [])
PIPELINED = Feeding(lambda data: [data + NEXT], [NEXT_REQUEST])
BEFORE_JUNK = Feeding(lambda data: [data + b"\x00\xff junk\r\n\r\n"], [])
