"""What a trusted proxy says of its client, into the environ; and what nobody else can say."""

from __future__ import annotations

from typing import Any
from wsgiref.util import request_uri

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncwsgi.config import FORWARDED_HEADERS, Config
from asyncwsgi.http1.head import HeaderFields, HeaderLine, RequestHead
from asyncwsgi.trusted_peers import UNIX
from asyncwsgi.wsgi.environ import address_keys, server_environ
from asyncwsgi.wsgi.forwarded import forwarding_of

Environ = dict[str, Any]
Line = tuple[str, str]

PROXY, CLIENT, FORGED = "10.0.0.1", "203.0.113.7", "6.6.6.6"
LISTS = ",".join(FORWARDED_HEADERS[:-1])
SITE = ("wsgi.url_scheme", "HTTP_HOST", "SERVER_NAME", "SERVER_PORT", "SCRIPT_NAME")


def environ_of(
    *lines: Line,
    peer: str = PROXY,
    target: str = "/",
    host: str | None = "internal:8000",
    root_path: str = "",
    **options: Any,
) -> Environ:
    """The environ of a request with `lines` in its head, by a connection from `peer`."""
    options.setdefault("forwarded_allow_ips", "10.0.0.0/8")
    options.setdefault("forwarded_headers", LISTS)
    forwarding = forwarding_of(Config(root_path=root_path, **options))
    assert forwarding is not None
    base = {
        **server_environ(root_path=root_path, multithread=True),
        **address_keys(
            None if peer == UNIX else ("192.0.2.1", 8000),
            (peer, 4321) if peer not in ("", UNIX) else None,
        ),
        "wsgi.url_scheme": "http",
    }
    headers = [*([("Host", host)] if host is not None else []), *lines]
    fields = HeaderFields([HeaderLine(n.encode(), v.encode("latin-1")) for n, v in headers])
    return forwarding.environs(base, peer).build(RequestHead("GET", target, "1.1", fields))


def client_of(*lines: Line, **options: Any) -> tuple[str, str | None]:
    """REMOTE_ADDR and REMOTE_PORT."""
    environ = environ_of(*lines, **options)
    return environ["REMOTE_ADDR"], environ.get("REMOTE_PORT")


def for_list(value: str, **options: Any) -> tuple[str, str | None]:
    return client_of(("X-Forwarded-For", value), **options)


def forwarded(value: str, **options: Any) -> Environ:
    return environ_of(("Forwarded", value), forwarded_headers="forwarded", **options)


def site_of(environ: Environ) -> tuple[Any, ...]:
    return tuple(environ.get(key) for key in SITE)


