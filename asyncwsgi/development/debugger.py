"""Werkzeug's debugger around an application, and who may use it."""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from asyncwsgi.config import Config

_IPV6_HOST = re.compile(r"\[([^]]*)\](?::\d*)?")
"""An IPv6 address in the header Host (RFC 3986 3.2.2)."""
ON_DEBUGGED = "asyncwsgi.on_debugged"
"""The key of the environ with what is told of exceptions (see `Debugged`)."""


def has_werkzeug() -> bool:
    """Whether there is a debugger."""
    try:
        import werkzeug.debug  # noqa: F401
    except ImportError:
        return False
    return True


def with_debugger(application: WSGIApplication, config: Config) -> WSGIApplication:
    """`application` below Werkzeug's debugger, for who names one of the hosts that are served."""
    from asyncwsgi.development.debugged import Debugged

    # As werkzeug.serving.run_simple does: who chose the host may debug there.
    hosts = [config.host] if not config.bind else _hosts(config.bind)
    addresses = {_ipv6_address(host) for host in ("::1", *hosts)} - {None}

    def is_trusted(host: str) -> bool:
        # Werkzeug reads a trusted host up to its first colon, where its port would be.
        literal = _IPV6_HOST.fullmatch(host)
        return literal is not None and _ipv6_address(literal[1]) in addresses

    debugged = Debugged(application, is_trusted, ON_DEBUGGED)
    debugged.trusted_hosts += hosts
    return debugged


def _ipv6_address(host: str) -> IPv6Address | None:
    try:
        return IPv6Address(host)
    except ValueError:
        return None


def _hosts(binds: tuple[str, ...]) -> list[str]:
    # Behind uwsgi:// there is a proxy; how browsers call that one, nobody has said here.
    others = ("unix:", "fd:", "uwsgi://", "uwsgi+")
    addresses = [bind for bind in binds if not bind.startswith(others)]
    return [address.rpartition(":")[0].strip("[]") for address in addresses]
