"""What a live server has received and answered: the journal of its requests.

The server's loop and its worker threads write it, tests read it from whichever thread they run in.
Knows nothing of sockets, exchanges and frameworks; `asyncwsgi.testing.live.recording` fills it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn
from urllib.parse import unquote

from asyncwsgi.clock import clock
from asyncwsgi.testing.live.condition import AwaitableCondition

RECORDED_BODY_SIZE = 1024 * 1024
"""Bytes of a request body that are kept."""
MOST_REQUESTS = 1000
"""Requests that are kept: the newest. A server may serve all tests of a session."""
WAIT_TIMEOUT = 10.0
"""Seconds that a test waits for a request before it fails."""
_MOST_NAMED = 10
"""Requests that a message names."""

_ORIGIN = re.compile(r"^[^/?#]+://[^/?#]*")  # of an absolute-form target

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRequest:
    """One request, with all that was known of it when the server was asked."""

    method: str
    target: str
    """The request target as sent."""
    path: str
    """Its path, decoded."""
    query: str
    """Its query string as sent, without the question mark."""
    headers: Headers
    """(name, value) as received, in order."""
    client: str
    """The client's address; empty on a Unix socket."""
    body: bytes = field(repr=False)
    """What was received of the body, up to ``recorded_body_size``."""
    is_body_cut: bool
    """Whether that is not all of it: it is larger, incomplete, or the application left the rest."""
    status: int | None
    """Status of the response; None while it has none, and if the client left before."""
    duration: float | None
    """Seconds from the complete head of the request to the end of its response."""
    error: BaseException | None
    """What the application raised, to the server or to a framework that made a 500 of it."""
    is_finished: bool
    """Whether the application is done with it, and the response is on its way."""

    def header(self, name: str) -> str | None:
        """The value of a header; None if it is absent, joined by commas if it is repeated."""
        wanted = name.lower()
        values = [value for key, value in self.headers if key.lower() == wanted]
        return ", ".join(values) if values else None

    def __str__(self) -> str:
        return f"{self.method} {self.target}"


