"""pytest-httpserver: an HTTP server for the tests of a client."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator

import pytest
from keep_alive import get_on_one_connection
from pytest_httpserver import HTTPServer


@pytest.fixture
def threaded_httpserver() -> Iterator[HTTPServer]:
    with HTTPServer(threaded=True) as server:
        yield server


def test_the_server_of_the_fixture_is_one_of_asyncwsgi(httpserver: HTTPServer) -> None:
    assert type(httpserver.server).__module__.startswith("asyncwsgi.")


def test_an_expected_request_gets_its_response(httpserver: HTTPServer) -> None:
    httpserver.expect_ordered_request(
        "/echo", method="POST", query_string="a=1", data="body", headers={"X-Asked": "yes"}
    ).respond_with_json({"answer": 42}, status=201)
    request = urllib.request.Request(
        httpserver.url_for("/echo?a=1"), data=b"body", headers={"X-Asked": "yes"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        assert response.status == 201
        assert b"42" in response.read()
    httpserver.check()
    assert [request.path for request, _ in httpserver.log] == ["/echo"]


def test_an_unexpected_request_fails_the_check(httpserver: HTTPServer) -> None:
    with pytest.raises(urllib.error.HTTPError, match="500") as error:
        urllib.request.urlopen(httpserver.url_for("/nowhere"), timeout=30)
    error.value.close()
    with pytest.raises(AssertionError, match="No handler found"):
        httpserver.check_assertions()


def test_waiting_ends_when_the_requests_have_come(httpserver: HTTPServer) -> None:
    httpserver.expect_oneshot_request("/once").respond_with_data("done")
    with httpserver.wait(timeout=30) as waiting:
        urllib.request.urlopen(httpserver.url_for("/once"), timeout=30).close()
    assert waiting.result


def test_a_threaded_server_keeps_its_connections(threaded_httpserver: HTTPServer) -> None:
    threaded_httpserver.expect_request("/a").respond_with_data("A")
    threaded_httpserver.expect_request("/b").respond_with_data("B")
    host, port = threaded_httpserver.host, threaded_httpserver.port
    assert get_on_one_connection(host, port, "/a", "/b", "/a") == [b"A", b"B", b"A"]


def test_a_stopped_server_can_be_started_again() -> None:
    server = HTTPServer()
    for _ in range(2):
        server.start()
        server.expect_request("/").respond_with_data("here")
        with urllib.request.urlopen(server.url_for("/"), timeout=30) as response:
            assert response.read() == b"here"
        server.stop()
