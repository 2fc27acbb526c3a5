"""Environs of requests that a host has parsed, by the rules of `asyncwsgi.wsgi.environ`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

from asyncwsgi.errors import RequestRefused
from asyncwsgi.http1.head import HeaderFields, HeaderLine, RequestHead
from asyncwsgi.wsgi.environ import EnvironBuilder, address_keys, server_environ

_SAFE = "/:@!$&'()*+,;=~-._"
_MOST_BUILDERS = 64
"""Addresses and mount points for which what they share is kept."""

Address = Sequence[Any] | None


class Environs:
    """Makes the environs of one mount.

    Args:
        multithread: whether the application runs in several threads.
    """

    def __init__(self, *, multithread: bool) -> None:
        self._multithread = multithread
        self._builders: dict[Any, EnvironBuilder] = {}

    def build(
        self, head: RequestHead, *, script_name: str, scheme: str, server: Address, client: Address
    ) -> dict[str, Any]:
        """A new environ; only ``wsgi.input`` is missing.

        Args:
            script_name: the path at which the host has mounted the application.
            scheme: ``http`` or ``https``.
            server: host and port, or None for a Unix socket.
            client: host and port, or None if that is not known.
        """
        key = (script_name, scheme, tuple(server) if server is not None else None)
        builder = self._builders.get(key) or self._new_builder(key)
        environ = builder.build(head)
        if client is not None and len(client) >= 2:
            environ["REMOTE_ADDR"] = str(client[0])
            environ["REMOTE_PORT"] = str(client[1])
        if environ["SERVER_PROTOCOL"] not in _HTTP_1:
            self._tell_end_of_body(environ, head.fields)
        return environ

    def _tell_end_of_body(self, environ: dict[str, Any], fields: HeaderFields) -> None:
        # RFC 9113 8.1: frames end a body, whether its length was told or not.
        if fields.content_length is None and environ["REQUEST_METHOD"] not in BODYLESS:
            environ["wsgi.input_terminated"] = True

    def _new_builder(self, key: tuple[str, str, Any]) -> EnvironBuilder:
        script_name, scheme, server = key
        is_tcp = server is not None and server[1] is not None
        builder = EnvironBuilder(
            {
                **server_environ(root_path=script_name, multithread=self._multithread),
                **address_keys(server if is_tcp else None, None),
                "wsgi.url_scheme": scheme,
            }
        )
        if len(self._builders) < _MOST_BUILDERS:
            self._builders[key] = builder
        return builder


_HTTP_1 = ("HTTP/1.1", "HTTP/1.0")
BODYLESS = ("GET", "HEAD")
"""Methods whose requests have a body only if their headers say so."""


def request_head(
    method: str, target: str, http_version: str, headers: Iterable[tuple[bytes, bytes]]
) -> RequestHead:
    """A head out of what the host has parsed.

    Raises:
        RequestRefused: 400, since a header line is none. The host should have refused it.
    """
    try:
        fields = HeaderFields([HeaderLine(name, value) for name, value in headers])
    except ValueError as error:
        raise RequestRefused(400, f"malformed header: {error}") from None
    return RequestHead(method, target, http_version, fields)


def quoted(path: str) -> str:
    """A decoded path as part of a request target."""
    return quote(path, safe=_SAFE)
