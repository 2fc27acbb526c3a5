"""ASGI scopes into environs: by the same rules as the HTTP frontend's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.apps import show_environ
from tests.mounts.conftest import Mounting
from tests.mounts.protocol import HandMade, scope


async def environ_of(mount: Mounting, request: dict[str, Any]) -> dict[str, Any]:
    call = await HandMade(mount(show_environ), request)()
    shown: dict[str, Any] = json.loads(call.body)
    return shown


async def test_the_keys_of_a_plain_request(mount: Mounting) -> None:
    environ = await environ_of(mount, scope("GET", "/a", query_string=b"b=c", scheme="https"))
    expected = {
        "HTTP_HOST": "test",
        "PATH_INFO": "/a",
        "QUERY_STRING": "b=c",
        "RAW_URI": "/a?b=c",
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": "50000",
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": "/a?b=c",
        "SCRIPT_NAME": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.multiprocess": False,
        "wsgi.multithread": True,
        "wsgi.run_once": False,
        "wsgi.url_scheme": "https",
        "wsgi.version": [1, 0],
    }
    assert {key: environ[key] for key in expected} == expected
    assert "CONTENT_LENGTH" not in environ


@pytest.mark.parametrize(
    ("sent", "key", "value"),
    [
        pytest.param(
            [(b"accept", b"a"), (b"accept", b"b")], "HTTP_ACCEPT", "a, b", id="repeated: a list"
        ),
        pytest.param(
            [(b"cookie", b"a=1"), (b"cookie", b"b=2")], "HTTP_COOKIE", "a=1; b=2", id="cookies"
        ),
        pytest.param(
            [(b"x-user", b"me"), (b"x_user", b"you")], "HTTP_X_USER", "me", id="an underscore"
        ),
        pytest.param([(b"content-type", b"a/b")], "CONTENT_TYPE", "a/b", id="Content-Type"),
        pytest.param([(b"x-name", b"\xe4")], "HTTP_X_NAME", "\xe4", id="Latin-1"),
    ],
)
async def test_headers(
    mount: Mounting, sent: list[tuple[bytes, bytes]], key: str, value: str
) -> None:
    assert (await environ_of(mount, scope(headers=sent)))[key] == value


@pytest.mark.parametrize(
    ("request_scope", "expected"),
    [
        pytest.param(
            {"path": "/shop/a", "root_path": "/shop"}, ("/shop", "/a", "/shop/a"),
            id="the path has the root path in it (ASGI 3)",
        ),
        pytest.param(
            {"path": "/a", "root_path": "/shop"}, ("/shop", "/a", "/a"),
            id="the root path was taken off already",
        ),
        pytest.param(
            {"path": "/shop", "root_path": "/shop/"}, ("/shop", "", "/shop"), id="nothing behind it"
        ),
        pytest.param(
            {"path": "/shopping", "root_path": "/shop"}, ("/shop", "/shopping", "/shopping"),
            id="no part of a name",
        ),
        pytest.param(
            {"path": "/ä/b/c", "raw_path": b"/%C3%A4%2Fb/c"},
            ("", "/\xc3\xa4/b/c", "/%C3%A4%2Fb/c"), id="escapes",
        ),
        pytest.param(
            {"path": "/\ufffd", "raw_path": b"/%FF"}, ("", "/\xff", "/%FF"), id="no UTF-8"
        ),
        pytest.param({"path": "/ä b", "raw_path": None}, ("", "/\xc3\xa4 b", "/%C3%A4%20b"),
            id="no raw path",
        ),
        pytest.param(
            {"path": "/new?", "raw_path": b"/old"}, ("", "/new?", "/old"), id="rewritten on the way"
        ),
        pytest.param(
            {"path": "/ä", "root_path": "/ä", "raw_path": b"/%C3%A4"},
            ("/\xc3\xa4", "", "/%C3%A4"), id="a root path that is no ASCII",
        ),
        pytest.param({"path": "*", "raw_path": b"*"}, ("", "/", "*"), id="the server as a whole"),
    ],
)  # fmt: skip
async def test_paths(
    mount: Mounting, request_scope: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    environ = await environ_of(mount, {**scope(path=request_scope["path"]), **request_scope})
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"], environ["REQUEST_URI"]) == expected


@pytest.mark.parametrize(
    ("server", "client"),
    [
        pytest.param(None, None, id="not told"),
        pytest.param(("/run/app.sock", None), None, id="a Unix socket"),
    ],
)
async def test_without_addresses(mount: Mounting, server: Any, client: Any) -> None:
    environ = await environ_of(mount, scope(server=server, client=client))
    keys = ("SERVER_NAME", "SERVER_PORT", "REMOTE_ADDR")
    assert [environ[key] for key in keys] == ["localhost", "80", ""]


async def test_a_client_of_another_address_behind_the_same_server(mount: Mounting) -> None:
    app = mount(show_environ)
    for number in (1, 2):
        call = await HandMade(app, scope(client=("10.0.0.1", number)))()
        assert json.loads(call.body)["REMOTE_PORT"] == str(number)


async def test_versions_of_http(mount: Mounting) -> None:
    assert (await environ_of(mount, scope(http_version="2")))["SERVER_PROTOCOL"] == "HTTP/2"


async def test_one_thread_is_no_multithreading(mount: Mounting) -> None:
    call = await HandMade(mount(show_environ, threads=1), scope())()
    assert json.loads(call.body)["wsgi.multithread"] is False
