"""What the variables of a packet mean for the server, and which of them the application gets.

The proxy that has sent them is believed: it says who the client is, and what path is meant. But
most of the values it has from a stranger. What the server uses itself, or writes into its log, is
held to the same rules as in HTTP (see `asyncwsgi.http1`), and a key can be none of the server's
own, such as ``wsgi.input``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from asyncwsgi.errors import RequestRefused
from asyncwsgi.http1.head import HeaderFields, HeaderLine, RequestHead, is_host
from asyncwsgi.http1.parser import HeadLimits
from asyncwsgi.wsgi.environ import join_values

_KEY = re.compile(rb"[A-Z][A-Z0-9_]*")
# RFC 9110 5.5, and 5.6.2 for the method; RFC 9112 3.2 for the target. The log shows the address.
_HEADER_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_CHECKED = {
    b"REQUEST_METHOD": re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"),
    b"REQUEST_URI": re.compile(rb"/[!-~]*|\*"),
    b"SERVER_PROTOCOL": re.compile(rb"HTTP/[0-9](?:\.[0-9])?"),
    b"REMOTE_ADDR": re.compile(rb"[!-~]*"),
    b"CONTENT_TYPE": _HEADER_VALUE,
    # An empty one is none. The length is bounded because that of a number which is read is.
    b"CONTENT_LENGTH": re.compile(rb"[0-9]{0,20}"),
    # PEP 3333: empty, or a path that does not end with a slash; that is taken off elsewhere.
    b"SCRIPT_NAME": re.compile(rb"(?:/.*)?", re.DOTALL),
}
_REQUIRED = ("REQUEST_METHOD", "REQUEST_URI", "PATH_INFO")
# What the two say stands in the keys without a prefix (RFC 3875 4.1.2, 4.1.3). nginx passes the
# client's lines as well.
_REPEATED = (b"HTTP_CONTENT_LENGTH", b"HTTP_CONTENT_TYPE")
_ABSENT_IF_EMPTY = ("CONTENT_LENGTH", "CONTENT_TYPE")
_CODING = "HTTP_TRANSFER_ENCODING"


class PacketHead(RequestHead):
    """The head of a request that came in a packet.

    Its response is framed as for HTTP/1.0: by Content-Length or by the end of the connection.

    Attributes:
        variables: what goes into the environ; values as PEP 3333 has them (bytes in disguise).
    """

    __slots__ = ("variables",)

    def __init__(self, variables: dict[str, str], fields: HeaderFields) -> None:
        super().__init__(variables["REQUEST_METHOD"], variables["REQUEST_URI"], "1.0", fields)
        self.variables = variables


def read_head(pairs: Iterable[tuple[bytes, bytes]], limits: HeadLimits) -> PacketHead:
    """The head that consists of these variables.

    Raises:
        RequestRefused: they make no request that can be served.
    """
    variables = _variables(pairs, limits)
    for key in _REQUIRED:
        if key not in variables:
            cure = "nginx passes it by `include uwsgi_params;`"
            raise RequestRefused(400, f"uwsgi packet without {key}; {cure}")
    target = variables["REQUEST_URI"]
    if len(target) > limits.max_target_size:
        raise RequestRefused(
            414, f"REQUEST_URI too long: {len(target)} bytes, at most {limits.max_target_size}"
        )
    host = variables.get("HTTP_HOST", "")
    if not is_host(host.encode("latin-1")):
        raise RequestRefused(400, f"malformed HTTP_HOST {host[:80]!r}; expected name[:port]")
    return PacketHead(variables, _fields(variables))


def _variables(pairs: Iterable[tuple[bytes, bytes]], limits: HeadLimits) -> dict[str, str]:
    variables: dict[str, str] = {}
    header_count = 0
    for key, value in pairs:
        name, pattern, is_header = _keys.get(key) or _learn_key(key)
        header_count += is_header
        if not name:
            continue
        if pattern is not None and not pattern.fullmatch(value):
            raise RequestRefused(400, f"malformed {name} {value[:80]!r} in a uwsgi packet")
        text = value.decode("latin-1")
        if name in variables:
            text = _again(name, variables[name], text)
        variables[name] = text
    if header_count > limits.max_headers:
        raise RequestRefused(
            431, f"uwsgi packet too large: {header_count} headers, at most {limits.max_headers}"
        )
    return variables


class _Key(NamedTuple):
    """What follows from the key of a variable."""

    name: str
    """The key of the environ; empty for one that does not pass."""
    pattern: re.Pattern[bytes] | None
    """What the value has to be."""
    is_header: bool


# Keys repeat endlessly; what follows from them is worked out once. Bounded, since clients choose
# the names of headers.
_MOST_KEYS = 1024
_keys: dict[bytes, _Key] = {}


def _learn_key(key: bytes) -> _Key:
    is_header = key.startswith(b"HTTP_")
    passes = _KEY.fullmatch(key) and not key.startswith(b"UWSGI_") and key not in _REPEATED
    name = key.decode("ascii") if passes else ""
    known = _Key(name, _HEADER_VALUE if is_header else _CHECKED.get(key), is_header)
    if len(_keys) < _MOST_KEYS:
        _keys[key] = known
    return known


def _again(name: str, first: str, second: str) -> str:
    """The value of a variable that comes twice."""
    if name.startswith("HTTP_"):
        return join_values(name, first, second)  # nginx has left the lines apart
    if name == "CONTENT_LENGTH" and first != second:
        raise RequestRefused(400, f"CONTENT_LENGTH is {first} and {second}")
    return second


def _fields(variables: dict[str, str]) -> HeaderFields:
    for key in _ABSENT_IF_EMPTY:
        if not variables.get(key, "-"):
            del variables[key]
    coding = variables.pop(_CODING, "")
    length = variables.get("CONTENT_LENGTH")
    if length is None and coding:
        # The protocol has no framing for it. nginx reads such a body and says how long it is.
        raise RequestRefused(
            411, f"a body in {coding[:80]!r} and without CONTENT_LENGTH; uwsgi delimits none"
        )
    if length is None:
        return HeaderFields(())
    return HeaderFields([HeaderLine(b"content-length", length.encode("ascii"))])