class TestTrust:
    LINES = (("X-Forwarded-For", CLIENT), ("X-Forwarded-Proto", "https"))

    @pytest.mark.parametrize(
        ("peer", "trusted"),
        [
            pytest.param("10.1.1.1", "10.0.0.0/8", id="a network"),
            pytest.param("::1", "::1,127.0.0.1", id="an address"),
            pytest.param("::ffff:10.1.1.1", "10.0.0.0/8", id="IPv4 on a socket for both"),
            pytest.param(UNIX, "unix", id="a Unix socket"),
            pytest.param("198.51.100.9", "*", id="everybody"),
        ],
    )
    def test_a_named_peer_is_believed(self, peer: str, trusted: str) -> None:
        environ = environ_of(*self.LINES, peer=peer, forwarded_allow_ips=trusted)
        assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == (CLIENT, "https")

    @pytest.mark.parametrize(
        ("peer", "trusted"),
        [
            pytest.param("11.1.1.1", "10.0.0.0/8", id="another network"),
            pytest.param(UNIX, "10.0.0.0/8", id="a Unix socket"),
            pytest.param("127.0.0.1", "unix", id="no Unix socket"),
            pytest.param("", "unix", id="one that has left already"),
        ],
    )
    def test_nobody_else_is_and_the_headers_are_plain_ones(self, peer: str, trusted: str) -> None:
        environ = environ_of(*self.LINES, peer=peer, forwarded_allow_ips=trusted)
        address = "" if peer == UNIX else peer
        assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == (address, "http")
        assert (environ["HTTP_X_FORWARDED_FOR"], environ["HTTP_X_FORWARDED_PROTO"]) == (
            CLIENT,
            "https",
        )

    def test_only_the_headers_that_the_proxy_writes_are_believed(self) -> None:
        environ = environ_of(
            *self.LINES,
            ("X-Forwarded-Host", "evil.example"),
            ("X-Forwarded-Port", "6666"),
            ("X-Forwarded-Prefix", "/evil"),
            ("Forwarded", f"for={FORGED};host=evil.example;proto=http"),
            forwarded_headers="X-Forwarded-For, x-forwarded-proto",
        )
        assert environ["REMOTE_ADDR"] == CLIENT
        assert site_of(environ) == ("https", "internal:8000", "192.0.2.1", "8000", "")

    @pytest.mark.parametrize("headers", [LISTS, "x-forwarded-for", "forwarded", ""])
    def test_of_a_trusted_peer_the_application_sees_no_forwarding_header(
        self, headers: str
    ) -> None:
        lines = [(name, "?") for name in (*FORWARDED_HEADERS, "X-Forwarded-Ssl")]
        environ = environ_of(*lines, ("X-Real-Ip", "y"), forwarded_headers=headers)
        assert {key: v for key, v in environ.items() if key.startswith("HTTP_")} == {
            "HTTP_HOST": "internal:8000",
            "HTTP_X_REAL_IP": "y",
        }

    def test_those_of_all_others_can_be_taken_out(self) -> None:
        lines = [(name, "x") for name in FORWARDED_HEADERS]
        for trusted in ("", "10.0.0.0/8"):
            environ = environ_of(
                *lines, peer="192.0.2.7", forwarded_allow_ips=trusted, strip_forwarded=True
            )
            assert not [key for key in environ if "FORWARDED" in key]
            assert environ["REMOTE_ADDR"] == "192.0.2.7"

    def test_nothing_is_done_unless_asked_for(self) -> None:
        assert forwarding_of(Config()) is None

    def test_headers_with_underscores_are_not_those_with_hyphens(self) -> None:
        environ = environ_of(
            ("X_Forwarded_For", FORGED), ("X_Forwarded_Proto", "https"), ("X-Forwarded_Host", "e")
        )
        assert environ["REMOTE_ADDR"] == PROXY
        assert environ["wsgi.url_scheme"] == "http"

    def test_no_header_leaves_the_peer_what_it_is(self) -> None:
        assert client_of() == (PROXY, "4321")


