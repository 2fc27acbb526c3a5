"""Which peers are trusted, by the list that an option holds."""

from __future__ import annotations

import pytest

from asyncwsgi.trusted_peers import UNIX, TrustedPeers, address_of


@pytest.mark.parametrize(
    ("names", "peer", "is_trusted"),
    [
        pytest.param("", "127.0.0.1", False, id="nobody"),
        pytest.param(" , ", "127.0.0.1", False, id="empty names"),
        pytest.param("127.0.0.1", "127.0.0.1", True, id="an address"),
        pytest.param("127.0.0.1", "127.0.0.2", False, id="another address"),
        pytest.param("10.0.0.0/8", "10.1.2.3", True, id="in a network"),
        pytest.param("10.0.0.0/8", "11.1.2.3", False, id="beside a network"),
        pytest.param("192.0.2.1 , 10.0.0.0/8", "10.1.2.3", True, id="the second of a list"),
        pytest.param("::1", "::1", True, id="an IPv6 address"),
        pytest.param("::1", "127.0.0.1", False, id="of another family"),
        pytest.param("0:0:0:0:0:0:0:1", "::1", True, id="another spelling"),
        pytest.param("2001:db8::/32", "2001:db8::7", True, id="in an IPv6 network"),
        pytest.param("10.0.0.0/8", "::ffff:10.1.2.3", True, id="IPv4 on a socket for both"),
        pytest.param("10.0.0.0/8", "::ffff:11.1.2.3", False, id="IPv4 on one, another network"),
        pytest.param("fe80::/10", "fe80::1%eth0", True, id="a zone"),
        pytest.param("unix", UNIX, True, id="a Unix socket"),
        pytest.param("127.0.0.1", UNIX, False, id="a Unix socket that is not named"),
        pytest.param("unix", "127.0.0.1", False, id="no Unix socket"),
        pytest.param("unix,127.0.0.1", "", False, id="one that nobody knows"),
        pytest.param("*", "192.0.2.9", True, id="everybody"),
        pytest.param("*", UNIX, True, id="everybody, on a Unix socket"),
    ],
)
def test_a_peer_is_trusted_if_it_is_named(names: str, peer: str, is_trusted: bool) -> None:
    assert TrustedPeers(names).trusts_peer(peer) is is_trusted


def test_of_whom_a_peer_tells_is_trusted_only_if_named() -> None:
    address = address_of("192.0.2.9")
    assert not TrustedPeers("*").trusts_hop(address)
    assert TrustedPeers("*,192.0.2.0/24").trusts_hop(address)


@pytest.mark.parametrize("names", ["", " ,"])
def test_a_list_may_be_empty(names: str) -> None:
    assert not TrustedPeers(names)


@pytest.mark.parametrize("names", ["*", "unix", "::1", "10.0.0.0/8"])
def test_a_list_with_anybody_is_not_empty(names: str) -> None:
    assert TrustedPeers(names)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("localhost", id="a name"),
        pytest.param("10.0.0.1/8", id="an address in a network"),
        pytest.param("10.0.0", id="a part"),
        pytest.param("010.0.0.1", id="octal, perhaps"),
        pytest.param("127.0.0.1:80", id="a port"),
        pytest.param("127.0.0.1 ::1", id="no commas"),
    ],
)
def test_what_is_no_peer_is_named(name: str) -> None:
    with pytest.raises(ValueError, match="expected addresses, networks"):
        TrustedPeers(name)
