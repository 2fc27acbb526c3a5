"""What is known of one request, and what of it is reported.

A record is written by the loop and by the threads of its request, each its own fields, and costs
them references and times. What is sent for it is made later, on the loop (see
`asyncwsgi.inspection.reporter`): secrets are left out there, before anything leaves the process.

Lists grow by reports: what is new waits in `_marks` and `_news`, at whose ends threads add while
the loop takes from their beginnings; each is one step. All else is told anew when it has changed.

Many records live for the moment until they are reported, and the garbage collector looks at every
object that could be part of a cycle. So marks are names and times in one flat list.

A report is JSON, put together out of pieces that are JSON already, and not out of objects: most
pieces of most requests (headers, the view) were sent before, and to write them once more cost as
much as all the rest. Methods that requests call keep what they raise to themselves.
"""

from __future__ import annotations

import time
from json import dumps
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING, Any, Protocol

from asyncwsgi.clock import clock
from asyncwsgi.coroutines.current import current_request
from asyncwsgi.development.debugger import SHOWN
from asyncwsgi.errors import RequestBodyError
from asyncwsgi.inspection.bodies import KeptBody
from asyncwsgi.inspection.header_pieces import HeaderPieces, Headers
from asyncwsgi.inspection.masking import mask_target, mask_text
from asyncwsgi.inspection.tracebacks import Failure, failure_of

if TYPE_CHECKING:
    from asyncwsgi.requests.exchange import Exchange

MOST_NEWS = 2000
"""Marks, spans, log lines and events that wait to be reported. Beyond them, new ones are lost."""
MOST_OF_A_KIND = {"spans": 1000, "logs": 500}
"""Of one request; the events of a stream have no such bound."""
LONGEST_TEXT = 4096
"""Characters of a log line, a statement or an event."""
_REPORTED_TEXT = 32 * 1024
"""Characters of lists in one report; the rest comes with the next one."""
_MOST_TEMPLATES = 256
_BODIES = ("request_body", "response_body")
_TOO_LARGE = {
    "request_headers": "[]",
    "response_headers": "[]",
    "frames": "[]",
    "target": '"(too long)"',
    "traceback": '"(too long)"',
}
"""What takes the place of fields that make a report too large."""


class Reporter(Protocol):
    """What fetches reports."""

    headers: HeaderPieces
    marks: MarkPieces
    keeps_secrets: bool

    def due(self, record: Record) -> None:
        """There is something to be reported. From any thread."""

    def failed(self) -> None:
        """Something could not be recorded: say so, once. From any thread."""