class TestForList:
    @pytest.mark.parametrize(
        ("value", "client"),
        [
            pytest.param(CLIENT, (CLIENT, None), id="one"),
            pytest.param(f"{FORGED}, {CLIENT}", (CLIENT, None), id="the client's own before"),
            pytest.param(f"{CLIENT}, 10.9.9.9", (CLIENT, None), id="a trusted hop behind"),
            pytest.param(f"{FORGED},{CLIENT},10.9.9.9,10.8.8.8", (CLIENT, None), id="two hops"),
            pytest.param("10.7.7.7, 10.9.9.9", ("10.7.7.7", None), id="all trusted"),
            pytest.param(f" \t{CLIENT}\t ", (CLIENT, None), id="spaces"),
            pytest.param(f",, {CLIENT} , ,", (CLIENT, None), id="empty elements"),
            pytest.param(", ,", (PROXY, "4321"), id="only empty elements"),
            pytest.param(f"{CLIENT}:4711", (CLIENT, "4711"), id="port"),
            pytest.param("2001:DB8:0::7", ("2001:db8::7", None), id="IPv6"),
            pytest.param("[2001:db8::7]", ("2001:db8::7", None), id="IPv6, brackets"),
            pytest.param("[2001:db8::7]:4711", ("2001:db8::7", "4711"), id="IPv6, port"),
            pytest.param(f"::ffff:{CLIENT}", (CLIENT, None), id="IPv4 as IPv6"),
            pytest.param(f"{CLIENT}, ::ffff:10.9.9.9", (CLIENT, None), id="a hop as IPv6"),
        ],
    )
    def test_the_client_is_the_last_that_is_not_trusted(
        self, value: str, client: tuple[str, str | None]
    ) -> None:
        assert for_list(value) == client

    @pytest.mark.parametrize(
        "value",
        [
            "unknown", "_hidden", "unix:", "localhost", "203.0.113.007", "203.0.113.7:99999",
            "203.0.113.7:", "[203.0.113.7]x", "fe80::1%<b>", '"203.0.113.7"', "203.0.113.7 1",
            "203.0.113.7\xa0", "\xb2.0.0.1", "[::1", "::1]", "-", "1", "0x7f.0.0.1",
        ],
    )  # fmt: skip
    def test_a_client_whose_address_is_not_told_has_none(self, value: str) -> None:
        # The proxy's would open doors that are closed to strangers.
        assert for_list(value) == ("", None)
        assert for_list(f"{FORGED}, {value}, 10.9.9.9") == ("", None)
        assert for_list(f"{value}, {CLIENT}") == (CLIENT, None)

    def test_repeated_headers_are_one_list(self) -> None:
        lines = [("X-Forwarded-For", FORGED), ("x-forwarded-for", f"{CLIENT}, 10.9.9.9")]
        assert client_of(*lines) == (CLIENT, None)

    def test_who_trusts_everybody_who_connects_believes_one_of_them(self) -> None:
        options = {"forwarded_allow_ips": "*"}
        assert for_list(f"{FORGED}, {CLIENT}", **options) == (CLIENT, None)

    def test_networks_beside_everybody_are_hops(self) -> None:
        options = {"forwarded_allow_ips": "*, 10.0.0.0/8"}
        assert for_list(f"{FORGED}, {CLIENT}, 10.9.9.9", **options) == (CLIENT, None)

    def test_a_unix_socket_between_two_proxies_is_a_hop(self) -> None:
        value = f"{FORGED}, {CLIENT}, unix:"
        assert for_list(value, forwarded_allow_ips="10.0.0.0/8,unix") == (CLIENT, None)


