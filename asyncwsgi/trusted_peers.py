"""Which peers are trusted to say who their own client is: addresses, networks, Unix sockets."""

from __future__ import annotations

import ipaddress

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
UNIX = "unix"
"""What a peer on a Unix socket is called, which has no address."""


class TrustedPeers:
    """Peers by a list such as ``127.0.0.1, 10.0.0.0/8, 2001:db8::/32, unix``; ``*`` is every peer.

    A peer is who has connected. A *hop* is one of whom a peer tells. ``*`` does not count for
    those: it would have the list that a proxy hands on be believed up to its very beginning, which
    the client has written. Networks that are named beside it do count.

    Raises:
        ValueError: says which of the names is none.
    """

    __slots__ = ("_addresses", "_networks", "_trusts_all", "_trusts_unix")

    def __init__(self, names: str) -> None:
        listed = {name.strip() for name in names.split(",")} - {""}
        self._trusts_all = "*" in listed
        self._trusts_unix = UNIX in listed
        networks = [_network(name) for name in sorted(listed - {"*", UNIX})]
        self._addresses = {n.network_address for n in networks if n.num_addresses == 1}
        self._networks = [n for n in networks if n.num_addresses > 1]

    def __bool__(self) -> bool:
        """Whether there is any."""
        return self._trusts_all or self._trusts_unix or bool(self._addresses or self._networks)

    def trusts_peer(self, peer: str) -> bool:
        """Whether the peer of a connection is trusted.

        Args:
            peer: its address, `UNIX`, or empty if nobody knows: it left as it came.
        """
        if self._trusts_all or not peer:
            return self._trusts_all
        if peer == UNIX:
            return self._trusts_unix
        # A link-local address has a zone, which is the name of an interface of ours.
        return self.trusts_hop(address_of(peer.partition("%")[0]))

    def trusts_hop(self, address: IPAddress | None) -> bool:
        """Whether one of whom a peer tells is trusted; None is one on a Unix socket."""
        if address is None:
            return self._trusts_unix
        return address in self._addresses or any(address in network for network in self._networks)


def address_of(text: str) -> IPAddress:
    """The address that `text` is; an IPv4 address in the form of IPv6 is one of IPv4.

    Sockets that take both families name their IPv4 peers so (RFC 4291 2.5.5.2).

    Raises:
        ValueError: it is none.
    """
    address = ipaddress.ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address


def _network(name: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(name)
    except ValueError as error:
        raise ValueError(
            f"{error}; expected addresses, networks such as 10.0.0.0/8, {UNIX!r} or '*', separated "
            "by commas"
        ) from None
