"""The site of the inspector as its page sees it, with entries that tests put there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncwsgi
from asyncwsgi.event_stream import Event, EventStream

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

PACKAGE = Path(asyncwsgi.__file__).parent
PAGE = PACKAGE / "inspection" / "page"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src"
    " 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
KEY = "the-key"
NOW = {"threads": {"busy": 1, "limit": 8, "queued": 0, "parked": 0}}


def entry(number: int, **fields: Any) -> dict[str, Any]:
    """A whole entry of a request that has ended well, but for `fields`."""
    return {
        "id": f"1-{number}",
        "method": "GET",
        "target": f"/{number}",
        "protocol": "HTTP/1.1",
        "scheme": "http",
        "client": "127.0.0.1",
        "host": "127.0.0.1:8000",
        "began_at": 1_790_000_000.0 + number,
        "state": "ended",
        "status": 200,
        "reason": "OK",
        "request_headers": [["Host", "127.0.0.1:8000"]],
        "response_headers": [["Content-Type", "text/plain"]],
        "request_body": None,
        "response_body": None,
        "response_size": 120,
        "duration": 0.0042,
        "marks": [
            {"name": "accepted", "at": -0.0004},
            {"name": "head", "at": 0.0},
            {"name": "thread", "at": 0.0003},
            {"name": "application", "at": 0.0004},
            {"name": "first_byte", "at": 0.0036},
            {"name": "last_byte", "at": 0.0037},
            {"name": "closed", "at": 0.0042},
        ],
        "spans": [],
        "flask": None,
        "logs": [],
        "traceback": None,
        "frames": [],
        "debugger": None,
        "events": [],
        "replay_of": None,
        **fields,
    }


def summary_of(entry: dict[str, Any]) -> dict[str, Any]:
    names = ("id", "method", "target", "status", "state", "response_size", "duration", "began_at")
    types = [value for name, value in entry["response_headers"] if name == "Content-Type"]
    at = {mark["name"]: mark["at"] for mark in entry["marks"]}
    return {
        **{name: entry[name] for name in (*names, "replay_of")},
        "type": types[0].partition(";")[0] if types else "",
        "endpoint": (entry["flask"] or {}).get("endpoint", ""),
        "failed": (entry["status"] or 0) >= 500,
        "thread_at": at.get("thread"),
        "first_byte_at": at.get("first_byte"),
    }


class FakeSite:
    """A WSGI application."""

    def __init__(self, entries: Iterable[dict[str, Any]] = ()) -> None:
        self.entries = {entry["id"]: entry for entry in entries}
        self.replayed: list[dict[str, Any]] = []
        self.settings = {
            "version": "0",
            "app": "shop:app",
            "origin": "http://127.0.0.1:8000",
            "editor": "vscode://file{path}:{line}",
        }
        self._watchers: set[tuple[asyncio.AbstractEventLoop, asyncio.Queue[Event]]] = set()

    def put(self, entry: dict[str, Any]) -> None:
        self.entries[entry["id"]] = entry
        self.push("entry", summary_of(entry))

    def push(self, event: str, data: Any) -> None:
        for loop, queue in list(self._watchers):
            loop.call_soon_threadsafe(queue.put_nowait, Event(json.dumps(data), event=event))

    async def _events(self) -> AsyncIterator[Event]:
        watcher = asyncio.get_running_loop(), asyncio.Queue[Event]()
        self._watchers.add(watcher)
        try:
            while True:
                yield await watcher[1].get()
        finally:
            self._watchers.discard(watcher)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/" or path.startswith("/assets/"):
            return self._file(path.rpartition("/")[2] or "index.html", start_response)
        if environ.get("HTTP_X_INSPECT_KEY") != KEY:
            return self._json({"error": "the key is wrong"}, start_response, "403 Forbidden")
        if path == "/api/events":
            return EventStream(self._events())(environ, start_response)
        return self._api(path.split("/")[2:], environ, start_response)

    def _api(
        self, path: list[str], environ: dict[str, Any], start_response: StartResponse
    ) -> Iterable[bytes]:
        match path:
            case ["settings"]:
                return self._json(self.settings, start_response)
            case ["entries"]:
                entries = [summary_of(entry) for entry in self.entries.values()]
                value = {"entries": entries, "now": NOW, "dropped": 0}
                return self._json(value, start_response)
            case ["entries", name]:
                return self._json(self.entries[name], start_response)
            case ["entries", name, "stack"]:
                return self._json({"stack": f'File "/a.py", line 1, in {name}'}, start_response)
            case ["entries", name, "copy", way]:
                start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
                return [f"{way} of {name}".encode()]
            case ["replay"]:
                request = json.loads(environ["wsgi.input"].read())
                self.replayed.append(request)
                number = len(self.entries) + 1
                self.put(entry(number, replay_of=request["id"]))
                value = {"id": f"1-{number}", "status": 200, "left_out": ["Cookie"]}
                return self._json(value, start_response)
            case ["clear"]:
                self.entries.clear()
                self.push("cleared", None)
                return self._json({}, start_response)
        raise AssertionError(path)

    def _file(self, name: str, start_response: StartResponse) -> Iterable[bytes]:
        path = PACKAGE / "pages" / name if name == "style.css" else PAGE / name
        headers = [
            ("Content-Type", TYPES[path.suffix]),
            ("Content-Security-Policy", POLICY),
            ("X-Content-Type-Options", "nosniff"),
        ]
        start_response("200 OK", headers)
        return [path.read_bytes()]

    def _json(
        self, value: Any, start_response: StartResponse, status: str = "200 OK"
    ) -> Iterable[bytes]:
        start_response(
            status, [("Content-Type", "application/json"), ("X-Content-Type-Options", "nosniff")]
        )
        return [json.dumps(value).encode()]