class TestSite:
    @pytest.mark.parametrize(
        ("lines", "site"),
        [
            pytest.param([], ("http", "internal:8000", "192.0.2.1", "8000"), id="nothing"),
            pytest.param(
                [("Proto", "https")],
                ("https", "internal:8000", "192.0.2.1", "8000"),
                id="the scheme alone",
            ),
            pytest.param(
                [("Proto", "https"), ("Host", "shop.example")],
                ("https", "shop.example", "shop.example", "443"),
                id="a host",
            ),
            pytest.param(
                [("Host", "shop.example")],
                ("http", "shop.example", "shop.example", "80"),
                id="a host of the same scheme",
            ),
            pytest.param(
                [("Host", "shop.example:8443")],
                ("http", "shop.example:8443", "shop.example", "8443"),
                id="a host with a port",
            ),
            pytest.param(
                [("Host", "[2001:db8::1]:81")],
                ("http", "[2001:db8::1]:81", "[2001:db8::1]", "81"),
                id="an IPv6 host",
            ),
            pytest.param(
                [("Host", "a.example:1"), ("Port", "8443")],
                ("http", "a.example:8443", "a.example", "8443"),
                id="host and port",
            ),
            pytest.param(
                [("Proto", "https"), ("Host", "a.example"), ("Port", "443")],
                ("https", "a.example", "a.example", "443"),
                id="the port of the scheme",
            ),
            pytest.param(
                [("Port", "9000")],
                ("http", "internal:9000", "192.0.2.1", "9000"),
                id="the port alone",
            ),
            pytest.param(
                [("Proto", "http"), ("Proto", "https"), ("Host", "e.example, a.example")],
                ("https", "a.example", "a.example", "443"),
                id="the last value counts",
            ),
            pytest.param(
                [("Proto", "WSS")], ("https", "internal:8000", "192.0.2.1", "8000"), id="WebSocket"
            ),
        ],
    )
    def test_it_is_what_the_proxy_tells(
        self, lines: list[Line], site: tuple[str, str, str, str]
    ) -> None:
        environ = environ_of(*[(f"X-Forwarded-{name}", value) for name, value in lines])
        assert site_of(environ) == (*site, "")

    @pytest.mark.parametrize(
        "line",
        [
            ("Proto", "javascript"), ("Proto", ""), ("Proto", "https;"), ("Proto", "https http"),
            ("Host", "a b"), ("Host", "a/b"), ("Host", "user@a"), ("Host", "[::1"), ("Host", "é"),
            ("Host", ":80"), ("Port", "0"), ("Port", "65536"), ("Port", "-1"), ("Port", "²"),
            ("Port", "8 0"), ("Prefix", "app"), ("Prefix", "//evil.example"), ("Prefix", "/a//b"),
            ("Prefix", "/a/../b"), ("Prefix", "/%2e%2e/"), ("Prefix", "/a%00"), ("Prefix", "/a%0d"),
            ("Prefix", "/\\evil.example"), ("Prefix", "/a, http://b"), ("Prefix", "/%2fevil"),
        ],
    )  # fmt: skip
    def test_what_makes_no_sense_is_not_told(self, line: Line) -> None:
        name, value = line
        plain = environ_of(root_path="/mount", target="/mount/x")
        told = environ_of((f"X-Forwarded-{name}", value), root_path="/mount", target="/mount/x")
        assert (site_of(told), told["PATH_INFO"]) == (site_of(plain), "/x")

    def test_the_port_of_a_unix_socket_is_that_of_the_scheme(self) -> None:
        line = ("X-Forwarded-Proto", "https")
        environ = environ_of(line, peer=UNIX, host=None, forwarded_allow_ips="unix")
        assert request_uri(environ) == "https://localhost/"

    def test_a_request_without_a_host_gets_the_one_that_is_told(self) -> None:
        environ = environ_of(("X-Forwarded-Host", "a.example"), host=None)
        assert request_uri(environ) == "http://a.example/"

    def test_a_request_without_a_host_has_the_port_that_is_told(self) -> None:
        environ = environ_of(("X-Forwarded-Port", "81"), host=None)
        assert site_of(environ) == ("http", None, "192.0.2.1", "81", "")

    @pytest.mark.parametrize(
        ("prefix", "target", "expected"),
        [
            pytest.param("/app", "/app/x?y", ("/app", "/x"), id="passed on"),
            pytest.param("/app", "/x", ("/app", "/x"), id="taken off"),
            pytest.param("/app/", "/app/x", ("/app", "/x"), id="a slash at the end"),
            pytest.param("/", "/x", ("/mount", "/x"), id="the root"),
            pytest.param("/a/b", "/a/b", ("/a/b", ""), id="the prefix itself"),
            pytest.param("/a%20b", "/a%20b/x", ("/a b", "/x"), id="encoded"),
            pytest.param("/caf%C3%A9", "/x", ("/caf\xc3\xa9", "/x"), id="UTF-8"),
            pytest.param("/old, /app", "/app/x", ("/app", "/x"), id="the last value counts"),
            pytest.param("", "/mount/x", ("/mount", "/x"), id="none"),
        ],
    )
    def test_a_prefix_takes_the_place_of_root_path(
        self, prefix: str, target: str, expected: tuple[str, str]
    ) -> None:
        lines = [("X-Forwarded-Prefix", prefix)] if prefix else []
        environ = environ_of(*lines, root_path="/mount", target=target)
        assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == expected

    def test_root_path_stands_where_no_prefix_is_believed(self) -> None:
        environ = environ_of(
            ("X-Forwarded-Prefix", "/evil"),
            root_path="/mount",
            target="/mount/x",
            forwarded_headers="x-forwarded-for",
        )
        assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/mount", "/x")


