"""Werkzeug's debugger around an application, and who may use it."""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication

    from werkzeug.debug import DebuggedApplication

    from asyncwsgi.config import Config

_IPV6_HOST = re.compile(r"\[([^]]*)\](?::\d*)?")
"""An IPv6 address in the header Host (RFC 3986 3.2.2)."""


def has_werkzeug() -> bool:
    """Whether there is a debugger."""
    try:
        import werkzeug.debug  # noqa: F401
    except ImportError:
        return False
    return True


def with_debugger(application: WSGIApplication, config: Config) -> WSGIApplication:
    """`application` below Werkzeug's debugger, for who names one of the hosts that are served."""
    return _debugged(application, config)


def for_trusted_hosts(
    shown: WSGIApplication, application: WSGIApplication, config: Config
) -> WSGIApplication:
    """What serves `shown` to those who may use the debugger, and `application` to all others."""
    is_trusted = _debugged(application, config).check_host_trust

    def choose(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        return (shown if is_trusted(environ) else application)(environ, start_response)

    return choose


def _debugged(application: WSGIApplication, config: Config) -> DebuggedApplication:
    from werkzeug.debug import DebuggedApplication

    # As werkzeug.serving.run_simple does: who chose the host may debug there.
    hosts = [config.host] if not config.bind else _hosts(config.bind)
    addresses = {_ipv6_address(host) for host in ("::1", *hosts)} - {None}

    class Debugged(DebuggedApplication):
        def check_host_trust(self, environ: dict[str, Any]) -> bool:
            # Werkzeug reads a trusted host up to its first colon, where its port would be.
            literal = _IPV6_HOST.fullmatch(environ.get("HTTP_HOST", ""))
            is_ours = literal is not None and _ipv6_address(literal[1]) in addresses
            return is_ours or super().check_host_trust(environ)

    debugged = Debugged(application, evalex=True)
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
