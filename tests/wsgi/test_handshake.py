"""What opens a WebSocket, and what does not (RFC 6455 4.2)."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from asyncwsgi.wsgi.handshake import Handshake, Refusal, check_handshake

ENVIRON = {
    "REQUEST_METHOD": "GET",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "HTTP_HOST": "example.org",
    "HTTP_CONNECTION": "Upgrade",
    "HTTP_UPGRADE": "websocket",
    "HTTP_SEC_WEBSOCKET_VERSION": "13",
    "HTTP_SEC_WEBSOCKET_KEY": "dGhlIHNhbXBsZSBub25jZQ==",
}


def check(changes: dict[str, str | None], **options: Any) -> Handshake | Refusal:
    environ = {key: value for key, value in {**ENVIRON, **changes}.items() if value is not None}
    return check_handshake(environ, **options)


def test_the_example_of_the_rfc_is_answered_as_it_says() -> None:
    assert check({}) == Handshake("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", None)


@pytest.mark.parametrize(
    "changes",
    [
        {"HTTP_CONNECTION": "keep-alive, UPGRADE"},
        {"HTTP_UPGRADE": "WebSocket"},
        {"HTTP_UPGRADE": "h2c, websocket"},
        {"HTTP_SEC_WEBSOCKET_KEY": " dGhlIHNhbXBsZSBub25jZQ== "},
        {"CONTENT_LENGTH": "0"},
        {"CONTENT_LENGTH": ""},
    ],
)
def test_as_many_ways_to_say_it_as_there_are_are_understood(changes: dict[str, str | None]) -> None:
    assert isinstance(check(changes), Handshake)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"HTTP_UPGRADE": None}, 426),
        ({"HTTP_UPGRADE": "h2c"}, 426),
        ({"HTTP_UPGRADE": "websockets"}, 426),
        ({"HTTP_CONNECTION": None}, 426),
        ({"HTTP_CONNECTION": "keep-alive"}, 426),
        ({"SERVER_PROTOCOL": "HTTP/1.0"}, 426),
        ({"REQUEST_METHOD": "POST"}, 405),
        ({"HTTP_SEC_WEBSOCKET_VERSION": None}, 426),
        ({"HTTP_SEC_WEBSOCKET_VERSION": "8"}, 426),
        ({"HTTP_SEC_WEBSOCKET_VERSION": "13, 8"}, 426),
        ({"HTTP_SEC_WEBSOCKET_KEY": None}, 400),
        ({"HTTP_SEC_WEBSOCKET_KEY": "spam"}, 400),
        ({"HTTP_SEC_WEBSOCKET_KEY": "ä"}, 400),
        ({"HTTP_SEC_WEBSOCKET_KEY": base64.b64encode(bytes(15)).decode()}, 400),
        ({"CONTENT_LENGTH": "1"}, 400),
        ({"wsgi.input_terminated": "yes"}, 400),
    ],
)
def test_what_opens_none_is_told_why(changes: dict[str, str | None], status: int) -> None:
    refusal = check(changes)
    assert isinstance(refusal, Refusal)
    assert refusal.status.startswith(f"{status} ")
    assert refusal.reason


def test_another_version_is_told_which_is_understood() -> None:
    refusal = check({"HTTP_SEC_WEBSOCKET_VERSION": "8"})
    assert isinstance(refusal, Refusal)
    assert ("Sec-WebSocket-Version", "13") in refusal.headers


@pytest.mark.parametrize(
    ("host", "origin", "is_allowed"),
    [
        ("example.org", None, True),
        ("example.org", "http://example.org", True),
        ("example.org", "HTTP://Example.ORG", True),
        ("Example.org", "http://example.org", True),
        ("example.org", "http://example.org:80", True),
        ("example.org:80", "http://example.org", True),
        # TLS may end at a proxy.
        ("example.org", "https://example.org", True),
        ("example.org:443", "https://example.org", True),
        ("example.org:8000", "http://example.org:8000", True),
        ("[::1]:8000", "http://[::1]:8000", True),
        ("[::1]", "http://[::1]", True),
        ("example.org", "http://example.org:8000", False),
        ("example.org:8000", "http://example.org", False),
        ("example.org:80", "https://example.org", False),
        ("example.org", "http://example.org.evil.example", False),
        ("example.org", "http://evil.example", False),
        ("example.org", "http://evil.example#example.org", False),
        ("example.org", "ftp://example.org", False),
        ("example.org", "//example.org", False),
        ("example.org", "null", False),
        ("example.org", "", False),
        ("example.org", "http://[", False),
        ("example.org", "http://example.org:x", False),
        ("", "null", False),
        ("", "", False),
        ("", "http://", False),
        ("", "http://example.org", False),
    ],
)
def test_pages_of_the_same_host_and_port_are_allowed(
    host: str, origin: str | None, is_allowed: bool
) -> None:
    answer = check({"HTTP_HOST": host, "HTTP_ORIGIN": origin})
    assert isinstance(answer, Handshake) == is_allowed
    assert is_allowed or (isinstance(answer, Refusal) and answer.status == "403 Forbidden")


@pytest.mark.parametrize(
    ("origins", "origin", "is_allowed"),
    [
        (["https://friend.example"], "https://friend.example", True),
        (["https://Friend.example"], "https://friend.example", True),
        (["https://friend.example"], "http://friend.example", False),
        (["https://friend.example"], "https://friend.example:8000", False),
        (["null"], "null", True),
        (["*"], "null", True),
        (["*"], "http://evil.example", True),
    ],
)
def test_further_origins_may_be_named(origins: list[str], origin: str, is_allowed: bool) -> None:
    answer = check({"HTTP_ORIGIN": origin}, origins=origins)
    assert isinstance(answer, Handshake) == is_allowed


@pytest.mark.parametrize(
    ("offered", "spoken", "chosen"),
    [
        (None, [], None),
        (None, ["a"], None),
        ("a", [], None),
        ("b, a", ["a", "b"], "b"),
        ("c,a", ["a", "b"], "a"),
        ("A", ["a"], None),
    ],
)
def test_the_first_subprotocol_of_the_client_that_is_spoken_is_chosen(
    offered: str | None, spoken: list[str], chosen: str | None
) -> None:
    answer = check({"HTTP_SEC_WEBSOCKET_PROTOCOL": offered}, subprotocols=spoken)
    assert isinstance(answer, Handshake)
    assert answer.subprotocol == chosen