class TestForwarded:
    """RFC 7239."""

    @pytest.mark.parametrize(
        ("value", "client"),
        [
            pytest.param(f"for={CLIENT}", (CLIENT, None), id="one"),
            pytest.param(f"For={CLIENT};PROTO=https", (CLIENT, None), id="letters' case"),
            pytest.param(f'for="{CLIENT}:4711"', (CLIENT, "4711"), id="port"),
            pytest.param(f"for={CLIENT}:4711", (CLIENT, "4711"), id="port, not quoted"),
            pytest.param(f'for="{CLIENT}:_hidden"', (CLIENT, None), id="obfuscated port"),
            pytest.param('for="[2001:db8::7]:4711"', ("2001:db8::7", "4711"), id="IPv6"),
            pytest.param("for=[2001:db8::7]", ("2001:db8::7", None), id="IPv6, not quoted"),
            pytest.param(f'for="{CLIENT[:-1]}\\7"', (CLIENT, None), id="quoted pair"),
            pytest.param(f"for={FORGED}, for={CLIENT}", (CLIENT, None), id="the client's before"),
            pytest.param(f"for={CLIENT}, for=10.9.9.9", (CLIENT, None), id="a trusted hop behind"),
            pytest.param(f" ; for={CLIENT} ; by=_x;; ,, ", (CLIENT, None), id="empty parts"),
            pytest.param("", (PROXY, "4321"), id="nothing"),
            pytest.param(" ,; ,", (PROXY, "4321"), id="only empty parts"),
        ],
    )
    def test_the_client_is_the_last_that_is_not_trusted(
        self, value: str, client: tuple[str, str | None]
    ) -> None:
        environ = forwarded(value)
        assert (environ["REMOTE_ADDR"], environ.get("REMOTE_PORT")) == client

    @pytest.mark.parametrize(
        "value",
        [
            "for=unknown", 'for="_hidden"', "for=_hidden", "proto=https", f"for={CLIENT} x",
            f"for={CLIENT};for={FORGED}", f'for="{CLIENT}', f"for ={CLIENT}", "for=", CLIENT,
            f"for={FORGED}, unknown",
        ],
    )  # fmt: skip
    def test_a_client_whose_address_is_not_told_has_none(self, value: str) -> None:
        assert forwarded(value)["REMOTE_ADDR"] == ""
        assert forwarded(f"for={FORGED}, {value}, for=10.9.9.9")["REMOTE_ADDR"] == ""

    @pytest.mark.parametrize(
        "garbage",
        [
            'for="', '"', f'for="{FORGED}, for=', "for=\\", f'for={FORGED};x="\\', ";;=,=;", "(",
            f'for={FORGED};x=", for={FORGED}', '"' * 3, "a=\"\\\"",
        ],
    )  # fmt: skip
    @pytest.mark.parametrize(
        "own",
        [
            f"for={CLIENT};proto=https",
            f'for="{CLIENT}:1";proto="https"',
            f'host="a,b=";by="c,d=\\"e\\",f=";for={CLIENT};proto=https',
        ],
    )
    def test_what_the_client_has_sent_does_not_change_what_the_proxy_adds(
        self, garbage: str, own: str
    ) -> None:
        environ = forwarded(f"{garbage}, {own}")
        assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == (CLIENT, "https")

    def test_the_site_is_what_the_last_trusted_hop_tells_of_it(self) -> None:
        environ = forwarded(
            f"for={FORGED};proto=http;host=evil.example;by=x, "
            f"for={CLIENT};proto=https;host=shop.example, for=10.9.9.9"
        )
        assert site_of(environ) == ("https", "shop.example", "shop.example", "443", "")

    def test_of_two_trusted_hops_the_last_one_tells(self) -> None:
        environ = forwarded(f"for={CLIENT};proto=http, for=10.9.9.9;proto=https")
        assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == (CLIENT, "https")

    def test_a_host_may_have_a_port(self) -> None:
        environ = forwarded(f'for={CLIENT};host="shop.example:81"')
        assert site_of(environ) == ("http", "shop.example:81", "shop.example", "81", "")

    def test_the_other_headers_are_not_believed_beside_it(self) -> None:
        environ = environ_of(
            ("X-Forwarded-For", FORGED),
            ("X-Forwarded-Host", "evil.example"),
            ("Forwarded", f"for={CLIENT}"),
            forwarded_headers="forwarded",
        )
        assert environ["REMOTE_ADDR"] == CLIENT
        assert site_of(environ)[1] == "internal:8000"


