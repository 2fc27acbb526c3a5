"""Responses into bytes: the head and the framing of the body. Pure; it checks nothing.

What may be sent at all is settled before (see `asyncwsgi.wsgi.response`); here it is only framed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus

from asyncwsgi.pages.page import Page

SERVER_NAME = "asyncwsgi"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"

_CONNECTION_HEADERS = ("connection", "keep-alive")


_LARGE_SIZE = 64 * 1024
"""Bytes of a block beyond which it is joined: formatting grows its result as it goes, which takes
540 us for 256 KiB where joining takes 11."""


class ResponseEncoder:
    """Frames one response for HTTP/1.1 or HTTP/1.0.

    RFC 9112 6: by Content-Length where it is known, else chunked to HTTP/1.1 and until the
    connection closes to HTTP/1.0. `start`, `block` and `end` are what a response calls; what a
    frontend knows of its connection it adds in `sign` and `can_keep_alive`.

    Args:
        http_version: the request's, ``1.1`` or ``1.0``.
    """

    __slots__ = (
        "_is_http_1_1", "has_started", "has_switched", "is_chunked", "is_close_delimited",
        "keep_alive",
    )  # fmt: skip

    def __init__(self, http_version: str) -> None:
        self._is_http_1_1 = http_version == "1.1"
        self.has_started = False
        """Whether the head is on its way."""
        self.has_switched = False
        """Whether the head says that another protocol follows it."""
        self.is_chunked = False
        self.is_close_delimited = False
        """Whether nothing but the end of the connection tells where the body ends."""
        self.keep_alive = True
        """Whether the connection stays open behind the response; settled by `head`."""

    def sign(self, status: str) -> tuple[str, str]:
        """The values of Server and Date, if the application has set none; empty for no header."""
        return SERVER_NAME, ""

    def can_keep_alive(self) -> bool:
        """Whether, but for this response, the connection can be kept."""
        return True

    def start(
        self,
        status: str,
        headers: list[tuple[str, str]],
        special: Mapping[str, str],
        *,
        is_open_ended: bool,
        block: bytes,
    ) -> bytes:
        """The head and, unless it is empty, the first block (see `asyncwsgi.wsgi.response`)."""
        self.has_started = True
        wants_close = False
        if "connection" in special or "keep-alive" in special:
            # PEP 3333 lets a server refuse these; applications set "keep-alive" on event streams,
            # where it is harmless, and "close", which is honoured.
            tokens = special.get("connection", "").lower().split(",")
            wants_close = "close" in [token.strip() for token in tokens]
            headers = [h for h in headers if h[0].lower() not in _CONNECTION_HEADERS]
        if "upgrade" in special:
            # RFC 9110 7.8: who sends Upgrade says so in Connection.
            headers.append(("Connection", "Upgrade"))
            self.has_switched = status[:3] == "101"
        server, date = self.sign(status)
        head = self.head(
            status,
            headers,
            is_open_ended=is_open_ended,
            server="" if "server" in special else server,
            date="" if "date" in special else date,
            keep_alive=self.has_switched or (not wants_close and self.can_keep_alive()),
        )
        return head + self.block(block) if block else head

    def head(
        self,
        status: str,
        headers: Iterable[tuple[str, str]],
        *,
        is_open_ended: bool,
        server: str = "",
        date: str = "",
        keep_alive: bool,
    ) -> bytes:
        """Status line and headers.

        Args:
            is_open_ended: a body follows whose length no header tells.
            server: the value of the Server header, or empty for none.
            date: that of the Date header, or empty if the application gave one.
            keep_alive: whether the connection can be kept.
        """
        head = f"HTTP/1.1 {status}\r\n"
        for name, value in headers:
            head += f"{name}: {value}\r\n"
        if server:
            head += f"Server: {server}\r\n"
        if date:
            head += f"Date: {date}\r\n"
        if is_open_ended:
            if self._is_http_1_1:
                self.is_chunked = True
                head += "Transfer-Encoding: chunked\r\n"
            else:
                self.is_close_delimited = True
                keep_alive = False
        self.keep_alive = keep_alive
        head += "\r\n" if keep_alive else "Connection: close\r\n\r\n"
        return head.encode("latin-1")

    def block(self, data: bytes) -> bytes:
        """A block of the body; never empty, because an empty chunk would end the body."""
        if not self.is_chunked:
            return data
        size = len(data)
        if size > _LARGE_SIZE:
            return b"".join((b"%x\r\n" % size, data, b"\r\n"))
        return b"%x\r\n%b\r\n" % (size, data)

    def end(self) -> bytes:
        """What marks the end of the body."""
        return LAST_CHUNK if self.is_chunked else b""


def own_response(
    status: int,
    *,
    date: str,
    server: str = SERVER_NAME,
    headers: Iterable[tuple[str, str]] = (),
    page: Page | None = None,
    is_of_head: bool = False,
) -> bytes:
    """The whole response to a request that the server answers itself and then closes on.

    Args:
        date: the value of the Date header.
        server: that of the Server header; empty for none.
        headers: more of them.
        page: what there is to show people; else a line of text.
        is_of_head: whether HEAD was asked for: no body follows (RFC 9110 9.3.2).
    """
    phrase = HTTPStatus(status).phrase
    own, body = page or _line_of(f"{status} {phrase}\n")
    head = ResponseEncoder("1.1").head(
        f"{status} {phrase}",
        [*own, *headers],
        is_open_ended=False,
        server=server,
        date=date,
        keep_alive=False,
    )
    return head if is_of_head else head + body


def _line_of(text: str) -> Page:
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(text)))]
    return Page(headers, text.encode("ascii"))
