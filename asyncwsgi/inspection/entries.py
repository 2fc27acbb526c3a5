"""What is kept of one request: its fields, what each may hold, and a summary of it.

Reports come from a worker, which runs the application's code. So nothing in them is taken for
granted: a field whose value is of another shape, or larger, than is said here is left as it was.
An entry never changes but is replaced, so that any thread may read one while the loop has the next.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

Entry = Mapping[str, Any]
Check = Callable[[Any], Any]
"""Returns what is kept of a value.

Raises:
    ValueError: nothing of it can be.
"""

ENTRY_SIZE = 1024 * 1024
"""Most bytes of one entry."""
BODY_SIZE = 64 * 1024
"""Most bytes of a body that are kept."""
STATES = ("waiting", "running", "streaming", "ended", "lost")
OVER = ("ended", "lost")
"""States behind which nothing comes."""
_ID = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")
_EVENTS = 200
"""Blocks of an event stream that are kept: the last ones."""


def is_id(value: object) -> TypeGuard[str]:
    """Whether it has the form of an entry's id: the number of a process, and one of a request."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def _text(size: int) -> Check:
    """A text, of which the beginning is kept."""

    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError("expected a text")
        text = value[:size]
        # JSON may have written half of a pair of surrogates, which cannot be encoded again.
        return text if text.isascii() else text.encode("utf-8", "replace").decode()

    return check


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("expected a number")
    if abs(value) > 1e15:
        raise ValueError("expected a number that JavaScript has")
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or _number(value) < 0:
        raise ValueError("expected a count")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("expected true or false")
    return value


def _one_of(*values: str) -> Check:
    def check(value: Any) -> str:
        if value not in values:
            raise ValueError(f"expected one of {', '.join(values)}")
        return str(value)

    return check


