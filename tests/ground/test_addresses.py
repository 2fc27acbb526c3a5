"""Sets of addresses, as sockets name them."""

from __future__ import annotations

import pytest

from asyncwsgi.addresses import AddressSet, is_loopback


@pytest.mark.parametrize(
    ("host", "is_in"),
    [
        ("10.1.2.3", True),
        ("11.1.2.3", False),
        ("::ffff:10.1.2.3", True),
        ("::ffff:11.1.2.3", False),
        ("fe80::1%eth0", True),
        ("2001:db8::1", False),
        ("192.0.2.7", True),
        ("192.0.2.8", False),
        ("", False),
        ("name", False),
    ],
)
def test_a_peer_is_in_the_set_however_its_socket_names_it(host: str, is_in: bool) -> None:
    assert (host in AddressSet(["10.0.0.0/8", "fe80::/10", "192.0.2.7"])) is is_in


@pytest.mark.parametrize("item", ["", "*", "name", "10.0.0.1/8", "10.0.0.0/33", "1.2.3"])
def test_what_is_no_address_makes_no_set(item: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        AddressSet([item])


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.1", False),
    ],
)
def test_only_this_machine_connects_to_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
