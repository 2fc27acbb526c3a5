"""Request heads into environs (PEP 3333, "environ Variables"; RFC 3875 for the CGI keys)."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

from asyncwsgi.http1.head import HeaderFields, HeaderLine, RequestHead
from asyncwsgi.version import __version__
from asyncwsgi.wsgi.file_wrapper import FileWrapper

_AUTHORITY = re.compile(r"[^/?#]*")

SERVER_SOFTWARE = f"asyncwsgi/{__version__}"


def server_environ(
    *, root_path: str, multithread: bool, multiprocess: bool = False
) -> dict[str, Any]:
    """The keys that are the same for every request of a server."""
    return {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SERVER_SOFTWARE": SERVER_SOFTWARE,
        # PEP 3333: strings are bytes in disguise.
        "SCRIPT_NAME": root_path.encode("utf-8").decode("latin-1"),
        "wsgi.version": (1, 0),
        "wsgi.multithread": multithread,
        "wsgi.multiprocess": multiprocess,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
    }


class EnvironBuilder:
    """Makes the environs of one connection.

    `base` holds the keys that no request changes: those of `server_environ`, the addresses and
    the URL scheme.
    """

    __slots__ = ("_base", "_fields", "_prefix", "_template")

    def __init__(self, base: Mapping[str, Any]) -> None:
        self._base = base
        self._prefix: str = base["SCRIPT_NAME"]
        self._fields: HeaderFields | None = None
        self._template: dict[str, Any] = {}

    def build(self, head: RequestHead) -> dict[str, Any]:
        """A new environ; only ``wsgi.input`` is missing."""
        fields = head.fields
        if fields is self._fields:
            environ = self._template.copy()
        else:
            environ = self._with_headers(fields)
            if fields.recurs:
                self._fields, self._template = fields, environ.copy()
        target = head.target
        environ["REQUEST_METHOD"] = head.method
        environ["REQUEST_URI"] = environ["RAW_URI"] = target
        environ["SERVER_PROTOCOL"] = f"HTTP/{head.http_version}"
        # Looked up for each request: programs and test runners replace sys.stderr,
        # and a process without one (pythonw) has None there.
        environ["wsgi.errors"] = sys.stderr or io.StringIO()
        if "#" in target:
            target = target.partition("#")[0]  # RFC 9112 3.2: no target has a fragment
        if target[0] != "/":
            target = self._resolve(target, environ)
        path, _, environ["QUERY_STRING"] = target.partition("?")
        if "%" in path:
            path = unquote_to_bytes(path).decode("latin-1")
        environ["PATH_INFO"] = split_prefix(path, self._prefix) if self._prefix else path
        return environ

    def _with_headers(self, fields: HeaderFields) -> dict[str, Any]:
        environ = dict(self._base)
        for line in fields.lines:
            environ[line.key] = line.text
        # Some have the same key, or must not be seen.
        if len(environ) < len(self._base) + len(fields.lines) or "" in environ:
            environ = {**self._base, **_joined_keys(fields.lines)}
        if fields.is_chunked:
            # RFC 9112 6.3: Transfer-Encoding overrides Content-Length. The body is decoded already;
            # who sees the header may do it again.
            environ.pop("CONTENT_LENGTH", None)
            environ.pop("HTTP_TRANSFER_ENCODING", None)
            environ["wsgi.input_terminated"] = True
        return environ

    def _resolve(self, target: str, environ: dict[str, Any]) -> str:
        if target == "*":
            # RFC 9110 9.3.7: the server as a whole. PEP 3333 has no word for it; its root is
            # nearest, and REQUEST_URI still tells.
            return "/"
        _, _, rest = target.partition("://")
        size = len(_AUTHORITY.match(rest)[0])  # type: ignore[index]
        # RFC 9112 3.2.2: the authority of an absolute-form target overrides Host.
        environ["HTTP_HOST"] = rest[:size]
        rest = rest[size:]
        return rest if rest.startswith("/") else f"/{rest}"


def split_prefix(path: str, prefix: str) -> str:
    """PATH_INFO of `path` where SCRIPT_NAME is `prefix`, which a proxy may have taken off."""
    rest = path.removeprefix(prefix)
    return rest if rest != path and (not rest or rest[0] == "/") else path


def _joined_keys(lines: Sequence[HeaderLine]) -> dict[str, str]:
    """One value for each key, whatever the lines."""
    keys: dict[str, str] = {}
    for line in lines:
        key = line.key
        if key:
            keys[key] = join_values(key, keys[key], line.text) if key in keys else line.text
    return keys


def join_values(key: str, first: str, second: str) -> str:
    """One value for two lines of one key."""
    if key == "CONTENT_LENGTH":
        return first  # h11 has refused any but equal ones
    # RFC 9110 5.3: a list, in order. RFC 9113 8.2.3: cookies are joined by "; ".
    separator = "; " if key == "HTTP_COOKIE" else ", "
    return f"{first}{separator}{second}"


def address_keys(local: object, peer: object) -> dict[str, str]:
    """``SERVER_*`` and ``REMOTE_*`` from socket names as asyncio reports them.

    TCP sockets name themselves (host, port, ...). Unix sockets have no numbers; they get the
    names that PEP 3333 cannot do without.
    """
    keys = {"SERVER_NAME": "localhost", "SERVER_PORT": "80", "REMOTE_ADDR": ""}
    if isinstance(local, Sequence) and not isinstance(local, str | bytes):
        host = str(local[0])
        # RFC 3875 4.1.14: an IPv6 address stands in brackets, as in a URL.
        keys.update(SERVER_NAME=f"[{host}]" if ":" in host else host, SERVER_PORT=str(local[1]))
    if isinstance(peer, Sequence) and not isinstance(peer, str | bytes) and len(peer) >= 2:
        keys.update(REMOTE_ADDR=str(peer[0]), REMOTE_PORT=str(peer[1]))
    return keys
