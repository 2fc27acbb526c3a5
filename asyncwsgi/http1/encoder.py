"""Responses into bytes: the head and the framing of the body. Pure; it checks nothing.

What may be sent at all is settled before (see `asyncwsgi.wsgi.response`); here it is only framed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus

SERVER_NAME = "asyncwsgi"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


class ResponseEncoder:
    """Frames one response for HTTP/1.1 or HTTP/1.0.

    RFC 9112 6: by Content-Length where it is known, else chunked to HTTP/1.1 and until the
    connection closes to HTTP/1.0.

    Args:
        http_version: the request's, ``1.1`` or ``1.0``.
        can_keep: asked when the head is encoded whether the connection can be kept.
    """

    __slots__ = ("_can_keep", "_is_chunked", "_is_http_1_1", "keep_alive")

    def __init__(self, http_version: str, can_keep: Callable[[], bool]) -> None:
        self._is_http_1_1 = http_version == "1.1"
        self._can_keep = can_keep
        self._is_chunked = False
        self.keep_alive = True
        """Set it to False to have the connection closed; settled when the head is encoded."""

    def head(
        self, status: str, headers: Iterable[tuple[str, str]], *, is_open_ended: bool, date: str
    ) -> bytes:
        """Status line and headers.

        `is_open_ended`: a body follows whose length no header tells. `date`: the value of the
        Date header, or empty if the application gave one.
        """
        lines = [f"HTTP/1.1 {status}\r\n", *[f"{name}: {value}\r\n" for name, value in headers]]
        if date:
            lines.append(f"Date: {date}\r\n")
        if is_open_ended:
            self._frame_open_end(lines)
        self.keep_alive = self.keep_alive and self._can_keep()
        lines.append("\r\n" if self.keep_alive else "Connection: close\r\n\r\n")
        return "".join(lines).encode("latin-1")

    def _frame_open_end(self, lines: list[str]) -> None:
        if self._is_http_1_1:
            self._is_chunked = True
            lines.append("Transfer-Encoding: chunked\r\n")
        else:
            self.keep_alive = False

    def block(self, data: bytes) -> bytes:
        """A block of the body; never empty, because an empty chunk would end the body."""
        if self._is_chunked:
            return b"%x\r\n%b\r\n" % (len(data), data)
        return data

    def end(self) -> bytes:
        """What marks the end of the body."""
        return LAST_CHUNK if self._is_chunked else b""


def refusal(status: int, *, date: str, headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """The whole response to a request that the server answers itself and then closes on."""
    phrase = HTTPStatus(status).phrase
    body = f"{status} {phrase}\n".encode("ascii")
    fields = [
        ("Server", SERVER_NAME),
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        *headers,
    ]
    encoder = ResponseEncoder("1.1", lambda: False)
    return encoder.head(f"{status} {phrase}", fields, is_open_ended=False, date=date) + body
