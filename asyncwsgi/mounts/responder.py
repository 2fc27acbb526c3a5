"""A response as a host takes it: a head, blocks, an end, none of which is framed.

How a response is framed, and what becomes of its connection, is the host's affair.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from asyncwsgi.wsgi.response import Headers

RawHeaders = list[tuple[bytes, bytes]]

_MOST_NAMES = 1024
_names: dict[str, bytes] = {}
"""Header names as they are sent. Bounded, since an application may make them up."""


class Head:
    """The head of a response, and the first block of its body.

    Args:
        status: as ``200 OK``.
        headers: names in lower case, as ASGI wants them.
        block: may be empty.
        is_whole: whether that block is all of the body.
    """

    __slots__ = ("block", "headers", "is_whole", "status")

    def __init__(self, status: str, headers: RawHeaders, block: bytes, *, is_whole: bool) -> None:
        self.status = status
        self.headers = headers
        self.block = block
        self.is_whole = is_whole

    def __len__(self) -> int:
        return 1 + len(self.block)


class Signal:
    """Something that is said to the connection between blocks."""

    def __len__(self) -> int:
        return 1


END: Final = Signal()
"""The response is complete."""
BODY_IS_AWAITED: Final = Signal()
"""The application waits for the rest of the request body."""


class MountResponder:
    """Makes one response. In the worker thread.

    Args:
        http_version: the request's, as ``1.1`` or ``2``.
        is_asked_for_body: whether the connection reads the request body only when that is awaited.
    """

    __slots__ = ("_has_ended", "_http_version", "_is_asked_for_body")

    def __init__(self, http_version: str, *, is_asked_for_body: bool) -> None:
        self._http_version = http_version
        self._is_asked_for_body = is_asked_for_body
        self._has_ended = False

    def start(
        self,
        status: str,
        headers: Headers,
        special: Mapping[str, str],
        *,
        is_open_ended: bool,
        block: bytes,
    ) -> Head:
        """The head and, unless it is empty, the first block (see `asyncwsgi.wsgi.response`)."""
        if "connection" in special or "keep-alive" in special:
            headers = self._without_connection(headers, special.get("connection", ""))
        length = -1
        raw: RawHeaders = []
        for name, value in headers:
            key = _names.get(name) or _learn_name(name)
            raw.append((key, value.encode("latin-1")))
            if key == b"content-length":
                length = int(value)
        self._has_ended = is_whole = len(block) == length > 0
        return Head(status, raw, block, is_whole=is_whole)

    def block(self, data: bytes) -> bytes:
        return data

    def end(self) -> Signal | bytes:
        return b"" if self._has_ended else END

    def body_is_awaited(self) -> Signal | bytes:
        return BODY_IS_AWAITED if self._is_asked_for_body else b""

    def _without_connection(self, headers: Headers, said: str) -> Headers:
        """`headers` without what concerns the connection, unless that is an end of it.

        RFC 9113 8.2.2: HTTP/2 has no such fields.
        """
        headers = [h for h in headers if h[0].lower() not in ("connection", "keep-alive")]
        tokens = [token.strip() for token in said.lower().split(",")]
        if "close" in tokens and self._http_version.startswith("1"):
            headers.append(("Connection", "close"))
        return headers


def _learn_name(name: str) -> bytes:
    raw = name.lower().encode("latin-1")
    if len(_names) < _MOST_NAMES:
        _names[name] = raw
    return raw
