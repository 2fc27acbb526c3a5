"""A request that was kept, as it can be sent once more: by a replay, or by what is copied. Pure.

Framing is not the request's own: whoever sends it says how long its body is, and whether the
connection stays. What was masked when it was kept is not known any more, so it is left out.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from asyncwsgi.inspection.failed import Failed

MASK = "***"
"""What stands in the place of secrets (see `masking`)."""
REPLAY_OF = "Asyncwsgi-Replay-Of"
"""The header by which a replay says what it repeats."""

_METHOD = _NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}")
"""RFC 9110 5.6.2: a token."""
_TARGET = re.compile(r"/[!-~]*")
"""RFC 9112 3.2.1: the origin-form; only visible ASCII stands in a request line."""
_VALUE = re.compile(r"[\t -~\x80-\xff]*")
"""RFC 9110 5.5, as latin-1."""
_FRAMING = frozenset(
    {
        "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding",
        "upgrade", "http2-settings", "content-length", "expect", REPLAY_OF.lower(),
    }
)  # fmt: skip
_HAVE_BODIES = ("POST", "PUT", "PATCH")


class Outgoing(NamedTuple):
    """A request without its framing."""

    method: str
    target: str
    """In origin-form."""
    headers: tuple[tuple[str, str], ...]
    """Values as latin-1; no Content-Length."""
    body: bytes
    left_out: tuple[str, ...] = ()
    """Headers that were masked."""
    objection: str = ""
    """Why this is not the request that was kept, if it is not."""

    @property
    def has_body(self) -> bool:
        """Whether a length has to be told: an empty body of some methods has one, too."""
        return bool(self.body) or self.method in _HAVE_BODIES


def outgoing(entry: Mapping[str, Any], edits: Mapping[str, Any], *, is_masked: bool) -> Outgoing:
    """The request of an entry.

    Args:
        entry: it.
        edits: what shall be otherwise: ``method``, ``target``, ``headers``, ``body`` in base64.
        is_masked: whether secrets were masked when it was kept.

    Raises:
        Failed: something that no request can have.
    """
    method = _matching(_METHOD, edits.get("method", entry["method"]), "the method", "GET, say")
    target = _matching(
        _TARGET,
        edits.get("target", entry["target"]),
        "the target",
        "a path that begins with '/', in ASCII, with its query",
    )
    kept, left_out = _headers(edits.get("headers", entry["request_headers"]), is_masked=is_masked)
    if "body" in edits:
        body, objection = _body_of(edits["body"]), ""
    else:
        body, objection = _kept_body(entry["request_body"], is_masked=is_masked)
    if "target" not in edits and is_masked and MASK in target:
        objection = "a secret in its target was masked when it was kept"
    return Outgoing(method, target, kept, body, left_out, objection)


def _matching(pattern: re.Pattern[str], value: object, name: str, expected: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise Failed(400, f"{name} is {str(value)[:100]!r}; expected {expected}")
    return value


def _headers(
    values: object, *, is_masked: bool
) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    kept: list[tuple[str, str]] = []
    left_out: dict[str, None] = {}
    for name, value in _pairs(values):
        _matching(_NAME, name, "the name of a header", "letters, digits and hyphens")
        _matching(_VALUE, value, f"the value of the header {name}", "one line of latin-1")
        if name.lower() in _FRAMING:
            continue
        if is_masked and MASK in value:
            left_out[name] = None
        else:
            kept.append((name, value.strip(" \t")))
    return tuple(kept), tuple(left_out)


def _pairs(values: object) -> Iterable[tuple[Any, Any]]:
    if not isinstance(values, list):
        raise Failed(400, "the headers are no list; expected [[name, value], ...]")
    for pair in values:
        if not isinstance(pair, list) or len(pair) != 2:
            raise Failed(400, "a header is no pair; expected [name, value]")
        yield pair[0], pair[1]


def _body_of(value: object) -> bytes:
    if not isinstance(value, str):
        raise Failed(400, "the body is no text; expected its bytes in base64")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Failed(400, f"the body is no base64: {error}") from None


def _kept_body(body: Mapping[str, Any] | None, *, is_masked: bool) -> tuple[bytes, str]:
    """What is kept of a body, and why that is not the one that was sent, if it is not."""
    if body is None:
        return b"", ""
    data = base64.b64decode(body["data"])
    if is_masked and MASK.encode() in data:
        return data, "secrets in its body were masked when it was kept"
    if body["is_cut"] or len(data) != body["size"]:
        return data, f"only {len(data)} of the {body['size']} bytes of its body were kept"
    return data, ""
