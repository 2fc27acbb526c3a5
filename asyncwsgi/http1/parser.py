"""Requests out of bytes, by h11. Sans-io: no reads, no clock, no loop.

h11 alone decides what a request is, by its public API. Its parser, one `h11.Connection` for a
request, reads every head that has anything odd about it. A head of the plainest kind is put
together here: its request line matches a strict subset of h11's grammar (`_PLAIN_REQUEST_LINE`: an
origin-form target of visible ASCII, HTTP/1.1), its lines end in CRLF, and the memory knows its
header lines or has asked h11 about them (see `asyncwsgi.http1.memory`).
Nothing is refused or repaired on that way: what does not fit is h11's to read, from its first byte.

How many bytes a body has is h11's to say; to count them takes no parser. So a body with a
Content-Length is handed on as it came, and a body in chunks is read by h11.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final, Literal

import h11

from asyncwsgi.errors import RequestRefused
from asyncwsgi.http1.head import HeaderFields, HeaderLine, RequestHead, check_host
from asyncwsgi.http1.memory import HeaderMemory, SharedLines


class Signal(enum.Enum):
    """What the parser returns when it has neither a head nor body bytes."""

    NEED_DATA = "need data"
    END_OF_BODY = "end of body"


NEED_DATA: Final = Signal.NEED_DATA
END_OF_BODY: Final = Signal.END_OF_BODY

ParserEvent = RequestHead | bytes | Literal[Signal.NEED_DATA, Signal.END_OF_BODY]

# A strict subset of h11's request line: an origin-form target, HTTP/1.1, CRLF.
_PLAIN_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) (/[!-~]*) HTTP/1\.1(?=\r\n)")
# RFC 9110 4.2.1: an http URI without a host is invalid.
_ABSOLUTE_TARGET = re.compile(rb"(?i:https?)://([^/?#:][^/?#]*)(?:[/?#].*)?")
_EMPTY_LINES = re.compile(rb"\A(?:\r\n)+")
_END_OF_PLAIN_HEAD = b"\r\n\r\n"
_END_OF_HEAD = re.compile(rb"\n\r?\n")
_FOLD = re.compile(rb"\r?\n[ \t]+")
_TRANSFER_ENCODING = re.compile(rb"\n(?i:transfer-encoding):([^\r\n]*)")
_TLS_HANDSHAKE = b"\x16"
_QUOTED = re.compile(r"bytearray\(b(.*)\)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """What a request head may be; sizes in bytes."""

    max_head_size: int = 64 * 1024
    max_headers: int = 200
    max_target_size: int = 16 * 1024
    own_name: bytes = b""
    """A Host that is accepted whatever it looks like: clients that `http.client` was taught Unix
    sockets for send the path of the socket."""


class RequestParser:
    """The requests of one connection, one after the other.

    Feed bytes with `receive`, then ask `next_event` until it returns `NEED_DATA`: a `RequestHead`;
    if that head announces a body, its pieces as bytes; then `END_OF_BODY`. The next request begins
    with the next call. Whoever wants to answer in order asks no further until it has answered.

    Args:
        limits: what a head may be.
        shared: the header lines that connections of the same server know.
    """

    __slots__ = (
        "_body_left", "_buffer", "_h11", "_in_body", "_limits", "_memory", "_refused",
    )  # fmt: skip

    def __init__(self, limits: HeadLimits | None = None, shared: SharedLines | None = None) -> None:
        self._limits = limits or HeadLimits()
        self._memory = HeaderMemory(shared or SharedLines(), self._limits.max_headers)
        # Bytes that nobody has looked at; while h11 reads a head, all of its bytes so far.
        self._buffer = b""
        # Reads the head, or a body in chunks.
        self._h11: h11.Connection | None = None
        self._in_body = False
        # Bytes of a body with a Content-Length that have not been handed on.
        self._body_left = 0
        self._refused: tuple[int, str] | None = None

    @property
    def is_in_head(self) -> bool:
        """Whether some, but not all, bytes of a request head have arrived."""
        return not self._in_body and bool(self._buffer)

    @property
    def unread_size(self) -> int:
        """Bytes received behind the request that is being answered."""
        return len(self._buffer)

    @property
    def missing_size(self) -> int:
        """Bytes of a body with a Content-Length that have not been received."""
        return max(0, self._body_left - len(self._buffer))

    def skip(self, size: int) -> None:
        """Know that so many bytes of what is missing of a body were read by somebody else."""
        self._body_left -= size

    def receive(self, data: bytes) -> None:
        """Take bytes as they came from the client."""
        if self._h11 is None or not self._in_body:
            self._buffer = self._buffer + data if self._buffer else data
        if self._h11 is not None:
            self._h11.receive_data(data)

    def take_unread(self) -> bytes:
        """What was received behind the request that is being answered; it is parsed no more."""
        unread, self._buffer = self._buffer, b""
        return unread

    def next_event(self) -> ParserEvent:
        """The next event out of what was received.

        Raises:
            RequestRefused: these bytes are no request that can be served; nothing behind them is
                one either, so every further call raises it again.
        """
        if self._refused is not None:
            # A new one: an error that is raised knows the frames that know this parser.
            raise RequestRefused(*self._refused)
        if self._h11 is None and not self._in_body:
            head = self._read_plain_head()
            if head is not None:
                return head
        try:
            return self._next()
        except RequestRefused as refused:
            self._refused = (refused.status, refused.reason)
            raise

    def _next(self) -> ParserEvent:
        if self._h11 is not None:
            return self._next_from_h11(self._h11)
        if self._in_body:
            return self._next_of_body()
        if self._buffer.startswith(b"\r\n"):
            # RFC 9112 2.2: ignore empty lines before a request line.
            self._buffer = _EMPTY_LINES.sub(b"", self._buffer, count=1)
            return self.next_event()
        if self._buffer in (b"", b"\r"):
            return NEED_DATA
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=self._limits.max_head_size)
        self._h11.receive_data(self._buffer)
        return self._next_from_h11(self._h11)

    def _read_plain_head(self) -> RequestHead | None:
        """The next head, if it is complete and plain; None if h11's parser has to read it."""
        buffer, limits, memory = self._buffer, self._limits, self._memory
        line = _PLAIN_REQUEST_LINE.match(buffer)
        if line is None:
            return None
        method, target = line.groups()
        if len(target) > limits.max_target_size or method == b"CONNECT":
            return None
        start = line.end()
        fields = memory.last_fields
        if fields is not None and buffer.startswith(memory.last_block, start):
            end = start + len(memory.last_block)
            fields.recurs = True
        else:
            found = buffer.find(_END_OF_PLAIN_HEAD, start)
            if found < 0:
                return None
            end = found + len(_END_OF_PLAIN_HEAD)
            fields = memory.fields_of(buffer[start:end])
        if fields is None or end > limits.max_head_size:
            return None
        self._buffer = buffer[end:]
        if fields.content_length:
            self._begin_body(fields)
        return RequestHead(method.decode("ascii"), target.decode("ascii"), "1.1", fields)

    def _begin_body(self, fields: HeaderFields) -> None:
        self._in_body = fields.has_body
        self._body_left = fields.content_length or 0

    def _next_of_body(self) -> ParserEvent:
        size = self._body_left
        if not size:
            self._in_body = False
            return END_OF_BODY
        buffer = self._buffer
        if not buffer:
            return NEED_DATA
        piece, self._buffer = buffer[:size], buffer[size:]
        self._body_left = size - len(piece)
        return piece

    def _next_from_h11(self, connection: h11.Connection) -> ParserEvent:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            error.__traceback__ = None  # one of h11's frames there knows the error: a cycle
            raise self._refusal(error) from None
        if event is h11.NEED_DATA:
            return NEED_DATA
        if isinstance(event, h11.Data):
            return bytes(event.data)
        if isinstance(event, h11.Request):
            return self._accept(event, connection)
        assert isinstance(event, h11.EndOfMessage)
        self._buffer = connection.trailing_data[0]
        self._h11 = None
        self._in_body = False
        return END_OF_BODY

    def _accept(self, request: h11.Request, connection: h11.Connection) -> RequestHead:
        rest = connection.trailing_data[0]
        self._check(request, len(self._buffer) - len(rest))
        fields = HeaderFields([HeaderLine(*item) for item in request.headers.raw_items()])
        self._begin_body(fields)
        if fields.is_chunked:
            self._buffer = b""
        else:
            self._buffer = rest
            self._h11 = None
        return RequestHead(
            request.method.decode("ascii"),
            request.target.decode("ascii"),
            request.http_version.decode("ascii"),
            fields,
        )

    def _check(self, request: h11.Request, head_size: int) -> None:
        limits = self._limits
        if request.http_version not in (b"1.0", b"1.1"):
            version = request.http_version.decode("ascii")
            raise RequestRefused(505, f"HTTP/{version} is not served; expected HTTP/1.1 or 1.0")
        if len(request.target) > limits.max_target_size:
            raise _too_long("request target", len(request.target), limits.max_target_size)
        if head_size > limits.max_head_size:
            raise _too_large("request head", f"{head_size} bytes", limits.max_head_size)
        if len(request.headers) > limits.max_headers:
            raise _too_large("request head", f"{len(request.headers)} lines", limits.max_headers)
        _check_target(request.method, request.target)
        for name, value in request.headers:
            if name == b"host" and value != limits.own_name:
                check_host(value)

    def _refusal(self, error: h11.RemoteProtocolError) -> RequestRefused:
        # h11 quotes what it has read as it holds it, in a bytearray.
        status, reason = error.error_status_hint, _QUOTED.sub(r"\1", str(error))
        if self._in_body:
            return RequestRefused(400, f"malformed request body: {reason}")
        if self._buffer.startswith(_TLS_HANDSHAKE):
            return RequestRefused(400, "TLS handshake on a plain HTTP listener; expected HTTP/1.1")
        if status == 501:
            return _transfer_encoding_refusal(self._buffer)
        if status == 431:
            return self._oversized_head()
        return RequestRefused(400, f"malformed request head: {_shorten(reason)}")

    def _oversized_head(self) -> RequestRefused:
        limit = self._limits.max_head_size
        line, end, _ = self._buffer.partition(b"\n")
        target = line.partition(b" ")[2].partition(b" ")[0]
        if not end or len(target) > self._limits.max_target_size:
            return _too_long("request line", len(line), limit)
        return _too_large("request head", f"{len(self._buffer)} bytes", limit)


