"""Live servers on a Unix socket."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import httpx
import pytest

from asyncwsgi.testing import LiveServer
from tests.apps import hello, show_environ
from tests.client import connect


def test_httpx_is_served() -> None:
    with LiveServer(hello, unix_socket=True) as server:
        transport = httpx.HTTPTransport(uds=server.socket_path)
        with httpx.Client(transport=transport, base_url=server.url) as client:
            assert client.get("/").text == "Hello, world!"


async def test_httpx_is_served_asynchronously() -> None:
    with LiveServer(hello, unix_socket=True) as server:
        transport = httpx.AsyncHTTPTransport(uds=server.socket_path)
        async with httpx.AsyncClient(transport=transport) as client:
            assert (await client.get(server.url_for("/"))).text == "Hello, world!"


def test_its_urls_name_a_host() -> None:
    with LiveServer(show_environ, unix_socket=True) as server:
        assert server.url_for("/a b", c=1) == "http://localhost/a%20b?c=1"
        with pytest.raises(LookupError):
            _ = server.port
        transport = httpx.HTTPTransport(uds=server.socket_path)
        with httpx.Client(transport=transport) as client:
            environ = client.get(server.url_for("/a b", c=1)).json()
    assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == ("/a b", "c=1")
    assert environ["HTTP_HOST"] == "localhost"


def test_it_may_speak_tls() -> None:
    with LiveServer(show_environ, unix_socket=True, tls=True) as server:
        assert server.url == "https://localhost"
        verify = server.authority.client_context()
        transport = httpx.HTTPTransport(uds=server.socket_path, verify=verify)
        with httpx.Client(transport=transport) as client:
            assert client.get(server.url).json()["wsgi.url_scheme"] == "https"


def test_faults_work_there() -> None:
    with LiveServer(hello, unix_socket=True) as server:
        server.faults.cut_body(after=5)
        server.faults.refuse()
        with connect(server.socket_path) as client:
            client.request()
            assert client.read_all().endswith(b"\r\n\r\nHello")
        with connect(server.socket_path) as client:
            client.request()
            assert client.is_closed()  # there is no reset on a Unix socket
        with connect(server.socket_path) as client:
            assert client.get().status == 200


def test_each_has_a_path_of_its_own_that_is_gone_when_it_is_closed() -> None:
    with (
        LiveServer(hello, unix_socket=True) as one,
        LiveServer(hello, unix_socket=True) as other,
    ):
        paths = [Path(one.socket_path), Path(other.socket_path)]
        assert paths[0] != paths[1]
        assert all(path.is_socket() for path in paths)
    assert not any(path.exists() for path in paths)


def test_the_path_fits_when_that_of_temporary_files_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with LiveServer(hello, unix_socket=True) as server, connect(server.socket_path) as client:
        assert client.get().status == 200


def test_a_path_of_the_tests_own_is_told_as_well(tmp_path: Path) -> None:
    with LiveServer(show_environ, bind=f"unix:{tmp_path}/socket") as server:
        assert server.socket_path == f"{tmp_path}/socket"
        assert server.url == "http://localhost"
        with connect(server.socket_path) as client:
            assert json.loads(client.get("/").body)["PATH_INFO"] == "/"


def test_a_server_on_a_port_has_no_path() -> None:
    with LiveServer(hello) as server, pytest.raises(LookupError, match="unix_socket=True"):
        _ = server.socket_path
