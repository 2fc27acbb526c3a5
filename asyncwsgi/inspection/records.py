"""What is known of one request, and what of it is reported.

A record is written by the loop and by the threads of its request, each its own fields, and costs
them references and times. What is sent for it is made later, on the loop (see
`asyncwsgi.inspection.reporter`): secrets are left out there, before anything leaves the process.

Lists grow by reports: what is new waits in `_news`, a deque, from which the loop takes while a
thread adds. All else is told anew when it has changed.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from asyncwsgi.clock import clock
from asyncwsgi.coroutines.current import current_request
from asyncwsgi.errors import RequestBodyError
from asyncwsgi.inspection.bodies import KeptBody
from asyncwsgi.inspection.masking import mask_field, mask_target, mask_text
from asyncwsgi.inspection.tracebacks import Failure, failure_of

if TYPE_CHECKING:
    from asyncwsgi.requests.exchange import Exchange

Headers = list[tuple[str, str]]

MOST_NEWS = 2000
"""Marks, spans, log lines and events that wait to be reported. Beyond them, new ones are lost."""
MOST_OF_A_KIND = 1000
"""Spans of one request that are reported, and log lines. An event stream has no such bound."""
LONGEST_TEXT = 4096
"""Characters of a log line, a statement or an event."""
_REPORTED_TEXT = 32 * 1024
"""Characters of lists in one report; the rest comes with the next one."""
_LISTS = ("marks", "spans", "logs", "events")


class Reporter(Protocol):
    """What fetches reports."""

    keeps_secrets: bool

    def due(self, record: Record) -> None:
        """There is something to be reported. From any thread."""

    def failed(self) -> None:
        """Something could not be recorded: say so, once. From any thread."""


class Record:
    """One request. Made on the loop when its head is complete."""

    __slots__ = (
        "_counts", "_failed_with", "_news", "_reporter", "_told", "_told_sizes", "began",
        "began_at", "debugger", "ended_at", "exchange", "failure", "flask", "host", "id",
        "is_due", "is_endless", "is_open_ended", "is_silent", "is_switched", "queries",
        "replay_of", "request_body", "request_headers", "response_body", "response_head",
        "scheme", "sent_at", "status", "target",
    )  # fmt: skip

    def __init__(
        self,
        reporter: Reporter,
        key: str,
        exchange: Exchange,
        headers: Callable[[], Headers],
        *,
        accepted_at: float | None,
    ) -> None:
        self._reporter = reporter
        self.id = key
        self.began = clock.monotonic()
        self.began_at = time.time()
        self.exchange: Exchange | None = exchange
        environ = exchange.environ
        self.target = exchange.target
        self.host: str = environ.get("HTTP_HOST", "")
        self.scheme: str = environ["wsgi.url_scheme"]
        self.replay_of: str | None = environ.get("HTTP_ASYNCWSGI_REPLAY_OF")
        self.request_headers = headers
        self.request_body: KeptBody | None = None
        self.response_head = b""
        """Status line and headers, as they were sent."""
        self.response_body: KeptBody | None = None
        self.status = 0
        """Of an answer that is none of the application's; 0: there is none."""
        self.sent_at = 0.0
        """When the last byte was handed over."""
        self.ended_at = 0.0
        self.is_open_ended = False
        """Whether its response has begun, and nobody has said how long it is."""
        self.is_endless = False
        """Whether it is an event stream, whose blocks are events."""
        self.is_switched = False
        """Whether the connection is another protocol's now."""
        self.failure: Failure | None = None
        self._failed_with = 0
        self.debugger: str | None = None
        self.flask: dict[str, Any] | None = None
        self.queries: dict[int, float] = {}
        """When each statement has begun that runs, by the identity of its cursor."""
        self.is_due = False
        self.is_silent = False
        """Whether nothing of it is reported: there was too much to report."""
        self._news: deque[tuple[str, Any]] = deque()
        if accepted_at is not None:
            self._news.append(("marks", ("accepted", accepted_at)))
        self._news.append(("marks", ("head", self.began)))
        self._counts: dict[str, int] | None = None
        self._told: dict[str, Any] | None = None
        """What was reported last; None: nothing was."""
        self._told_sizes = {"request_body": -1, "response_body": -1}

    # From any thread.

    def mark(self, name: str) -> None:
        """It has come to a point."""
        self._news.append(("marks", (name, clock.monotonic())))

    def touch(self) -> None:
        """Have what is new reported."""
        if not (self.is_due or self.is_silent):
            self.is_due = True
            self._reporter.due(self)

    def add(self, kind: str, at: float, values: dict[str, Any]) -> None:
        """Something of a list: ``spans``, ``logs`` or ``events``."""
        counts = self._counts
        if counts is None:
            counts = self._counts = {}
        count = counts[kind] = counts.get(kind, 0) + 1
        is_too_much = count > MOST_OF_A_KIND and kind != "events"
        if self.is_silent or is_too_much or len(self._news) >= MOST_NEWS:
            return
        values["at"] = at
        self._news.append((kind, values))
        self.touch()

    def add_span(self, kind: str, began: float, ended: float, text: str) -> None:
        """Time that was spent: ``sql``, ``loop`` or ``wait``."""
        text = text[:LONGEST_TEXT]
        self.add("spans", began, {"kind": kind, "seconds": ended - began, "text": text})

    def fail(self, error: BaseException) -> None:
        """Keep what the application has raised; a client's leaving is no fault of its.

        The first counts, of which others may be the consequence. In the thread that handles it.
        """
        exchange = self.exchange
        if self.failure is not None or exchange is None or is_of_client(error, exchange):
            return
        self._failed_with = id(error)
        try:
            self.failure = failure_of(error)
        except Exception:
            self._reporter.failed()
        self.touch()

    def has_told(self, error: BaseException) -> bool:
        """Whether this is what was kept."""
        return self._failed_with == id(error)

    def head_leaves(self, head: bytes, *, is_open_ended: bool) -> None:
        """The head of the response is about to be sent."""
        self.response_head = head
        self.response_body = KeptBody()
        self._news.append(("marks", ("first_byte", clock.monotonic())))
        if is_open_ended:
            self.is_open_ended = True
            self.is_endless = b"\r\ncontent-type: text/event-stream" in head.lower()
        self.touch()

    def block_leaves(self, data: bytes) -> None:
        """So is a block of its body."""
        self.sent_at = now = clock.monotonic()
        if self.response_body is not None:
            self.response_body.add(data)
        if self.is_endless:
            text = data[: 4 * LONGEST_TEXT].decode("utf-8", "replace")
            self.add("events", now, {"text": text[:LONGEST_TEXT]})
        elif self.is_open_ended:
            self.touch()

    # On the loop.

    def switch(self) -> None:
        """The application uses the bytes of the connection."""
        self.is_open_ended = True
        self.touch()

    def end(self) -> None:
        """It is over."""
        if not self.ended_at:
            self.ended_at = clock.monotonic()
            if self.sent_at:
                self._news.append(("marks", ("last_byte", self.sent_at)))
            self._news.append(("marks", ("closed", self.ended_at)))
            self.touch()

    @property
    def has_news(self) -> bool:
        """Whether a report did not have room for all."""
        return bool(self._news)

    def report(self) -> dict[str, Any]:
        """What has changed since the last one."""
        self.is_due = False  # first of all: what comes from now on may be missing here
        is_over = self.ended_at > 0.0
        values = self._values()
        told = self._told
        if told is None:
            values.update(self._lasting_values())
            changed = values
        else:
            changed = {name: value for name, value in values.items() if told[name] != value}
        self._told = values
        headers = dict(self._response_headers()[1])
        for name in ("request_body", "response_body"):
            if self._is_body_due(name, is_over=is_over):
                changed[name] = self._body(name, headers)
        message: dict[str, Any] = {"event": "inspected", "id": self.id, "set": changed}
        if self._news:
            message["add"] = self._additions()
        if is_over and not self._news:
            self.is_silent = True
            self.exchange = None  # it knows this
        return message

    def _values(self) -> dict[str, Any]:
        exchange = self.exchange
        status_line, headers = self._response_headers()
        version_status_reason = status_line.split(" ", 2)
        status = self.status or int((exchange and exchange.own_status) or 0)
        if not status and len(version_status_reason) > 1:
            status = int(version_status_reason[1])
        failure = self.failure
        return {
            "state": self._state(),
            "status": status or None,
            "reason": ""
            if self.status or len(version_status_reason) < 3
            else version_status_reason[2],
            "response_headers": headers,
            "response_size": 0 if exchange is None else exchange.response_size,
            "duration": round(self.ended_at - self.began, 6) if self.ended_at else None,
            "flask": self.flask,
            "traceback": None if failure is None else self._without_secrets(failure.text),
            "frames": [] if failure is None else failure.frames,
            "debugger": self.debugger,
        }

    def _lasting_values(self) -> dict[str, Any]:
        exchange = self.exchange
        assert exchange is not None, "it was not reported before"
        target = self.target if self._reporter.keeps_secrets else mask_target(self.target)
        return {
            "method": exchange.method,
            "target": target,
            "protocol": exchange.protocol,
            "scheme": self.scheme,
            "client": exchange.client,
            "host": self.host,
            "began_at": self.began_at,
            "replay_of": self.replay_of,
            "request_headers": self._masked(self.request_headers()),
            "request_body": None,
            "response_body": None,
            **{name: [] for name in _LISTS},
        }

    def _state(self) -> str:
        if self.ended_at:
            return "ended"
        exchange = self.exchange
        if self.is_open_ended or self.is_switched:
            return "streaming"
        if exchange is None or not exchange.started_at:
            return "waiting"
        is_streaming = exchange.iteration is not None or exchange.is_taken_over
        return "streaming" if is_streaming else "running"

    def _response_headers(self) -> tuple[str, list[list[str]]]:
        """The status line and the headers of the response."""
        if not self.response_head:
            return "", []
        line, *lines = self.response_head.decode("latin-1").rstrip("\r\n").split("\r\n")
        pairs = [line.partition(": ") for line in lines]
        return line, self._masked([(name, value) for name, _, value in pairs])

    def _masked(self, headers: Headers) -> list[list[str]]:
        if self._reporter.keeps_secrets:
            return [[name, value] for name, value in headers]
        return [[name, mask_field(name, value)] for name, value in headers]

    def _is_body_due(self, name: str, *, is_over: bool) -> bool:
        """Whether so much has come that it is worth reporting the body again."""
        body: KeptBody | None = getattr(self, name)
        if body is None:
            return False
        told = self._told_sizes[name]
        is_due = body.size > told if is_over else body.size > 2 * told
        if is_due:
            self._told_sizes[name] = body.size
        return is_due

    def _body(self, name: str, response_headers: dict[str, str]) -> dict[str, Any]:
        body: KeptBody = getattr(self, name)
        is_response = name == "response_body"
        headers = response_headers if is_response else dict(self.request_headers())
        lower = {key.lower(): value for key, value in headers.items()}
        return body.as_json(
            lower.get("content-type", ""),
            lower.get("content-encoding", ""),
            keeps_secrets=self._reporter.keeps_secrets,
        )

    def _additions(self) -> dict[str, list[dict[str, Any]]]:
        began, news = self.began, self._news
        exchange = self.exchange
        added: dict[str, list[dict[str, Any]]] = {}
        size = 0
        while news and size < _REPORTED_TEXT:
            kind, value = news.popleft()
            if kind == "marks":
                name, at = value
                if name == "application" and exchange is not None:
                    taken_at = round(exchange.started_at - began, 6)
                    added.setdefault(kind, []).append({"name": "thread", "at": taken_at})
                value = {"name": name, "at": at}
            elif "text" in value:
                if kind != "spans":
                    value["text"] = self._without_secrets(value["text"], kind)
                size += len(value["text"])
            value["at"] = round(value["at"] - began, 6)
            if "seconds" in value:
                value["seconds"] = round(value["seconds"], 6)
            added.setdefault(kind, []).append(value)
            size += 64
        return added

    def _without_secrets(self, text: str, kind: str = "") -> str:
        """What the server says names the target; an event may be JSON, or anything."""
        if self._reporter.keeps_secrets:
            return text
        if kind == "events":
            return mask_text(text)
        masked = mask_target(self.target)
        return text if masked == self.target else text.replace(self.target, masked)


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
