"""Environs out of packets."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from asyncwsgi.http1.parser import HeadLimits
from asyncwsgi.uwsgi.environ import PacketEnvirons
from asyncwsgi.uwsgi.head import read_head
from asyncwsgi.wsgi.environ import address_keys, server_environ

LEAST = {"REQUEST_METHOD": "GET", "REQUEST_URI": "/", "PATH_INFO": "/"}


def build(root_path: str = "", **variables: str) -> dict[str, Any]:
    base = {
        **server_environ(root_path=root_path, multithread=True),
        **address_keys(("10.0.0.1", 3031), ("10.0.0.2", 4444)),
        "wsgi.url_scheme": "http",
    }
    pairs = {**LEAST, **variables}.items()
    head = read_head([(k.encode(), v.encode("latin-1")) for k, v in pairs], HeadLimits())
    return PacketEnvirons(base).build(head)


def test_the_least_packet_makes_a_whole_environ() -> None:
    environ = build()
    assert environ["RAW_URI"] == "/"
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.0"
    assert environ["wsgi.errors"] is sys.stderr
    assert [environ[k] for k in ("SERVER_NAME", "SERVER_PORT", "REMOTE_ADDR")] == [
        "10.0.0.1", "3031", "10.0.0.2",
    ]  # fmt: skip


def test_what_the_proxy_says_counts_for_more_than_what_the_socket_says() -> None:
    environ = build(SERVER_NAME="a", SERVER_PORT="80", REMOTE_ADDR="192.0.2.1", REMOTE_PORT="1")
    assert [environ[k] for k in ("SERVER_NAME", "SERVER_PORT", "REMOTE_ADDR", "REMOTE_PORT")] == [
        "a", "80", "192.0.2.1", "1",
    ]  # fmt: skip


def test_the_port_of_the_proxy_does_not_stand_beside_the_address_of_the_client() -> None:
    assert "REMOTE_PORT" not in build(REMOTE_ADDR="192.0.2.1")


@pytest.mark.parametrize(
    ("https", "scheme"), [("on", "https"), ("1", "https"), ("", "http"), ("off", "http")]
)
def test_the_scheme_is_what_the_variable_https_says(https: str, scheme: str) -> None:
    assert build(HTTPS=https)["wsgi.url_scheme"] == scheme


@pytest.mark.parametrize(
    ("root_path", "script_name", "path", "expected"),
    [
        ("", "", "/a", ("", "/a")),
        ("/app", "", "/app/a", ("/app", "/a")),
        ("/app", "", "/a", ("/app", "/a")),
        ("/app", "/other", "/other/a", ("/other", "/a")),
        ("", "/app", "/app", ("/app", "")),
        ("", "/app", "/apple", ("/app", "/apple")),
        ("", "/app/", "/app/a", ("/app", "/a")),
        ("", "/", "/a", ("", "/a")),
        ("", "", "", ("", "")),
    ],
)
def test_the_prefix_is_the_proxys_or_else_the_servers(
    root_path: str, script_name: str, path: str, expected: tuple[str, str]
) -> None:
    environ = build(root_path, SCRIPT_NAME=script_name, PATH_INFO=path)
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == expected


def test_paths_are_bytes_in_disguise() -> None:
    assert build(PATH_INFO="/\xc3\xa9")["PATH_INFO"] == "/\xc3\xa9"
