"""Who is believed, by the connection over which it is told; the rest is in tests/wsgi."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.conftest import Serve
from tests.http.helpers import ClientOf, Recorder

CLIENT = "203.0.113.7"
TOLD = {"X_Forwarded_For": CLIENT, "X_Forwarded_Proto": "https", "X_Forwarded_Host": "shop.example"}
HEADERS = "x-forwarded-for,x-forwarded-proto,x-forwarded-host"


@pytest.mark.parametrize("trusted", ["127.0.0.1,unix", "*"])
def test_a_trusted_peer_tells_of_its_client(
    trusted: str,
    serve: Serve,
    client_of: ClientOf,
    where: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    application = Recorder()
    server = serve(application, forwarded_allow_ips=trusted, forwarded_headers=HEADERS, **where)
    caplog.set_level(logging.INFO, "asyncwsgi.access")
    client = client_of(server)
    for _ in range(2):  # headers that recur are remembered, and what was made of them may be
        assert client.get(**TOLD).status == 200
    assert client.get(**{**TOLD, "X_Forwarded_For": "203.0.113.8"}).status == 200
    first, second, third = application.environs
    for environ in (first, second):
        assert environ["REMOTE_ADDR"] == CLIENT
        assert "REMOTE_PORT" not in environ
        assert environ["wsgi.url_scheme"] == "https"
        assert (environ["HTTP_HOST"], environ["SERVER_PORT"]) == ("shop.example", "443")
    assert third["REMOTE_ADDR"] == "203.0.113.8"
    server.close()  # the line of a request is written behind its response
    clients = [r.__dict__["client"] for r in caplog.records if r.name == "asyncwsgi.access"]
    assert clients == [CLIENT, CLIENT, "203.0.113.8"]


def test_another_peer_does_not(serve: Serve, client_of: ClientOf, where: dict[str, Any]) -> None:
    application = Recorder()
    trusted = "10.0.0.0/8" if "bind" in where else "unix,10.0.0.0/8"
    client_of(serve(application, forwarded_allow_ips=trusted, **where)).get(**TOLD)
    [environ] = application.environs
    assert environ["REMOTE_ADDR"] == ("" if "bind" in where else "127.0.0.1")
    assert environ["wsgi.url_scheme"] == "http"
    assert environ["HTTP_X_FORWARDED_FOR"] == CLIENT
