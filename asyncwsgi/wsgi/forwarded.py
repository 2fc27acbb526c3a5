"""What a trusted proxy says of its client, into the environ: X-Forwarded-*, Forwarded (RFC 7239).

Anybody can write these headers. What makes one of them true is who has written it, and so each
rule here is a rule about that:

- A header counts if the peer of the connection is trusted, and only if it is one that the proxy is
  known to write (`forwarded_headers`). Most proxies hand on what the client itself has sent of all
  others. Whatever else looks like a forwarding header is therefore taken out of the environ.
- Lists are read from the end, which is what the peer has added, and only as far as those who have
  added something are trusted, too. The first who is not is the client. What stands before it is
  its own invention, and is not even parsed: nothing in it can make the rest read otherwise.
- A client whose address the proxy does not tell has none. It does not get the proxy's, which may
  open doors that are closed to strangers.
- What was believed is taken out as well: an application that believes such headers by itself
  (Werkzeug's `ProxyFix`, Django's settings) would count the same hops twice.

Only the environ is read and changed, so that any frontend whose proxy speaks HTTP can use it. A
header that is repeated is one list by then (RFC 9110 5.3), and one with an underscore in the place
of a hyphen has not got here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from asyncwsgi.config import FORWARDED_HEADERS, LARGEST_PORT, Config, listed
from asyncwsgi.http1.head import RequestHead, is_host
from asyncwsgi.trusted_peers import TrustedPeers, address_of
from asyncwsgi.wsgi.environ import EnvironBuilder, split_prefix

Environ = dict[str, Any]

_FOR, _PROTO, _HOST, _PORT, _PREFIX, _FORWARDED = _CHOICES = tuple(
    f"HTTP_{name.upper().replace('-', '_')}" for name in FORWARDED_HEADERS
)
_KEYS = (
    *_CHOICES,
    # Other names for the scheme, by which some frameworks believe it.
    "HTTP_X_FORWARDED_PROTOCOL", "HTTP_X_FORWARDED_SCHEME", "HTTP_X_FORWARDED_SSL",
)  # fmt: skip

_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
"""Some proxies name the scheme of a WebSocket, which is HTTP's for the request that opens it."""
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_AUTHORITY = re.compile(r"(?P<name>\[[^\]]*\]|[^:]+)(?::(?P<port>[0-9]*))?")
_PORT_NUMBER = re.compile(r"[0-9]{1,5}")
# RFC 3986 3.3, decoded: no control characters, and nothing that a browser takes for a slash.
_NO_PREFIX = re.compile(r"//|\.\.|[\\\x00-\x1f\x7f]")

# An address, alone or with a port; IPv6 with a port has brackets. RFC 7239 6.3: a port may be
# obfuscated.
_NODE = re.compile(
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<ipv4>[0-9.]+))(?::(?:(?P<port>[0-9]{1,5})|_[\w.\-]+))?"
    r"|(?P<bare>[0-9A-Fa-f:.]+)",
    re.ASCII,
)
_UNIX_NODE = "unix:"
"""What nginx calls a client on a Unix socket."""

# RFC 7239 4. Brackets and colons have to be quoted, and IPv6 addresses often are not. Nothing is
# tried twice (`*+`): who sends 60 KB of spaces shall not keep the loop busy.
_PAIR = r"[!#$%&'*+\-.^_`|~\w]++=(?:[!#$%&'*+\-.^_`|~\w:\[\]]++|\"(?:[^\"\\]|\\.)*+\")"
_PAIRS = re.compile(_PAIR, re.ASCII)
_ELEMENT = re.compile(rf"[ \t]*+(?:{_PAIR})?(?:[ \t]*+;[ \t]*+(?:{_PAIR})?)*+[ \t]*+", re.ASCII)
_MOST_COMMAS = 16
"""Commas within one element, in quoted strings, behind which it is given up."""

_MOST_HOPS = 1024
_LONGEST_HOP = 100
"""How many are remembered, since clients come again, and of what length the text of one may be."""


class Hop(NamedTuple):
    """Who is named in a list of those by whom a request has come."""

    address: str = ""
    """Empty if it is not told, or there is none."""
    port: str = ""
    is_trusted: bool = False


UNKNOWN = Hop()


