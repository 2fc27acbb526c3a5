"""Who is led from the application's own port to the inspector."""

from __future__ import annotations

from typing import Any

import pytest

from asyncwsgi import Config
from asyncwsgi.inspection.door import Door, may_be_led, with_door
from tests.apps import hello

BROWSER = {
    "PATH_INFO": "/-/inspect",
    "REQUEST_METHOD": "GET",
    "REMOTE_ADDR": "127.0.0.1",
    "HTTP_HOST": "127.0.0.1:8000",
    "HTTP_SEC_FETCH_SITE": "none",
    "HTTP_SEC_FETCH_MODE": "navigate",
    "HTTP_SEC_FETCH_DEST": "document",
}


def is_led(**changes: Any) -> bool:
    environ = {name: value for name, value in {**BROWSER, **changes}.items() if value is not None}
    return may_be_led(environ)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="a URL that was typed"),
        pytest.param({"HTTP_SEC_FETCH_SITE": "same-origin"}, id="a link of the application"),
        pytest.param({"REMOTE_ADDR": "::1", "HTTP_HOST": "[::1]:8000"}, id="IPv6"),
        pytest.param({"REMOTE_ADDR": "::ffff:127.0.0.1"}, id="IPv4 at a socket of IPv6"),
        pytest.param({"HTTP_HOST": "localhost"}, id="localhost"),
        pytest.param({"HTTP_HOST": "shop.localhost:8000"}, id="a name below localhost"),
    ],
)
def test_a_navigation_on_this_machine_is_led(changes: dict[str, str]) -> None:
    assert is_led(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"HTTP_SEC_FETCH_SITE": "cross-site"}, id="a link of another site"),
        pytest.param({"HTTP_SEC_FETCH_SITE": "same-site"}, id="a link of another port"),
        pytest.param({"HTTP_SEC_FETCH_MODE": "cors"}, id="a fetch"),
        pytest.param({"HTTP_SEC_FETCH_MODE": "same-origin"}, id="a fetch of a service worker"),
        pytest.param({"HTTP_SEC_FETCH_MODE": "no-cors"}, id="an image"),
        pytest.param({"HTTP_SEC_FETCH_DEST": "iframe"}, id="a frame"),
        pytest.param({"HTTP_SEC_FETCH_SITE": None}, id="no browser"),
        pytest.param({"HTTP_SEC_FETCH_MODE": None}, id="no mode"),
        pytest.param({"HTTP_SEC_FETCH_DEST": None}, id="no destination"),
        pytest.param({"REQUEST_METHOD": "POST"}, id="a form"),
        pytest.param({"REQUEST_METHOD": "HEAD"}, id="HEAD"),
    ],
)
def test_nothing_but_a_navigation_of_a_whole_page_is(changes: dict[str, str | None]) -> None:
    assert not is_led(**changes)


@pytest.mark.parametrize("address", ["192.0.2.7", "10.0.0.1", "2001:db8::1", "", "unknown"])
def test_nobody_is_whose_address_is_not_of_the_loopback(address: str) -> None:
    assert not is_led(REMOTE_ADDR=address)


@pytest.mark.parametrize(
    "host", ["shop.example", "evil.example:8000", "127.0.0.1.evil.example", "192.0.2.7:8000", ""]
)
def test_nobody_is_who_names_the_machine_by_a_name_of_others(host: str) -> None:
    assert not is_led(HTTP_HOST=host)


@pytest.mark.parametrize(
    "header",
    [
        "Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host",
        "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Server", "X-Forwarded", "X-Real-IP",
        "Forwarded-For", "X-Client-IP", "Client-IP", "True-Client-IP", "Fastly-Client-IP",
        "X-Cluster-Client-Ip", "CF-Connecting-IP", "CF-Ray", "CDN-Loop", "X-Original-Forwarded-For",
        "X-Original-URI", "X-Envoy-External-Address", "X-ProxyUser-Ip", "X-Remote-Addr",
        "Proxy-Connection",
    ],
)  # fmt: skip
def test_nobody_is_who_came_by_a_proxy(header: str) -> None:
    assert not is_led(**{f"HTTP_{header.upper().replace('-', '_')}": "127.0.0.1"})


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(
            Config(proxy_protocol=True, proxy_protocol_allow_ips="127.0.0.1"), id="PROXY protocol"
        ),
        pytest.param(Config(strip_forwarded=True), id="headers are taken out"),
        pytest.param(Config(forwarded_allow_ips="127.0.0.1"), id="headers are believed"),
        pytest.param(Config(bind=("127.0.0.1:0", "uwsgi+unix:/tmp/s")), id="uwsgi"),
    ],
)
def test_there_is_no_door_where_an_environ_does_not_tell_of_proxies(config: Config) -> None:
    assert isinstance(with_door(hello, "http://127.0.0.1:8001/#key", Config()), Door)
    assert with_door(hello, "http://127.0.0.1:8001/#key", config) is hello


def test_there_is_none_without_an_inspector() -> None:
    assert with_door(hello, "", Config()) is hello
