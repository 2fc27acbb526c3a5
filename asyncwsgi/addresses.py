"""Sets of IP addresses, as options name them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network


class AddressSet:
    """Addresses and networks.

    Args:
        items: an address, or a network such as ``10.0.0.0/8``, each.

    Raises:
        ValueError: one is neither.
    """

    __slots__ = ("_networks",)

    def __init__(self, items: Iterable[str]) -> None:
        self._networks = [ip_network(item) for item in items]

    def __contains__(self, host: str) -> bool:
        """Whether `host`, as a socket names its peer, is one of them."""
        address = _address(host)
        if address is None:
            return False
        return any(address in network for network in self._networks)


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to `host`, as a socket names itself."""
    address = _address(host)
    return address is not None and address.is_loopback


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(host.partition("%")[0])  # behind it stands the zone (RFC 4007 11)
    except ValueError:
        return None
    # A socket for IPv6 may serve IPv4 as well, whose addresses it shows so (RFC 4291 2.5.5.2).
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