class Forwarding:
    """What forwarding headers mean on one server.

    Args:
        trusted: whose headers count.
        headers: the names of those that count, in lower case.
        strips: whether the headers of all others are taken out.
        root_path: SCRIPT_NAME where no header says otherwise, as the environ has it.
    """

    def __init__(
        self, trusted: TrustedPeers, headers: frozenset[str], *, strips: bool, root_path: str = ""
    ) -> None:
        self._trusted = trusted
        self._read_hop = lru_cache(_MOST_HOPS)(partial(_read_hop, trusted))
        self._believed = frozenset(
            key for key, name in zip(_CHOICES, FORWARDED_HEADERS, strict=True) if name in headers
        )
        self._strips = strips
        self._root_path = root_path
        self.tells_prefix = _PREFIX in self._believed
        """Whether SCRIPT_NAME may change from one request to the next."""

    def environs(self, base: Mapping[str, Any], peer: str) -> EnvironBuilder:
        """What makes the environs of one connection.

        Args:
            base: as of `EnvironBuilder`.
            peer: who has connected: an address, `trusted_peers.UNIX`, or empty if nobody knows.
        """
        if self._trusted.trusts_peer(peer):
            return _BelievingBuilder(base, self)
        return _StrippingBuilder(base) if self._strips else EnvironBuilder(base)

    def apply(self, environ: Environ) -> None:
        """Change the environ of a request that came from a trusted peer.

        If `tells_prefix`, its PATH_INFO has to be the whole path.
        """
        believed = self._believed
        told = {}
        for key in _KEYS:
            value = environ.pop(key, None)
            if value and key in believed:
                told[key] = value
        if _FORWARDED in told:
            self._apply_forwarded(environ, told[_FORWARDED])
        elif told:
            self._apply_list(environ, told.get(_FOR, ""))
            proto, host, port = (_last(told.get(key, "")) for key in (_PROTO, _HOST, _PORT))
            _set_site(environ, proto, host, port)
        if self.tells_prefix:
            prefix = _prefix(_last(told.get(_PREFIX, ""))) or self._root_path
            environ["SCRIPT_NAME"] = prefix
            environ["PATH_INFO"] = split_prefix(environ["PATH_INFO"], prefix)

    def _apply_list(self, environ: Environ, value: str) -> None:
        hop = None
        for text in _from_the_end(value):
            hop = self._read(text)
            if not hop.is_trusted:
                break
        _set_client(environ, hop)

    def _apply_forwarded(self, environ: Environ, value: str) -> None:
        hop, site = None, dict[str, str]()
        for element in _elements_from_the_end(value):
            hop = self._read(element.get("for", ""))
            site = {**element, **site}  # the last value counts
            if not hop.is_trusted:
                break
        _set_client(environ, hop)
        _set_site(environ, site.get("proto", ""), site.get("host", ""), "")

    def _read(self, text: str) -> Hop:
        return self._read_hop(text) if len(text) <= _LONGEST_HOP else UNKNOWN


def forwarding_of(config: Config) -> Forwarding | None:
    """What `config` asks for; None if all headers stay what they are, and mean nothing."""
    trusted = TrustedPeers(config.forwarded_allow_ips)
    if not trusted and not config.strip_forwarded:
        return None
    headers = frozenset(name.lower() for name in listed(config.forwarded_headers))
    root_path = config.root_path.encode("utf-8").decode("latin-1")
    return Forwarding(trusted, headers, strips=config.strip_forwarded, root_path=root_path)


class _BelievingBuilder(EnvironBuilder):
    """Makes the environs of a connection whose peer is trusted."""

    __slots__ = ("_forwarding",)

    def __init__(self, base: Mapping[str, Any], forwarding: Forwarding) -> None:
        super().__init__({**base, "SCRIPT_NAME": ""} if forwarding.tells_prefix else base)
        self._forwarding = forwarding

    def build(self, head: RequestHead) -> Environ:
        environ = super().build(head)
        self._forwarding.apply(environ)
        return environ


class _StrippingBuilder(EnvironBuilder):
    """Makes the environs of a connection whose peer is not."""

    __slots__ = ()

    def build(self, head: RequestHead) -> Environ:
        environ = super().build(head)
        for key in _KEYS:
            environ.pop(key, None)
        return environ


# Lists.


def _from_the_end(value: str) -> Iterator[str]:
    """The elements of a list, the last one first; RFC 9110 5.6.1.2: empty ones do not count."""
    end = len(value)
    while end >= 0:
        start = value.rfind(",", 0, end) + 1
        element = value[start:end].strip(" \t")
        if element:
            yield element
        end = start - 1


