"""The PROXY protocol, versions 1 and 2: whose connection a proxy hands on. Pure: bytes in.

A proxy that hands on bytes, and not requests, cannot add headers to them. It says who its client is
in a few bytes before all others, below TLS. The specification is
https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt; "must" and "may" below are its own.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from typing import NamedTuple

from asyncwsgi.config import LARGEST_PORT
from asyncwsgi.trusted_peers import address_of

SocketName = tuple[str, int] | str

MOST_SIZE = 4096
"""Bytes of a header, with its TLVs. Version 2 could announce 64 KB; proxies send some 100."""
_MOST_SIZE_1 = 107
_SIGNATURE_1 = b"PROXY "
_SIGNATURE_2 = b"\r\n\r\n\x00\r\nQUIT\n"
_LINE = re.compile(
    rb"PROXY (?:UNKNOWN(?: [^\r\n]*)?"
    rb"|TCP([46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4}))\r\n"
)
_HEAD_2 = struct.Struct("!12sBBH")
_LOCAL, _PROXY = 0x20, 0x21
_UNSPECIFIED, _TCP4, _TCP6, _UNIX = 0x00, 0x11, 0x21, 0x31
_ADDRESSES = {_TCP4: struct.Struct("!4s4sHH"), _TCP6: struct.Struct("!16s16sHH")}
_UNIX_SIZE = 216


class ProxyHeaderError(ValueError):
    """These bytes are no header of the PROXY protocol; says which, as a predicate."""


class Ends(NamedTuple):
    """The ends of a connection that a proxy hands on, as sockets name their own."""

    local: SocketName | None
    """None if the proxy does not tell it."""
    peer: SocketName | None
    """Its client; None if the proxy does not tell who that is."""


UNTOLD = Ends(None, None)
"""The specification would have a client of whom nothing is told be taken for the proxy, or refused.
It is nobody here: what is the proxy's due is not its client's."""


class ProxyHeader(NamedTuple):
    """What precedes a connection."""

    size: int
    """How many bytes it has; behind them is what the client sends."""
    ends: Ends | None
    """None: those of the connection itself, which the proxy has opened on its own account, to see
    whether the server is there (LOCAL)."""


def read_header(data: bytes) -> ProxyHeader | None:
    """The header at the beginning of `data`; None if all of that is less than a header.

    Raises:
        ProxyHeaderError: it is none, or is larger than `MOST_SIZE`.
    """
    if _begins(data, _SIGNATURE_2):
        return _read_2(data) if len(data) >= _HEAD_2.size else None
    if _begins(data, _SIGNATURE_1):
        return _read_1(data)
    raise ProxyHeaderError(f"began with {data[:16]!r} in place of a PROXY header")


def _begins(data: bytes, signature: bytes) -> bool:
    return data[: len(signature)] == signature[: len(data)]


def _read_1(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\n", 0, _MOST_SIZE_1) + 1
    if not end and len(data) < _MOST_SIZE_1:
        return None
    line = data[: end or _MOST_SIZE_1]
    match = _LINE.fullmatch(line)
    if match is None:
        raise ProxyHeaderError(f"sent a malformed PROXY header {line!r}")
    if match[1] is None:  # "the receiver must ignore anything presented before the CRLF"
        return ProxyHeader(end, UNTOLD)
    version = int(match[1])
    try:
        peer, local = (
            (_address(text.decode("ascii"), version), _port(port))
            for text, port in ((match[2], match[4]), (match[3], match[5]))
        )
    except ValueError as error:
        raise ProxyHeaderError(f"sent a malformed PROXY header: {error}") from None
    return ProxyHeader(end, Ends(local, peer))


def _address(text: str, version: int) -> str:
    if ipaddress.ip_address(text).version != version:
        raise ValueError(f"{text!r} is no address of IPv{version}")
    return str(address_of(text))


def _port(digits: bytes) -> int:
    port = int(digits)
    if port > LARGEST_PORT:
        raise ValueError(f"there is no port {port}")
    return port


def _read_2(data: bytes) -> ProxyHeader | None:
    _, command, family, length = _HEAD_2.unpack_from(data)
    size = _HEAD_2.size + length
    if command not in (_LOCAL, _PROXY):
        raise ProxyHeaderError(f"sent a PROXY header of version and command {command:#04x}")
    if size > MOST_SIZE:
        raise ProxyHeaderError(f"sent a PROXY header of {size} bytes, at most {MOST_SIZE}")
    if len(data) < size:
        return None
    if command == _LOCAL:
        return ProxyHeader(size, None)
    # TLVs may follow the addresses; nothing here depends on one.
    return ProxyHeader(size, _ends_2(family, data[_HEAD_2.size : size]))


def _ends_2(family: int, block: bytes) -> Ends:
    if family == _UNSPECIFIED:
        return UNTOLD
    addresses = _ADDRESSES.get(family)
    if addresses is None and family != _UNIX:
        raise ProxyHeaderError(f"sent a PROXY header of family and transport {family:#04x}")
    wanted = _UNIX_SIZE if addresses is None else addresses.size
    if len(block) < wanted:
        raise ProxyHeaderError(f"sent a PROXY header with {len(block)} bytes, expected {wanted}")
    if addresses is None:
        return Ends("", "")  # who connects to a Unix socket has no name, and the socket's is theirs
    source, destination, source_port, destination_port = addresses.unpack_from(block)
    return Ends(
        (str(address_of(str(ipaddress.ip_address(destination)))), destination_port),
        (str(address_of(str(ipaddress.ip_address(source)))), source_port),
    )