names = st.sampled_from(
    [*FORWARDED_HEADERS, "X_Forwarded_For", "x-forwarded_for", "X-Forwarded-Ssl", "X-Real-Ip"]
)
values = st.text(st.characters(max_codepoint=0xFF, exclude_characters="\r\n\0"), max_size=40)
hints = st.sampled_from(
    [f"for={FORGED}", FORGED, "https", "evil.example", "/evil", '"', ",", ";", "\\", 'for="', "="]
)
sent = st.lists(st.tuples(names, st.lists(values | hints).map("".join)), max_size=5)


busy = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""The machine may be."""


class TestWhatAClientSends:
    """Whatever it is, it changes nothing."""

    @busy
    @given(sent)
    def test_without_a_proxy(self, lines: list[Line]) -> None:
        plain = environ_of(peer=CLIENT)
        environ = environ_of(*lines, peer=CLIENT)
        for key in ("REMOTE_ADDR", "REMOTE_PORT", *SITE):
            assert environ[key] == plain[key]

    @busy
    @given(sent)
    def test_through_a_proxy_that_adds_to_lists(self, lines: list[Line]) -> None:
        # The client's own lines pass; those that the proxy writes are the last.
        own = [
            ("X-Forwarded-For", CLIENT), ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "shop.example"), ("X-Forwarded-Port", "444"),
            ("X-Forwarded-Prefix", "/app"),
        ]  # fmt: skip
        environ = environ_of(*lines, *own)
        assert (environ["REMOTE_ADDR"], environ.get("REMOTE_PORT")) == (CLIENT, None)
        assert site_of(environ) == (
            "https", "shop.example:444", "shop.example", "444", "/app"
        )  # fmt: skip

    @busy
    @given(sent)
    def test_through_a_proxy_that_writes_some_of_them(self, lines: list[Line]) -> None:
        environ = environ_of(
            *lines, ("X-Forwarded-For", CLIENT), forwarded_headers="x-forwarded-for"
        )
        assert environ["REMOTE_ADDR"] == CLIENT
        assert site_of(environ) == ("http", "internal:8000", "192.0.2.1", "8000", "")

    @busy
    @given(sent)
    def test_through_a_proxy_that_adds_to_forwarded(self, lines: list[Line]) -> None:
        own = ("Forwarded", f'for="{CLIENT}:1";proto=https;host=shop.example')
        environ = environ_of(*lines, own, forwarded_headers="forwarded")
        assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == (CLIENT, "1")
        assert site_of(environ) == ("https", "shop.example", "shop.example", "443", "")
        assert not [key for key in environ if "FORWARDED" in key]


@pytest.mark.parametrize("begin", ["", ";", 'a="'])
@pytest.mark.parametrize(
    "piece", [" ", ",", ";", '"', "a", "=", "a=b;", "a=b,", 'a="', "\\", ", \t", "10.0.0.1,"]
)
@pytest.mark.parametrize("headers", ["x-forwarded-for", "forwarded"])
def test_no_header_is_so_long_that_it_takes_time(begin: str, piece: str, headers: str) -> None:
    # Eight times what a head may have. What tries all ways to read it, or copies the rest of a list
    # for each element, would take minutes.
    value = begin + piece * (512 * 1024 // len(piece)) + "!("
    assert environ_of((headers, value), forwarded_headers=headers)["REMOTE_ADDR"] == ""


def test_an_element_has_not_any_number_of_commas() -> None:
    for commas, address in ((10, CLIENT), (20, "")):
        assert forwarded(f'x="{"," * commas}";for={CLIENT}')["REMOTE_ADDR"] == address
