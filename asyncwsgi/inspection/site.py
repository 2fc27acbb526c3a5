"""The inspector's page and what it asks for, as a WSGI application. `guard` says who may ask.

It runs in the supervisor, on a server of its own: its threads look at the store, which is never
changed but by the loop. What has to be done there is a coroutine of `Actions`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from asyncwsgi.event_stream import EventStream
from asyncwsgi.from_thread import run as run_on_loop
from asyncwsgi.inspection.failed import Failed, Headers
from asyncwsgi.inspection.feed import Feed
from asyncwsgi.inspection.guard import HEADERS, Guard
from asyncwsgi.inspection.store import Store
from asyncwsgi.server_log import logger

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

LARGEST_BODY = 4 * 1024 * 1024
"""Bytes of a request, which is one that shall be replayed."""
PAGE = Path(__file__).with_name("page")
STYLESHEET = Path(__file__).parents[1] / "pages" / "style.css"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_READS = ("GET", "HEAD")


class Answer(NamedTuple):
    """A whole response."""

    status: int
    media_type: str
    body: bytes
    headers: Headers = ()


class Actions(Protocol):
    """What is done on the loop."""

    async def clear(self) -> None: ...

    async def stack(self, entry_id: str) -> str | None: ...

    async def replay(self, request: Mapping[str, Any]) -> Mapping[str, Any]: ...

    async def subscribe(self) -> Feed: ...


class Site:
    """The WSGI application.

    Args:
        guard: who may ask.
        store: what is shown.
        actions: what is done on the loop.
        settings: gives what the page has to know of the service.
        copies: makes of an entry, and the origin of the application, what can be run elsewhere.
    """

    def __init__(
        self,
        guard: Guard,
        store: Store,
        actions: Actions,
        settings: Mapping[str, Any],
        copies: Mapping[str, Callable[[Mapping[str, Any]], str]],
    ) -> None:
        self._guard = guard
        self._store = store
        self._actions = actions
        self._settings = settings
        self._copies = copies
        self._files = _files()

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        try:
            refusal = self._guard.refusal(environ, needs_key=not self._is_file(path))
            if refusal is not None:
                answer = _error(refusal.status, refusal.error)
            elif path == "/api/events" and environ["REQUEST_METHOD"] == "GET":
                return self._stream(environ, start_response)
            else:
                answer = self._answer(path, environ)
        except Failed as failed:
            answer = _error(failed.status, str(failed), failed.headers)
        except Exception as error:
            logger.error("the request inspector failed at %s", path, exc_info=error)
            answer = _error(500, "the inspector itself has failed; its log has the traceback")
        return _send(answer, environ, start_response)

    @staticmethod
    def _is_file(path: str) -> bool:
        return path == "/" or path.startswith("/assets/")

    def _stream(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        feed = run_on_loop(self._actions.subscribe)
        return EventStream(feed, headers=HEADERS)(environ, start_response)

    def _answer(self, path: str, environ: dict[str, Any]) -> Answer:
        if self._is_file(path):
            _allow(environ, *_READS)
            return self._file(path)
        match path.split("/")[1:]:
            case ["api", "replay"]:
                _allow(environ, "POST")
                return self._replay(environ)
            case ["api", "clear"]:
                _allow(environ, "POST")
                run_on_loop(self._actions.clear)
                return _json({})
            case ["api", *names]:
                return self._read(names, environ)
        raise Failed(404, f"there is nothing at {path}; the page is at /")

    def _read(self, names: list[str], environ: dict[str, Any]) -> Answer:
        match names:
            case ["events"]:
                _allow(environ, "GET")
            case ["settings"]:
                _allow(environ, *_READS)
                return _json(self._settings)
            case ["entries"]:
                _allow(environ, *_READS)
                return self._entries()
            case ["entries", name]:
                _allow(environ, *_READS)
                return _json(self._entry(name))
            case ["entries", name, "stack"]:
                _allow(environ, *_READS)
                self._entry(name)
                return _json({"stack": run_on_loop(self._actions.stack, name)})
            case ["entries", name, "copy", way] if way in self._copies:
                _allow(environ, *_READS)
                text = self._copies[way](self._entry(name))
                return Answer(200, "text/plain; charset=utf-8", text.encode())
        raise Failed(404, f"there is nothing at /api/{'/'.join(names)}")

    def _entries(self) -> Answer:
        store = self._store
        entries = store.summaries()
        return _json({"entries": entries, "now": store.now, "dropped": store.dropped_count})

    def _entry(self, name: str) -> Mapping[str, Any]:
        entry = self._store.entry(name)
        if entry is None:
            raise Failed(404, f"no request {name} is kept; the oldest ones are forgotten")
        return entry

    def _file(self, path: str) -> Answer:
        # Looked up and not opened by its name: nothing else on this machine can be asked for.
        file = self._files.get(path)
        if file is None:
            raise Failed(404, f"there is no file {path} of the inspector")
        return Answer(200, _TYPES[file.suffix], file.read_bytes())

    def _replay(self, environ: dict[str, Any]) -> Answer:
        return _json(run_on_loop(self._actions.replay, _json_body(environ)))


def _files() -> dict[str, Path]:
    """The files that there are, by their paths."""
    files = {f"/assets/{one.name}": one for one in PAGE.glob("*") if one.suffix in _TYPES}
    return {**files, "/assets/style.css": STYLESHEET, "/": PAGE / "index.html"}


def _allow(environ: Mapping[str, Any], *methods: str) -> None:
    if environ["REQUEST_METHOD"] not in methods:
        allowed = ", ".join(methods)
        raise Failed(405, f"expected the method {allowed}", (("Allow", allowed),))


def _json_body(environ: Mapping[str, Any]) -> dict[str, Any]:
    media_type = environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise Failed(415, f"the body is of type {media_type!r}; expected application/json")
    data = environ["wsgi.input"].read(LARGEST_BODY + 1)
    if len(data) > LARGEST_BODY:
        raise Failed(413, f"the body is too large; expected at most {LARGEST_BODY} bytes")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Failed(400, f"the body is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise Failed(400, "the body is JSON of another kind; expected an object")
    return value


def _json(value: Any, status: int = 200, headers: Headers = ()) -> Answer:
    return Answer(status, "application/json", json.dumps(value).encode(), headers)


def _error(status: int, error: str, headers: Headers = ()) -> Answer:
    return _json({"error": error}, status, headers)


def _send(
    answer: Answer, environ: Mapping[str, Any], start_response: StartResponse
) -> Iterable[bytes]:
    status = f"{answer.status} {HTTPStatus(answer.status).phrase}"
    headers = [
        ("Content-Type", answer.media_type),
        ("Content-Length", str(len(answer.body))),
        *HEADERS,
        *answer.headers,
    ]
    start_response(status, headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [answer.body]
