"""The head of a request, as the parser hands it up."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from asyncwsgi.errors import RequestRefused

# RFC 3986 3.2.2 and 3.2.3 without userinfo: a registered name, an IPv4 or a bracketed IP literal,
# and a port. Empty is allowed (RFC 9110 7.2).
_HOST = re.compile(rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=%]*|\[([0-9A-Fa-f:.]+)\])(?::[0-9]*)?")


class HeaderFields:
    """The header lines of one request and what follows from them.

    Requests with byte-identical headers on one connection share one object, so whoever derives
    something from the fields may keep it for as long as the object is the same.
    """

    __slots__ = (
        "_own_name", "content_length", "expects_continue", "is_chunked", "is_plain", "items",
        "wants_close",
    )  # fmt: skip

    def __init__(self, items: Sequence[tuple[bytes, bytes]], own_name: bytes = b"") -> None:
        self._own_name = own_name
        self.items = items
        """Names as sent and values, in order; h11 has checked both against RFC 9112 5."""
        self.content_length: int | None = None
        self.is_chunked = False
        self.expects_continue = False
        self.wants_close = False
        self.is_plain = True
        """No body and nothing else that concerns this one request alone."""
        for name, value in items:
            interpret = _INTERPRETERS.get(name.lower())
            if interpret is not None:
                interpret(self, value)

    @property
    def has_body(self) -> bool:
        """Whether the headers announce a body (RFC 9112 6.3)."""
        return self.is_chunked or bool(self.content_length)

    def _content_length(self, value: bytes) -> None:
        self.content_length = int(value)
        self.is_plain = False

    def _transfer_encoding(self, value: bytes) -> None:
        # h11 lets nothing but "chunked" pass.
        self.is_chunked = True
        self.is_plain = False

    def _expect(self, value: bytes) -> None:
        self.expects_continue = value.lower() == b"100-continue"
        self.is_plain = False

    def _upgrade(self, value: bytes) -> None:
        self.is_plain = False

    def _connection(self, value: bytes) -> None:
        # RFC 9110 7.6.1: a list of case-insensitive tokens.
        if b"close" in [token.strip() for token in value.lower().split(b",")]:
            self.wants_close = True

    def _host(self, value: bytes) -> None:
        if value != self._own_name:
            check_host(value)


_INTERPRETERS = {
    b"content-length": HeaderFields._content_length,
    b"transfer-encoding": HeaderFields._transfer_encoding,
    b"expect": HeaderFields._expect,
    b"upgrade": HeaderFields._upgrade,
    b"connection": HeaderFields._connection,
    b"host": HeaderFields._host,
}


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
    match = _HOST.fullmatch(value)
    if match is None or (match[1] is not None and not _is_ipv6(match[1])):
        raise RequestRefused(400, f"malformed Host {value[:80]!r}; expected name[:port]")


def _is_ipv6(literal: bytes) -> bool:
    try:
        ipaddress.IPv6Address(literal.decode("ascii"))
    except ValueError:
        return False
    return True