def _last(value: str) -> str:
    return next(_from_the_end(value), "") if "," in value else value.strip(" \t")


def _elements_from_the_end(value: str) -> Iterator[dict[str, str]]:
    """The elements of a Forwarded header, the last one first, each as its parameters.

    From the end, because what a client has sent stands at the beginning, and may be an open quote
    that would swallow what the proxy has added. The last element is the shortest one that ends
    here and is well formed. It cannot be a part of another: what begins within a quoted string
    holds an odd number of quotes, or a backslash outside of any.

    What is no element has no parameters, and nothing that stands before it is looked at.
    """
    end = len(value)
    while end >= 0:
        start = _start_of_last_element(value, end)
        if start is None:
            yield {}
            return
        parameters = _parameters(value[start:end])
        if parameters is not None:
            yield parameters
        end = start - 1


def _start_of_last_element(value: str, end: int) -> int | None:
    comma = end
    for _ in range(_MOST_COMMAS):
        comma = value.rfind(",", 0, comma)
        if _ELEMENT.fullmatch(value, comma + 1, end):
            return comma + 1
        if comma < 0:
            break
    return None


def _parameters(element: str) -> dict[str, str] | None:
    """The parameters of an element; None if it is empty, and none if one occurs twice."""
    found: dict[str, str] = {}
    pairs = _PAIRS.findall(element)
    for pair in pairs:
        name, _, value = pair.partition("=")
        if value.startswith('"'):
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        found[name.lower()] = value
    if not pairs:
        return None
    return found if len(found) == len(pairs) else {}


# What they say.


def _read_hop(trusted: TrustedPeers, text: str) -> Hop:
    """Who is named by an address, with or without a port; or nobody (RFC 7239 6)."""
    if text == _UNIX_NODE:
        return Hop(is_trusted=trusted.trusts_hop(None))
    match = _NODE.fullmatch(text)
    if match is None or int(match["port"] or 0) > LARGEST_PORT:
        return UNKNOWN
    try:
        address = address_of(match["ipv6"] or match["ipv4"] or match["bare"])
    except ValueError:
        return UNKNOWN
    return Hop(str(address), match["port"] or "", trusted.trusts_hop(address))


def _set_client(environ: Environ, hop: Hop | None) -> None:
    """Set the client; None is nobody named, which is the peer itself."""
    if hop is None:
        return
    environ["REMOTE_ADDR"] = hop.address
    if hop.port:
        environ["REMOTE_PORT"] = hop.port
    else:
        environ.pop("REMOTE_PORT", None)  # it is the proxy's


def _set_site(environ: Environ, proto: str, host: str, port: str) -> None:
    """Set scheme, host and port to what is told of them; what makes no sense is not told."""
    own_scheme: str = environ["wsgi.url_scheme"]
    environ["wsgi.url_scheme"] = scheme = _SCHEMES.get(proto.lower(), own_scheme)
    if environ["SERVER_PORT"] == _DEFAULT_PORTS[own_scheme]:
        environ["SERVER_PORT"] = _DEFAULT_PORTS[scheme]  # on a Unix socket there is no other
    if not host and not port:
        return
    host = host if is_host(host.encode("latin-1")) else ""
    authority = _AUTHORITY.fullmatch(host or environ.get("HTTP_HOST", ""))
    told_port = port if _is_port(port) else ""
    if host and authority:
        environ["HTTP_HOST"] = host
        environ["SERVER_NAME"] = authority["name"]
        own_port = authority["port"] or ""
        environ["SERVER_PORT"] = own_port if _is_port(own_port) else _DEFAULT_PORTS[scheme]
    if told_port:
        environ["SERVER_PORT"] = told_port
        if authority:
            is_default = told_port == _DEFAULT_PORTS[scheme]
            environ["HTTP_HOST"] = authority["name"] + ("" if is_default else f":{told_port}")


def _is_port(text: str) -> bool:
    return _PORT_NUMBER.fullmatch(text) is not None and 0 < int(text) <= LARGEST_PORT


def _prefix(value: str) -> str:
    """SCRIPT_NAME by a header; empty if there is none, or none that can be meant."""
    path = unquote_to_bytes(value.encode("latin-1")).decode("latin-1")
    if not path.startswith("/") or _NO_PREFIX.search(path):
        return ""
    return path.removesuffix("/")