def _check_target(method: bytes, target: bytes) -> None:
    # RFC 9112 3.2: origin-form, absolute-form, or asterisk-form with OPTIONS alone.
    if method == b"CONNECT":
        raise RequestRefused(501, "CONNECT is not served: this server is no proxy")
    if target.startswith(b"/") or (target == b"*" and method == b"OPTIONS"):
        return
    absolute = _ABSOLUTE_TARGET.fullmatch(target)
    if absolute is None:
        raise RequestRefused(
            400, f"malformed request target {_shorten(repr(target))}; expected /path or http://..."
        )
    check_host(absolute[1])


def _transfer_encoding_refusal(head: bytes) -> RequestRefused:
    head = _END_OF_HEAD.split(head, maxsplit=1)[0]
    # RFC 9112 5.2: a folded line goes on where the last one ended.
    value = b",".join(_TRANSFER_ENCODING.findall(_FOLD.sub(b" ", head)))
    codings = [coding.strip().lower() for coding in value.split(b",")]
    shown = _shorten(value.decode("latin-1").strip())
    # RFC 9112 6.3 and 7.1: chunked that is not last, or applied twice, leaves no framing: 400.
    # 6.1: a coding that is not understood: 501.
    if b"chunked" in codings[:-1]:
        return RequestRefused(400, f"Transfer-Encoding {shown!r} ends nowhere; expected chunked")
    return RequestRefused(501, f"Transfer-Encoding {shown!r} is not served; expected chunked")


def _too_large(what: str, size: str, limit: int) -> RequestRefused:
    return RequestRefused(431, f"{what} too large: {size}, at most {limit}")


def _too_long(what: str, size: int, limit: int) -> RequestRefused:
    return RequestRefused(414, f"{what} too long: {size} bytes, at most {limit}")


def _shorten(text: str, limit: int = 120) -> str:
    return text if len(text) <= limit else f"{text[:limit]}..."