def _or_none(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


def _record(**checks: Check) -> Check:
    """A dict of these fields, all of them, and of no others."""

    def check(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError("expected an object")
        return {name: field(value.get(name)) for name, field in checks.items()}

    return check


class _List:
    """A list, without what is unfit for it, and without more than `most`: the first, or the last.

    Called as a `Check`.
    """

    def __init__(self, check: Check, most: int, *, keeps_last: bool = False) -> None:
        self._check = check
        self._most = most
        self._keeps_last = keeps_last

    def __call__(self, value: Any) -> list[Any]:
        return self.extended([], value)

    def extended(self, known: list[Any], value: Any) -> list[Any]:
        """A list of what was known, and of what is added."""
        if not isinstance(value, list):
            raise ValueError("expected a list")
        kept = known.copy()
        for one in self._cut(value):
            with contextlib.suppress(ValueError):
                kept.append(self._check(one))
        return self._cut(kept)

    def _cut(self, values: list[Any]) -> list[Any]:
        return values[-self._most :] if self._keeps_last else values[: self._most]


def _header(value: Any) -> list[str]:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError("expected a name and a value")
    return [_text(1024)(value[0]), _text(16 * 1024)(value[1])]


def _base64(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 4 * (BODY_SIZE // 3 + 1):
        raise ValueError("expected base64")
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"expected base64: {error}") from None
    return value


_HEADERS = _List(_header, 400)
_BODY = _or_none(_record(size=_count, data=_base64, is_cut=_flag))
_LINE = _or_none(_count)

FIELDS: Mapping[str, tuple[Any, Check]] = {
    "method": ("", _text(64)),
    "target": ("", _text(16 * 1024)),
    "protocol": ("", _text(32)),
    "scheme": ("", _text(16)),
    "client": ("", _text(256)),
    "host": ("", _text(1024)),
    "began_at": (0.0, _number),
    "state": ("waiting", _one_of(*STATES)),
    "status": (None, _or_none(_count)),
    "reason": ("", _text(256)),
    "request_headers": ([], _HEADERS),
    "response_headers": ([], _HEADERS),
    "request_body": (None, _BODY),
    "response_body": (None, _BODY),
    "response_size": (0, _count),
    "duration": (None, _or_none(_number)),
    "marks": ([], _List(_record(name=_text(64), at=_number), 64)),
    "spans": (
        [],
        _List(
            _record(
                kind=_one_of("sql", "loop", "wait"), at=_number, seconds=_number, text=_text(4096)
            ),
            1000,
        ),
    ),
    "flask": (
        None,
        _or_none(
            _record(
                endpoint=_or_none(_text(512)),
                rule=_or_none(_text(1024)),
                view=_or_none(_text(512)),
                file=_or_none(_text(4096)),
                line=_LINE,
            )
        ),
    ),
    "logs": (
        [],
        _List(_record(at=_number, level=_text(32), logger=_text(256), text=_text(8192)), 500),
    ),
    "traceback": (None, _or_none(_text(128 * 1024))),
    "frames": (
        [],
        _List(
            _record(
                file=_text(4096), line=_LINE, function=_text(512), source=_text(512), is_own=_flag
            ),
            200,
        ),
    ),
    "debugger": (None, _or_none(_text(4096))),
    "events": ([], _List(_record(at=_number, text=_text(4096)), _EVENTS, keeps_last=True)),
    "replay_of": (None, _or_none(_text(64))),
}
"""Of each field what it is before anything is known, and what it may be."""
_LARGE = (
    "request_body",
    "response_body",
    "traceback",
    *(n for n, (d, _) in FIELDS.items() if d == []),
)
"""What may make an entry large."""
_REQUIRED = ("method", "target", "began_at")
"""What the first report has."""


def begun(entry_id: str, told: Any, added: Any) -> Entry | None:
    """A new entry of what the first report sets; None if that is none."""
    if not isinstance(told, dict) or any(name not in told for name in _REQUIRED):
        return None
    entry = {"id": entry_id, **{name: default for name, (default, _) in FIELDS.items()}}
    return merged(entry, told, added)


def merged(entry: Entry, replaced: Any, added: Any) -> Entry:
    """`entry` with some fields replaced, and with some lists extended.

    Behind the end, only what was on its way is added: no report makes it a running one again.
    """
    fields = dict(entry)
    for name, value in _items(replaced):
        if name in FIELDS:
            _, check = FIELDS[name]
            with contextlib.suppress(ValueError):
                fields[name] = check(value)
    for name, value in _items(added):
        if name in FIELDS and isinstance(check := FIELDS[name][1], _List):
            with contextlib.suppress(ValueError):
                fields[name] = check.extended(fields[name], value)
    if entry["state"] in OVER:
        fields["state"] = entry["state"]
    if size_of(fields) > ENTRY_SIZE:
        fields.update({name: entry[name] for name in _LARGE})
    return fields


def _items(told: Any) -> list[tuple[Any, Any]]:
    return list(told.items()) if isinstance(told, dict) else []


def lost(entry: Entry) -> Entry:
    """`entry`, whose worker has ended before it."""
    return {**entry, "state": "lost"}


def size_of(value: Any) -> int:
    """About the bytes of memory that a value holds, its own name in a dict left out."""
    if isinstance(value, str):
        return 50 + len(value) * (1 if value.isascii() else 4)
    if isinstance(value, dict):
        return 64 + sum(40 + size_of(one) for one in value.values())
    if isinstance(value, list):
        # What is empty is the same for all entries.
        return 56 + sum(8 + size_of(one) for one in value) if value else 0
    return 0 if value is None else 28


def summary(entry: Entry) -> dict[str, Any]:
    """What a list of requests shows of one."""
    marks = {mark["name"]: mark["at"] for mark in entry["marks"]}
    status = entry["status"]
    names = (
        "id", "method", "target", "status", "state", "response_size", "duration", "began_at",
        "replay_of",
    )  # fmt: skip
    return {
        **{name: entry[name] for name in names},
        "type": _media_type(entry["response_headers"]),
        "endpoint": (entry["flask"] or {}).get("endpoint") or "",
        "failed": entry["traceback"] is not None or (status or 0) >= 500,
        "thread_at": marks.get("thread"),
        "first_byte_at": marks.get("first_byte"),
    }


def _media_type(headers: list[list[str]]) -> str:
    for name, value in headers:
        if name.lower() == "content-type":
            return value.partition(";")[0].strip().lower()
    return ""
