"""The head of a request, as the parser hands it up."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence

from asyncwsgi.errors import RequestRefused

# RFC 3986 3.2.2 and 3.2.3 without userinfo: a registered name, an IPv4 or a bracketed IP literal,
# and a port. Empty is allowed (RFC 9110 7.2).
_HOST = re.compile(rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=%]*|\[([0-9A-Fa-f:.]+)\])(?::[0-9]*)?")


# Header names repeat endlessly; what follows from them is worked out once. Bounded, since clients
# choose them.
_MOST_NAMES = 1024
_names: dict[bytes, tuple[bytes, str, Interpreter | None]] = {}


class HeaderLine:
    """One header line and what follows from it in whichever head it occurs. Never changed.

    Args:
        name: as sent.
        value: as h11 gives it, which has checked both against RFC 9112 5.

    Attributes:
        key: the key of the environ; empty for a line that must not reach it.
        text: the value as the environ has it (PEP 3333: bytes in disguise).
        interpret: says what the line means for the message; None if it means nothing.
    """

    __slots__ = ("interpret", "key", "name", "text")

    def __init__(self, name: bytes, value: bytes) -> None:
        self.name, self.key, self.interpret = _names.get(name) or _learn_name(name)
        self.text = value.decode("latin-1")
        if self.interpret is _close and not _says_close(value):
            self.interpret = None


class HeaderFields:
    """The header lines of one request and what follows from all of them.

    Requests with byte-identical headers on one connection share one object, which then says that it
    `recurs`: whoever derives something from it may keep that for as long as the object is the same.
    """

    __slots__ = (
        "content_length", "expects_continue", "has_body", "has_repeated_length", "host_count",
        "is_chunked", "lines", "recurs", "wants_close", "wants_websocket",
    )  # fmt: skip

    def __init__(self, lines: Sequence[HeaderLine]) -> None:
        self.lines = lines
        """In order, as h11 has accepted them."""
        self.host_count = 0
        self.content_length: int | None = None
        self.has_repeated_length = False
        self.is_chunked = False
        self.expects_continue = False
        self.wants_close = False
        self.wants_websocket = False
        self.recurs = False
        for line in lines:
            if line.interpret is not None:
                line.interpret(self, line.text)
        self.has_body = self.is_chunked or bool(self.content_length)
        """Whether they announce a body (RFC 9112 6.3)."""

    @property
    def items(self) -> list[tuple[bytes, bytes]]:
        """Names as sent and values, in order."""
        return [(line.name, line.text.encode("latin-1")) for line in self.lines]


Interpreter = Callable[[HeaderFields, str], None]


def _host(fields: HeaderFields, value: str) -> None:
    fields.host_count += 1


def _content_length(fields: HeaderFields, value: str) -> None:
    fields.has_repeated_length = fields.content_length is not None
    fields.content_length = int(value)


def _transfer_encoding(fields: HeaderFields, value: str) -> None:
    # h11 lets nothing but "chunked" pass.
    fields.is_chunked = True


def _expect(fields: HeaderFields, value: str) -> None:
    fields.expects_continue = value.lower() == "100-continue"


def _close(fields: HeaderFields, value: str) -> None:
    fields.wants_close = True


def _upgrade(fields: HeaderFields, value: str) -> None:
    fields.wants_websocket = fields.wants_websocket or "websocket" in value.lower()


_INTERPRETERS: dict[bytes, Interpreter] = {
    b"content-length": _content_length,
    b"transfer-encoding": _transfer_encoding,
    b"expect": _expect,
    b"connection": _close,
    b"host": _host,
    b"upgrade": _upgrade,
}


def _learn_name(name: bytes) -> tuple[bytes, str, Interpreter | None]:
    known = (name, _environ_key(name), _INTERPRETERS.get(name.lower()))
    if len(_names) < _MOST_NAMES:
        _names[name] = known
    return known


def _environ_key(name: bytes) -> str:
    # RFC 3875 4.1.18, and 4.1.2 and 4.1.3 for the two without a prefix.
    if b"_" in name:
        return ""  # X_Forwarded_For would become the key of X-Forwarded-For
    key = name.decode("ascii").upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"


def _says_close(value: bytes) -> bool:
    # RFC 9110 7.6.1: a list of case-insensitive tokens.
    return b"close" in [token.strip() for token in value.lower().split(b",")]


class RequestHead:
    """Request line and header fields of one request."""

    __slots__ = ("fields", "http_version", "method", "target")

    def __init__(self, method: str, target: str, http_version: str, fields: HeaderFields) -> None:
        self.method = method
        self.target = target
        """The request target as sent: origin-form, absolute-form or ``*``."""
        self.http_version = http_version
        """``1.1`` or ``1.0``."""
        self.fields = fields

    @property
    def keep_alive(self) -> bool:
        """Whether the client wants the connection kept (RFC 9112 9.3); never with HTTP/1.0."""
        fields = self.fields
        # RFC 9112 6.1: with both framings the sender may be smuggling; close after the response.
        is_ambiguous = fields.is_chunked and fields.content_length is not None
        return self.http_version == "1.1" and not fields.wants_close and not is_ambiguous


def check_host(value: bytes) -> None:
    """Refuse a Host value or authority that is none (RFC 9112 3.2: 400).

    Raises:
        RequestRefused: with status 400.
    """
    if not is_host(value):
        raise RequestRefused(400, f"malformed Host {value[:80]!r}; expected name[:port]")


def is_host(value: bytes) -> bool:
    """Whether a Host may have that value."""
    match = _HOST.fullmatch(value)
    return match is not None and (match[1] is None or _is_ipv6(match[1]))


def _is_ipv6(literal: bytes) -> bool:
    try:
        ipaddress.IPv6Address(literal.decode("ascii"))
    except ValueError:
        return False
    return True
