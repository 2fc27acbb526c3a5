"""Headers of the PROXY protocol out of bytes, as its specification has them."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncwsgi.frontends.proxy_protocol import (
    MOST_SIZE,
    UNTOLD,
    Ends,
    ProxyHeader,
    ProxyHeaderError,
    read_header,
)

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
REST = b"GET / HTTP/1.1\r\n\r\n"
PEER, LOCAL = ("203.0.113.7", 4711), ("192.0.2.1", 443)
PEER_6, LOCAL_6 = ("2001:db8::7", 4711), ("2001:db8::1", 443)
TLV = b"\x05\x00\x03abc"


def version_2(family: int, block: bytes, command: int = 0x21) -> bytes:
    return SIGNATURE + bytes([command, family]) + struct.pack("!H", len(block)) + block


def tcp4(peer: tuple[str, int] = PEER, local: tuple[str, int] = LOCAL) -> bytes:
    addresses = socket.inet_aton(peer[0]) + socket.inet_aton(local[0])
    return addresses + struct.pack("!HH", peer[1], local[1])


def tcp6() -> bytes:
    ends = (PEER_6, LOCAL_6)
    addresses = b"".join(socket.inet_pton(socket.AF_INET6, address) for address, _ in ends)
    return addresses + struct.pack("!HH", 4711, 443)


GOOD = [
    pytest.param(b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n", Ends(LOCAL, PEER), id="TCP4"),
    pytest.param(
        b"PROXY TCP6 2001:DB8::7 2001:db8:0::1 4711 443\r\n", Ends(LOCAL_6, PEER_6), id="TCP6"
    ),
    pytest.param(
        b"PROXY TCP6 ::ffff:203.0.113.7 ::ffff:192.0.2.1 4711 443\r\n",
        Ends(LOCAL, PEER),
        id="IPv4 as TCP6",
    ),
    pytest.param(b"PROXY UNKNOWN\r\n", UNTOLD, id="UNKNOWN"),
    pytest.param(
        b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", UNTOLD, id="UNKNOWN, long"
    ),
    pytest.param(version_2(0x11, tcp4()), Ends(LOCAL, PEER), id="v2 TCP4"),
    pytest.param(version_2(0x21, tcp6()), Ends(LOCAL_6, PEER_6), id="v2 TCP6"),
    pytest.param(version_2(0x11, tcp4() + TLV), Ends(LOCAL, PEER), id="v2 TLVs"),
    pytest.param(
        version_2(0x11, tcp4() + b"\0" * (MOST_SIZE - 28)), Ends(LOCAL, PEER), id="v2 of all size"
    ),
    pytest.param(version_2(0x31, b"/run/x".ljust(216, b"\0")), Ends("", ""), id="v2 UNIX"),
    pytest.param(version_2(0x00, b""), UNTOLD, id="v2 UNSPEC"),
    pytest.param(version_2(0x00, TLV), UNTOLD, id="v2 UNSPEC, TLVs"),
    pytest.param(version_2(0x00, b"", 0x20), None, id="v2 LOCAL"),
    pytest.param(version_2(0x11, tcp4(), 0x20), None, id="v2 LOCAL, addresses"),
    pytest.param(version_2(0xFF, b"", 0x20), None, id="v2 LOCAL, any family"),
]


@pytest.mark.parametrize(("data", "ends"), GOOD)
@pytest.mark.parametrize("rest", [b"", REST, b"\r\n\r\n"])
def test_a_header_tells_the_ends_and_where_it_ends(
    data: bytes, ends: Ends | None, rest: bytes
) -> None:
    assert read_header(data + rest) == ProxyHeader(len(data), ends)


@pytest.mark.parametrize(("data", "ends"), GOOD)
def test_each_part_of_a_header_is_one_that_goes_on(data: bytes, ends: Ends | None) -> None:
    for size in range(len(data)):
        assert read_header(data[:size]) is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(REST, "in place of a PROXY header", id="HTTP"),
        pytest.param(b"PROXIES", "in place of", id="another word"),
        pytest.param(b"proxy TCP4 1.1.1.1 1.1.1.1 1 1\r\n", "in place of", id="small letters"),
        pytest.param(b"\x16\x03\x01", "in place of", id="TLS"),
        pytest.param(b"\r\n\r\nGET", "in place of", id="empty lines"),
        pytest.param(b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\n", "malformed", id="no CR"),
        pytest.param(b"PROXY TCP4  1.1.1.1 1.1.1.1 1 1\r\n", "malformed", id="two spaces"),
        pytest.param(b"PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n", "malformed", id="a port is missing"),
        pytest.param(b"PROXY TCP4 1.1.1.1 1.1.1.1 01 1\r\n", "malformed", id="a leading zero"),
        pytest.param(b"PROXY TCP4 1.1.1.1 1.1.1.1 65536 1\r\n", "no port 65536", id="no port"),
        pytest.param(b"PROXY TCP4 1.1.1.01 1.1.1.1 1 1\r\n", "malformed", id="octal, perhaps"),
        pytest.param(b"PROXY TCP4 ::1 1.1.1.1 1 1\r\n", "no address of IPv4", id="another family"),
        pytest.param(b"PROXY TCP6 1.1.1.1 ::1 1 1\r\n", "no address of IPv6", id="other family"),
        pytest.param(b"PROXY UDP4 1.1.1.1 1.1.1.1 1 1\r\n", "malformed", id="UDP"),
        pytest.param(b"PROXY UNKNOWN" + b" " * 94, "malformed", id="more than 107 bytes"),
        pytest.param(version_2(0x11, tcp4()[:-1]), "11 bytes, expected 12", id="v2 too short"),
        pytest.param(version_2(0x12, tcp4()), "transport 0x12", id="v2 UDP"),
        pytest.param(version_2(0x41, tcp4()), "transport 0x41", id="v2 unknown family"),
        pytest.param(version_2(0x11, tcp4(), 0x11), "command 0x11", id="version 1 in binary"),
        pytest.param(version_2(0x11, tcp4(), 0x22), "command 0x22", id="v2 unknown command"),
        pytest.param(
            version_2(0x11, b"\0" * (MOST_SIZE - 15))[:16], "at most 4096", id="v2 too large"
        ),
    ],
)
def test_what_is_none_is_refused_as_soon_as_that_is_known(data: bytes, message: str) -> None:
    with pytest.raises(ProxyHeaderError, match=message):
        read_header(data)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from([b"", SIGNATURE, SIGNATURE + b"\x21\x11", b"PROXY TCP4 "]), st.binary())
def test_any_bytes_are_a_header_or_none_or_go_on(begin: bytes, rest: bytes) -> None:
    data = begin + rest
    try:
        header = read_header(data)
    except ProxyHeaderError:
        return
    if header is None:
        assert len(data) < MOST_SIZE
    else:
        assert header.size <= min(len(data), MOST_SIZE)
