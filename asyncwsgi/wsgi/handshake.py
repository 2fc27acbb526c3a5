"""The opening handshake of a WebSocket, as a server answers it (RFC 6455 4.2), out of an environ.

The environ is what the application has, so that what trusted middleware says of a proxy (Host,
mostly) holds here, too. Pure: whoever has a connection to hand over does that.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

VERSION = "13"
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_SIZE = 16
_DEFAULT_PORTS = {"http": 80, "https": 443}
# RFC 9110 5.6.2
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request opens no WebSocket: the response to it."""

    status: str
    reason: str
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Handshake:
    """A request that opens a WebSocket, and what is answered."""

    accept: str
    """The value of Sec-WebSocket-Accept."""
    subprotocol: str | None


def check_handshake(
    environ: Mapping[str, Any], *, origins: Collection[str] = (), subprotocols: Sequence[str] = ()
) -> Handshake | Refusal:
    """What to answer to a request for a WebSocket.

    Args:
        environ: the request.
        origins: those that are allowed besides the server's own, as browsers write them
            (``https://example.org``); ``*`` is any.
        subprotocols: those that are spoken.
    """
    if not _asks_for_websocket(environ):
        reason = "this is a WebSocket; open it by new WebSocket(), or ask for an Upgrade to it"
        return Refusal("426 Upgrade Required", reason, (("Upgrade", "websocket"),))
    if environ["REQUEST_METHOD"] != "GET":
        return Refusal("405 Method Not Allowed", "a WebSocket opens with GET", (("Allow", "GET"),))
    version = environ.get("HTTP_SEC_WEBSOCKET_VERSION", "").strip()
    if version != VERSION:
        # 4.2.2 (4): which versions are understood has to be said.
        reason = f"WebSocket version {version or 'missing'}; expected {VERSION}"
        headers = (("Upgrade", "websocket"), ("Sec-WebSocket-Version", VERSION))
        return Refusal("426 Upgrade Required", reason, headers)
    key = environ.get("HTTP_SEC_WEBSOCKET_KEY", "").strip()
    if not _is_key(key):
        return Refusal("400 Bad Request", "Sec-WebSocket-Key is not 16 bytes in base64")
    if environ.get("CONTENT_LENGTH", "0") not in ("", "0") or "wsgi.input_terminated" in environ:
        return Refusal("400 Bad Request", "a request for a WebSocket has no body")
    if not is_allowed_origin(environ, origins):
        reason = f"WebSockets of pages of {environ['HTTP_ORIGIN']} are not accepted here"
        return Refusal("403 Forbidden", reason)
    return Handshake(accept_token(key), choose_subprotocol(environ, subprotocols))


def accept_token(key: str) -> str:
    """Sec-WebSocket-Accept to a Sec-WebSocket-Key (4.2.2, 5.4)."""
    digest = hashlib.sha1((key + _GUID).encode("latin-1"), usedforsecurity=False).digest()
    return base64.b64encode(digest).decode("ascii")


def choose_subprotocol(environ: Mapping[str, Any], subprotocols: Sequence[str]) -> str | None:
    """The first that the client names and the server speaks; 4.1: it names them by preference."""
    offered = _tokens(environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL", ""))
    return next((name for name in offered if name in subprotocols), None)


def is_allowed_origin(environ: Mapping[str, Any], origins: Collection[str]) -> bool:
    """Whether pages of the request's Origin may open WebSockets here (10.2).

    Browsers send cookies with a WebSocket whoever's page opens it, and let the page read what
    comes; nothing but this check is between a foreign page and the user's session. Who is no
    browser sends no Origin, or any that it likes.
    """
    origin = environ.get("HTTP_ORIGIN")
    if origin is None or "*" in origins or origin.lower() in {o.lower() for o in origins}:
        return True
    own = _address(f"//{environ.get('HTTP_HOST', '')}")
    if own is None or not own[0]:
        return False
    theirs = _address(origin)
    if theirs is None or theirs[2] not in _DEFAULT_PORTS:
        return False  # "null", for one: a page without an origin
    # A Host without a port was asked for at the default port of the scheme, and of the two schemes
    # the browser knows which: behind a proxy that speaks TLS this server may not.
    default = _DEFAULT_PORTS[theirs[2]]
    return own[0] == theirs[0] and (own[1] or default) == (theirs[1] or default)


def _address(url: str) -> tuple[str, int | None, str] | None:
    """Host in lower case, port and scheme of a URL; None for something else."""
    try:
        parts = urlsplit(url)
        return parts.hostname or "", parts.port, parts.scheme
    except ValueError:
        return None


def _asks_for_websocket(environ: Mapping[str, Any]) -> bool:
    # RFC 9110 7.8: a server ignores the Upgrade of an HTTP/1.0 request.
    return (
        environ["SERVER_PROTOCOL"] == "HTTP/1.1"
        and "websocket" in _tokens(environ.get("HTTP_UPGRADE", "").lower())
        and "upgrade" in _tokens(environ.get("HTTP_CONNECTION", "").lower())
    )


def _tokens(value: str) -> list[str]:
    return [item.strip() for item in value.split(",")]


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == _KEY_SIZE
    except (binascii.Error, ValueError):
        return False


def is_token(text: str) -> bool:
    """Whether `text` may be the name of a subprotocol."""
    return _TOKEN.fullmatch(text) is not None
