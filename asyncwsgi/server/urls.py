"""Where a server listens, as people and clients on this machine get there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from asyncwsgi.server.listeners import Address, Listener

_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def schemes_of(listeners: Iterable[Listener], *, has_tls: bool) -> dict[Address, str]:
    """The scheme at each address; several sockets may listen at one."""
    http = "https" if has_tls else "http"
    return {one.address: "uwsgi" if one.is_uwsgi else http for one in listeners}


def reachable_urls(schemes: Mapping[Address, str]) -> tuple[str, ...]:
    """A URL for each address that a client on this machine can connect to."""
    return tuple(url_of(scheme, reachable_address(address)) for address, scheme in schemes.items())


def listening_on(schemes: Mapping[Address, str]) -> str:
    """What the log says of it. The URLs stand at the end: programs read them there."""
    scope = "on all interfaces, " if any(a[0] in _WILDCARDS for a in schemes) else ""
    return f"{scope}listening on {', '.join(reachable_urls(schemes))}"


def reachable_address(address: Address) -> Address:
    """What a client on this machine connects to; nobody can connect to a wildcard."""
    if isinstance(address, str):
        return address
    return _WILDCARDS.get(address[0], address[0]), address[1]


def url_of(scheme: str, address: Address) -> str:
    """A URL without a slash at its end; ``unix:PATH`` for a socket."""
    if isinstance(address, str):
        return f"uwsgi+unix:{address}" if scheme == "uwsgi" else f"unix:{address}"
    host = address[0]
    return f"{scheme}://[{host}]:{address[1]}" if ":" in host else f"{scheme}://{host}:{address[1]}"