class Record:
    """A request while it is being served. Its writers are the loop and one worker thread."""

    def __init__(
        self, journal: Journal, method: str, target: str, headers: Headers, client: str
    ) -> None:
        self._journal = journal
        self._method = method
        self._target = target
        self._headers = headers
        self._client = client
        self._began = clock.monotonic()
        self._body = bytearray()
        self._is_body_cut = False
        self._final: RecordedRequest | None = None
        self.expects_body = False
        """Whether a body was announced, and its end has not come."""
        self.status: int | None = None
        self.error: BaseException | None = None
        self.was_taken = False
        """Whether a wait has returned it."""

    def __str__(self) -> str:
        return f"{self._method} {self._target}"

    @property
    def is_finished(self) -> bool:
        return self._final is not None

    def add_body(self, data: bytes | memoryview) -> None:
        """Keep a piece of the body, as far as there is room."""
        with self._journal.lock:
            room = self._journal.recorded_body_size - len(self._body)
            self._body += data[:room]
            self._is_body_cut = self._is_body_cut or len(data) > room

    def fail(self, error: BaseException, *, is_fault: bool) -> None:
        """Say what the application raised; `is_fault` if that was the application's doing."""
        with self._journal.lock:
            if self.error is None:
                self.error = error
            if is_fault:
                self._journal.add_error(error, self)

    def finish(self) -> None:
        """The request is over; what happens later is not recorded."""
        with self._journal.lock:
            if self._final is None:
                self._final = self._snapshot(clock.monotonic() - self._began)
                self._body.clear()
                self._journal.changed()

    def snapshot(self) -> RecordedRequest:
        """What is known now."""
        with self._journal.lock:
            return self._final or self._snapshot(None)

    def _snapshot(self, duration: float | None) -> RecordedRequest:
        path, query = _split(self._target)
        return RecordedRequest(
            method=self._method,
            target=self._target,
            path=path,
            query=query,
            headers=self._headers,
            client=self._client,
            body=bytes(self._body),
            is_body_cut=self._is_body_cut or self.expects_body,
            status=self.status,
            duration=duration,
            error=self.error,
            is_finished=duration is not None,
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which request is waited for."""

    path: str | None = None
    method: str | None = None
    matching: Callable[[RecordedRequest], bool] | None = None

    def matches(self, request: RecordedRequest) -> bool:
        return (
            (self.path is None or self.path in (request.path, request.target))
            and (self.method is None or self.method.upper() == request.method)
            and (self.matching is None or self.matching(request))
        )

    def __str__(self) -> str:
        words = [self.method or "", self.path or "", "request" if self.path is None else ""]
        if self.matching is not None:
            words.append(f"matching {getattr(self.matching, '__qualname__', self.matching)}")
        return " ".join(word for word in words if word)


class Journal:
    """The requests of one server, and the errors of its application.

    Args:
        recorded_body_size: bytes of each request body that are kept.
    """

    def __init__(self, recorded_body_size: int = RECORDED_BODY_SIZE) -> None:
        self.recorded_body_size = recorded_body_size
        self.lock = AwaitableCondition()
        """Held for moments only: the server's loop takes it."""
        self.is_closed = False
        """Whether nothing can be added any more: the server has stopped."""
        self._records: list[Record] = []
        self._errors: list[tuple[BaseException, Record]] = []

    # For the server.

    def begin(self, method: str, target: str, headers: Headers, client: str) -> Record:
        """Record a request that has arrived."""
        record = Record(self, method, target, headers, client)
        with self.lock:
            self._records.append(record)
            if len(self._records) > MOST_REQUESTS:
                self._drop_oldest()
        return record

    def add_error(self, error: BaseException, record: Record) -> None:
        """Record an error of the application, once, unless its request was forgotten."""
        with self.lock:
            is_known = any(known is error and by is record for known, by in self._errors)
            if record in self._records and not is_known:
                self._errors.append((error, record))

    def changed(self) -> None:
        """Have everybody who waits look again."""
        with self.lock:
            self.lock.notify_all()

    def close(self) -> None:
        """The server has stopped: whoever waits is told."""
        with self.lock:
            self.is_closed = True
            self.changed()

    def _drop_oldest(self) -> None:
        for place, record in enumerate(self._records):
            if record.is_finished:
                del self._records[place]
                break

    # For tests.

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """All that arrived, oldest first."""
        with self.lock:
            return tuple(record.snapshot() for record in self._records)

    @property
    def errors(self) -> tuple[BaseException, ...]:
        """What the application raised, in order."""
        with self.lock:
            return tuple(error for error, _ in self._errors)

    def forget(self) -> None:
        """Drop all requests and errors, and what requests in flight will still tell."""
        with self.lock:
            self._records.clear()
            self._errors.clear()

    def raise_errors(self) -> None:
        """Raise what the application raised; alone, or as a group if there is more than one."""
        with self.lock:
            failures = self._errors.copy()
        for error, record in failures:
            note = f"while answering {record}"
            if note not in getattr(error, "__notes__", ()):
                error.add_note(note)
        if len(failures) == 1 and isinstance(failures[0][0], Exception):
            raise failures[0][0]
        # A SystemExit or KeyboardInterrupt of the application must not end the test run: a group.
        if failures:
            names = ", ".join(str(record) for _, record in failures[:_MOST_NAMED])
            message = f"the application failed while answering {names}"
            raise BaseExceptionGroup(message, [error for error, _ in failures])

    def wait(self, wanted: Wanted, timeout: float) -> RecordedRequest:
        """Take the oldest finished request that is `wanted`; wait for it if there is none."""
        taken = self.lock.wait_until(lambda: self._take(wanted), timeout)
        return taken or self._time_out(wanted, timeout)

    async def wait_on_loop(self, wanted: Wanted, timeout: float) -> RecordedRequest:
        """As `wait`, without blocking the running loop."""
        taken = await self.lock.await_until(lambda: self._take(wanted), timeout)
        return taken or self._time_out(wanted, timeout)

    def _take(self, wanted: Wanted) -> RecordedRequest | None:
        # In this order: who ended before the server closed is found. `matching` runs without the
        # lock, in the thread that asks, which gets what it raises.
        is_closed = self.is_closed
        with self.lock:
            candidates = [r for r in self._records if r.is_finished and not r.was_taken]
        for record in candidates:
            if wanted.matches(record.snapshot()) and self._claim(record):
                return record.snapshot()
        if is_closed:
            raise RuntimeError(
                f"the server has stopped, and no {wanted} can finish any more; {self._tell()}"
            )
        return None

    def _claim(self, record: Record) -> bool:
        with self.lock:
            is_free = not record.was_taken
            record.was_taken = True
            return is_free

    def _time_out(self, wanted: Wanted, timeout: float) -> NoReturn:
        raise TimeoutError(f"no {wanted} has finished within {timeout:g} s; {self._tell()}")

    def _tell(self) -> str:
        with self.lock:
            told = [_tell(record) for record in self._records]
        if not told:
            return "no request has arrived"
        more = f"{len(told) - _MOST_NAMED} more, then " if len(told) > _MOST_NAMED else ""
        return f"what arrived: {more}{', '.join(told[-_MOST_NAMED:])}"


def _tell(record: Record) -> str:
    if not record.is_finished:
        return f"{record} (not finished)"
    status = record.snapshot().status or "no response"
    return f"{record} ({status}{', returned by an earlier wait' if record.was_taken else ''})"


def _split(target: str) -> tuple[str, str]:
    """Path and query of a request target (RFC 9112 3.2)."""
    rest = _ORIGIN.sub("", target.partition("#")[0], count=1)
    path, _, query = rest.partition("?")
    return unquote(path) or "/", query
