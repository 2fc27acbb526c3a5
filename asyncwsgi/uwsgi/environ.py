"""Packets into environs (PEP 3333, "environ Variables").

Most keys are in the packet as they are wanted. The server adds its own, and sees to it that those
of HTTP's frontend are there, with the same meaning.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from typing import Any

from asyncwsgi.http1.head import RequestHead
from asyncwsgi.uwsgi.head import PacketHead
from asyncwsgi.wsgi.environ import split_prefix


class PacketEnvirons:
    """Makes the environ of one connection.

    Args:
        base: the keys that no request changes: those of `server_environ`, the addresses and the URL
            scheme. What the packet says counts for more.
    """

    __slots__ = ("_base",)

    def __init__(self, base: Mapping[str, Any]) -> None:
        self._base = base

    def build(self, head: RequestHead) -> dict[str, Any]:
        """A new environ; only ``wsgi.input`` is missing."""
        assert isinstance(head, PacketHead), head
        variables = head.variables
        environ: dict[str, Any] = {"SERVER_PROTOCOL": "HTTP/1.0", **self._base}
        if "REMOTE_ADDR" in variables:
            environ.pop("REMOTE_PORT", None)  # the proxy's, beside the client's address
        environ.update(variables)
        prefix = variables.get("SCRIPT_NAME", "").rstrip("/") or self._base["SCRIPT_NAME"]
        environ["SCRIPT_NAME"] = prefix
        environ["PATH_INFO"] = split_prefix(variables["PATH_INFO"], prefix)
        environ["RAW_URI"] = head.target
        is_tls = variables.get("HTTPS", "").lower() in ("on", "1")
        environ["wsgi.url_scheme"] = "https" if is_tls else "http"
        environ["wsgi.errors"] = sys.stderr or io.StringIO()  # see EnvironBuilder.build
        return environ