class Record:
    """One request. Made on the loop when its head is complete.

    Args:
        reporter: fetches its reports.
        key: its id.
        exchange: the request.
        headers: as its head has them.
        accepted_at: when its connection was accepted; None if it is not the first of it.
    """

    # Of the class, since most requests have none of it.
    request_body: KeptBody | None = None
    response_head = b""
    """Status line and headers, as they were sent."""
    response_body: KeptBody | None = None
    status = 0
    """Of an answer that is none of the application's; 0: there is none."""
    sent_at = 0.0
    """When the last byte was handed over."""
    ended_at = 0.0
    is_open_ended = False
    """Whether its response has begun, and nobody has said how long it is."""
    is_switched = False
    """Whether the connection is another protocol's now."""
    flask = ""
    """What Flask tells of it, as JSON."""
    is_due = False
    is_silent = False
    """Whether nothing of it is reported any more."""
    _is_event_stream = False
    _failure: Failure | None = None
    _failed_with = 0
    _debugger = ""
    """The path of the debugger's page."""
    _queries: dict[int, float] | None = None
    _counts: dict[str, int] | None = None
    _told: dict[str, str] | None = None
    """What was reported last; None: nothing was."""
    _told_sizes = (-1, -1)

    def __init__(
        self,
        reporter: Reporter,
        key: str,
        exchange: Exchange,
        headers: Headers,
        accepted_at: float | None,
    ) -> None:
        self._reporter = reporter
        self.id = key
        self.began = began = clock.monotonic()
        self._began_at = time.time()
        self.exchange: Exchange | None = exchange
        self._scheme: str = exchange.environ["wsgi.url_scheme"]
        self._headers = headers
        self._marks: list[Any] = ["head", began]
        """Names and times, in turn."""
        if accepted_at is not None:
            self._marks = ["accepted", accepted_at, "head", began]
        self._news: list[tuple[str, float, dict[str, Any]]] = []
        """Of other lists: of which one, when, and what."""

    # From any thread.

    def mark(self, name: str) -> None:
        """It has come to a point."""
        self._marks.extend((name, clock.monotonic()))

    def application_begins(self) -> None:
        """The application is about to be called, in the thread that was found for it."""
        exchange = self.exchange
        if exchange is not None:
            taken_at = exchange.started_at
            self._marks.extend(("thread", taken_at, "application", clock.monotonic()))
        self.touch()

    def touch(self) -> None:
        """Have what is new reported."""
        if not (self.is_due or self.is_silent):
            self.is_due = True
            try:
                self._reporter.due(self)
            except Exception:
                self._reporter.failed()

    def add(self, kind: str, at: float, values: dict[str, Any]) -> None:
        """Something of a list: ``spans``, ``logs`` or ``events``."""
        try:
            if kind in MOST_OF_A_KIND and self._count(kind) > MOST_OF_A_KIND[kind]:
                return
            if not self.is_silent and len(self._news) < MOST_NEWS:
                self._news.append((kind, at, values))
                self.touch()
        except Exception:
            self._reporter.failed()

    def add_span(self, kind: str, began: float, ended: float, text: str) -> None:
        """Time that was spent: ``sql``, ``loop`` or ``wait``."""
        text = text[:LONGEST_TEXT]
        self.add("spans", began, {"kind": kind, "seconds": ended - began, "text": text})

    def query_began(self, cursor: object) -> None:
        """A statement is about to be executed."""
        if self._queries is None:
            self._queries = {}
        self._queries[id(cursor)] = clock.monotonic()
        self.touch()

    def query_ended(self, cursor: object, text: str) -> None:
        """It was executed."""
        began = (self._queries or {}).pop(id(cursor), None)
        if began is not None:
            self.add_span("sql", began, clock.monotonic(), text)

    def fail(self, error: BaseException) -> None:
        """Keep what the application has raised; a client's leaving is no fault of its.

        The first counts, of which others may be the consequence. In the thread that handles it.
        """
        try:
            exchange = self.exchange
            if self._failure is None and exchange is not None and not is_of_client(error, exchange):
                self._failed_with = id(error)
                self._failure = failure_of(error)
                self.touch()
        except Exception:
            self._reporter.failed()

    def has_told(self, error: BaseException) -> bool:
        """Whether this is what was kept."""
        return self._failed_with == id(error)

    def head_leaves(self, head: bytes, *, is_open_ended: bool) -> None:
        """The head of the response is about to be sent."""
        exchange = self.exchange
        if exchange is not None and (shown := exchange.environ.get(SHOWN)) is not None:
            # Of an application without a framework, nobody else has told.
            self.fail(shown.error)
            self._debugger = shown.path
        self.response_head = head
        self.response_body = KeptBody()
        self._marks.extend(("first_byte", clock.monotonic()))
        if is_open_ended:
            self.is_open_ended = True
            self._is_event_stream = b"\r\ncontent-type: text/event-stream" in head.lower()
        self.touch()

    def block_leaves(self, data: bytes) -> None:
        """So is a block of its body."""
        self.sent_at = now = clock.monotonic()
        if self.response_body is not None:
            self.response_body.add(data)
        if self._is_event_stream:
            text = data[: 4 * LONGEST_TEXT].decode("utf-8", "replace")
            self.add("events", now, {"text": text[:LONGEST_TEXT]})
        elif self.is_open_ended:
            self.touch()

    def _count(self, kind: str) -> int:
        if self._counts is None:
            self._counts = dict.fromkeys(MOST_OF_A_KIND, 0)
        self._counts[kind] += 1
        return self._counts[kind]

    # On the loop.

    def switch(self) -> None:
        """The application uses the bytes of the connection."""
        self.is_open_ended = True
        self.touch()

    def end(self) -> None:
        """It is over."""
        if not self.ended_at:
            now = clock.monotonic()
            if self.sent_at:
                self._marks.extend(("last_byte", self.sent_at))
            self._marks.extend(("closed", now))
            self.ended_at = now
            self.touch()

    @property
    def has_news(self) -> bool:
        """Whether a report did not have room for all."""
        return bool(self._news)

    def report(self, largest_size: int) -> str:
        """What has changed since the last one: a message, as JSON of ASCII alone."""
        self.is_due = False  # first of all: what comes from now on may be missing here
        is_over = self.ended_at > 0.0
        pieces = self._pieces(is_over=is_over)
        told = self._told
        if told is not None:
            pieces = {name: piece for name, piece in pieces.items() if told.get(name) != piece}
            self._told = told | pieces
        else:
            self._told = pieces
            pieces = self._lasting_pieces() | pieces
        lists = self._lists()
        message = self._message(pieces, lists)
        for shortened in (self._without_data, self._without_texts):
            if len(message) >= largest_size:
                pieces = shortened(pieces)
                message = self._message(pieces, lists)
        if is_over and not self._news:
            self.is_silent = True
            self.exchange = None  # it knows this
        return message

    def _message(self, pieces: dict[str, str], lists: str) -> str:
        values = ",".join([f'"{name}":{piece}' for name, piece in pieces.items()])
        return f'{{"event":"inspected","id":"{self.id}","set":{{{values}}}{lists}}}'

    def _without_data(self, pieces: dict[str, str]) -> dict[str, str]:
        return pieces | {
            name: f'{{"size":{body.size},"data":"","is_cut":true}}'
            for name, body in self._bodies()
            if name in pieces and body is not None
        }

    def _without_texts(self, pieces: dict[str, str]) -> dict[str, str]:
        return pieces | {name: piece for name, piece in _TOO_LARGE.items() if name in pieces}

    def _lasting_pieces(self) -> dict[str, str]:
        exchange, reporter = self.exchange, self._reporter
        assert exchange is not None, "it was not reported before"
        head = reporter.headers.of_request(self._headers)
        target = exchange.target
        if not reporter.keeps_secrets and ("?" in target or "@" in target):
            target = mask_target(target)
        pieces = {
            "method": quoted(exchange.method),
            "target": quoted(target),
            "protocol": quoted(exchange.protocol),
            "scheme": quoted(self._scheme),
            "client": quoted(exchange.client),
            "host": head.host,
            "began_at": f"{self._began_at:.6f}",
            "request_headers": head.piece,
        }
        if head.replay_of:
            pieces["replay_of"] = head.replay_of
        return pieces

    def _pieces(self, *, is_over: bool) -> dict[str, str]:
        exchange = self.exchange
        assert exchange is not None, "it is not silent"
        pieces = {"state": self._state(exchange)}
        if self.request_body is not None:
            value = self._headers.value
            kind, coding = value("content-type"), value("content-encoding")
            self._add_body(pieces, 0, self.request_body, kind, coding, is_over=is_over)
        if self.response_head:
            head = self._reporter.headers.of_response(self.response_head)
            pieces["status"], pieces["reason"] = head.status, head.reason
            pieces["response_headers"] = head.piece
            if (body := self.response_body) is not None:
                kind, coding = head.content_type, head.coding
                self._add_body(pieces, 1, body, kind, coding, is_over=is_over)
        if status := self.status or exchange.own_status:
            pieces["status"] = str(status)
        if size := exchange.response_size:
            pieces["response_size"] = str(size)
        if is_over:
            pieces["duration"] = f"{self.ended_at - self.began:.6f}"
        if self.flask:
            pieces["flask"] = self.flask
        if (failure := self._failure) is not None:
            pieces["traceback"] = quoted(self._without_secrets(failure.text))
            pieces["frames"] = failure.frames
        if self._debugger:
            pieces["debugger"] = quoted(self._debugger)
        return pieces

    def _add_body(
        self,
        pieces: dict[str, str],
        index: int,
        body: KeptBody,
        content_type: str,
        coding: str,
        *,
        is_over: bool,
    ) -> None:
        """Add a body, if so much of it has come that it is worth telling again."""
        told = self._told_sizes[index]
        if body.size > told if is_over else body.size > 2 * told:
            sizes = self._told_sizes
            self._told_sizes = (body.size, sizes[1]) if index == 0 else (sizes[0], body.size)
            keeps_secrets = self._reporter.keeps_secrets
            pieces[_BODIES[index]] = body.as_json(content_type, coding, keeps_secrets=keeps_secrets)

    def _bodies(self) -> tuple[tuple[str, KeptBody | None], ...]:
        return ((_BODIES[0], self.request_body), (_BODIES[1], self.response_body))

    def _state(self, exchange: Exchange) -> str:
        if self.ended_at:
            return '"ended"'
        if self.is_open_ended or self.is_switched:
            return '"streaming"'
        if not exchange.started_at:
            return '"waiting"'
        is_streaming = exchange.iteration is not None or exchange.is_taken_over
        return '"streaming"' if is_streaming else '"running"'

    def _lists(self) -> str:
        """What is new, as the rest of a message."""
        began, marks, news = self.began, self._marks, self._news
        if not marks and not news:
            return ""
        new = marks[:]
        del marks[: len(new)]
        times = [at - began for at in new[1::2]]
        lists = [f'"marks":[{self._reporter.marks.piece(tuple(new[::2]), times)}]']
        if news:
            lists += [f'"{kind}":[{",".join(items)}]' for kind, items in self._taken(news).items()]
        return f',"add":{{{",".join(lists)}}}'

    def _taken(self, news: list[tuple[str, float, dict[str, Any]]]) -> dict[str, list[str]]:
        """As much of what is new as one report has room for."""
        added: dict[str, list[str]] = {}
        size = count = 0
        for kind, at, value in news[:]:
            value["at"] = round(at - self.began, 6)
            if kind == "spans":
                value["seconds"] = round(value["seconds"], 6)
            else:
                value["text"] = self._without_secrets(value["text"], kind)
            added.setdefault(kind, []).append(dumps(value))
            size += len(value["text"]) + 100
            count += 1
            if size >= _REPORTED_TEXT:
                break
        del news[:count]
        return added

    def _without_secrets(self, text: str, kind: str = "") -> str:
        """An event may be JSON, or anything. What the server logs names the target."""
        if self._reporter.keeps_secrets:
            return text
        if kind == "events":
            return mask_text(text)
        target = "" if self.exchange is None else self.exchange.target
        masked = mask_target(target)
        return text if masked == target else text.replace(target, masked)


class MarkPieces:
    """Marks as pieces of JSON; the same names come in the same order again and again."""

    def __init__(self) -> None:
        self._templates: dict[tuple[str, ...], str] = {}

    def piece(self, names: tuple[str, ...], times: list[float]) -> str:
        """Marks of these names at these times, in turn."""
        template = self._templates.get(names)
        if template is None:
            template = ",".join(f'{{"name":"{name}","at":%.6f}}' for name in names)
            if len(self._templates) < _MOST_TEMPLATES:
                self._templates[names] = template
        return template % tuple(times)


def is_of_client(error: BaseException, exchange: Exchange) -> bool:
    """Whether `error` says no more than that the client has left, or has sent a broken body."""
    return (
        exchange.is_of_disconnect(error)
        or exchange.is_of_taken_socket(error)
        or isinstance(error, RequestBodyError)
    )


def current_record() -> Record | None:
    """That of the request to which the running code belongs; None if there is none."""
    record: Record | None = getattr(current_request(), "inspected", None)
    return record
