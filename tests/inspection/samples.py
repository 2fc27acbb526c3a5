"""Reports as workers send them, and entries."""

from __future__ import annotations

import base64
from typing import Any

from asyncwsgi.inspection.entries import Entry, begun

FIRST: dict[str, Any] = {
    "method": "GET",
    "target": "/orders?page=2",
    "protocol": "HTTP/1.1",
    "scheme": "http",
    "client": "127.0.0.1",
    "host": "127.0.0.1:8000",
    "began_at": 1_790_000_000.0,
    "request_headers": [["Host", "127.0.0.1:8000"]],
}
"""What the first report sets."""
LAST: dict[str, Any] = {
    "state": "ended",
    "status": 200,
    "reason": "OK",
    "response_headers": [["Content-Type", "text/plain; charset=utf-8"]],
    "response_size": 120,
    "duration": 0.0042,
}


def report(number: int, added: Any = None, pid: int = 7, **fields: Any) -> dict[str, Any]:
    """The first report of a request, or one of which there is no more to be said."""
    return {"id": f"{pid}-{number}", "set": {**FIRST, **fields}, "add": added or {}}


def entry(**fields: Any) -> Entry:
    """One that has ended, but for `fields`."""
    made = begun("7-1", {**FIRST, **LAST, **fields}, {})
    assert made is not None
    return made


def body(data: bytes, *, size: int | None = None, is_cut: bool = False) -> dict[str, Any]:
    """A body of which `data` is kept."""
    encoded = base64.b64encode(data).decode()
    return {"size": len(data) if size is None else size, "data": encoded, "is_cut": is_cut}
