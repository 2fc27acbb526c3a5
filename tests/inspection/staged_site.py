"""The inspector's own site and store, with entries that a test has put there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Self

from asyncwsgi.inspection.feed import Feed
from asyncwsgi.inspection.guard import Guard
from asyncwsgi.inspection.site import Site
from asyncwsgi.inspection.store import Store
from asyncwsgi.testing import LiveServer

KEY = "the-key"
PID = 1
THREADS = {"busy": 1, "limit": 8, "queued": 0, "parked": 0}
MARKS = {
    "accepted": -0.0004,
    "head": 0.0,
    "thread": 0.0003,
    "application": 0.0004,
    "first_byte": 0.0036,
    "last_byte": 0.0037,
    "closed": 0.0042,
}


def entry(number: int, **fields: Any) -> dict[str, Any]:
    """The entry 1-`number`: a request for ``/number`` that has ended well, but for `fields`."""
    return {
        "id": f"{PID}-{number}",
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
        "response_size": 120,
        "duration": 0.0042,
        "marks": [{"name": name, "at": at} for name, at in MARKS.items()],
        **fields,
    }


class StagedSite:
    """A server with the site; a context manager.

    Args:
        entries: what is there from the beginning.
        port: where it is served; a free one if it is 0.
        most: entries that are kept.
        settings: what the page is told of the service, where it differs.
    """

    def __init__(
        self,
        entries: Iterable[dict[str, Any]] = (),
        *,
        port: int = 0,
        most: int = 20_000,
        **settings: str,
    ) -> None:
        self._store = Store(most=most, largest=1 << 30)
        self._store.now = {"threads": THREADS}
        for one in entries:
            self._take(one)
        self._settings = {
            "version": "0",
            "app": "shop:app",
            "origin": "http://127.0.0.1:8000",
            "directory": "/me",
            "editor": "vscode://file{path}:{line}",
            **settings,
        }
        self.replayed: list[Mapping[str, Any]] = []
        self._server = LiveServer(lambda *call: self._site(*call), port=port)

    @property
    def port(self) -> int:
        return self._server.port

    @property
    def url(self) -> str:
        """That of the page, with the key."""
        return f"{self._server.url}/#{KEY}"

    def __enter__(self) -> Self:
        self._server.start()
        copies = {way: self._copied_as(way) for way in ("curl", "httpx", "test")}
        self._site = Site(Guard(KEY, self.port), self._store, self, self._settings, copies)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    @staticmethod
    def _copied_as(way: str) -> Any:
        return lambda entry: f"{way} of {entry['id']}"

    def put(self, entry: dict[str, Any]) -> None:
        """Learn of a request, or of what has become of one."""

        async def take() -> None:
            self._take(entry)

        asyncio.run_coroutine_threadsafe(take(), self._server.started.result()).result()

    def _take(self, entry: dict[str, Any]) -> None:
        self._store.take(PID, {"id": entry["id"], "set": entry})

    # What the site has done on the loop.

    async def clear(self) -> None:
        self._store.clear()

    async def stack(self, entry_id: str) -> str | None:
        return f'File "/me/a.py", line 1, in {entry_id}'

    async def replay(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        self.replayed.append(request)
        number = 1 + len(self._store.summaries())
        self._take(entry(number, replay_of=request["id"]))
        return {"id": f"{PID}-{number}", "status": 200, "left_out": ["Cookie"]}

    async def subscribe(self) -> Feed:
        return self._store.subscribe()
