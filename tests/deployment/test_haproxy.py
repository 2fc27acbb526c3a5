"""HAProxy in front, by the PROXY protocol v2, as examples/deployment/haproxy.cfg has it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.apps import show_environ
from tests.client import Client, connect
from tests.conftest import Serve
from tests.deployment.neighbours import Neighbour, haproxy
from tests.server.certificates import Certificates

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

OPTIONS: dict[str, Any] = {"proxy_protocol": True, "proxy_protocol_allow_ips": "127.0.0.1"}


def connected(neighbour: Neighbour, source: str = "127.0.0.1") -> Client:
    """A client with an address of its own; all of 127.0.0.0/8 is this machine's."""
    return Client(
        socket.create_connection(("127.0.0.1", neighbour.port), source_address=(source, 0))
    )


@pytest.mark.parametrize("version", ["send-proxy-v2", "send-proxy"])
def test_the_application_sees_the_client(serve: Serve, shared: Path, version: str) -> None:
    server = serve(show_environ, **OPTIONS)
    change = ("send-proxy-v2", version)
    with (
        haproxy(shared, ("127.0.0.1", server.port), change) as proxy,
        connected(proxy, "127.0.0.2") as client,
    ):
        _, port = client.sock.getsockname()
        environ = json.loads(client.get().body)
        assert {
            key: environ[key] for key in environ if key.startswith(("REMOTE_", "SERVER_P"))
        } == {
            "REMOTE_ADDR": "127.0.0.2",
            "REMOTE_PORT": str(port),
            "SERVER_PORT": str(proxy.port),
            "SERVER_PROTOCOL": "HTTP/1.1",
        }


def test_tls_passes_through(serve: Serve, shared: Path, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    server = serve(show_environ, certfile=certificates.files.both, **OPTIONS)
    checks = ("check inter", "check-ssl verify none check inter")
    with haproxy(shared, ("127.0.0.1", server.port), checks) as proxy:
        tls = certificates.client_context()
        with connect(("127.0.0.1", proxy.port), tls) as client:
            environ = json.loads(client.get().body)
    assert (environ["wsgi.url_scheme"], environ["REMOTE_ADDR"]) == ("https", "127.0.0.1")


def test_health_checks_take_the_application_out_and_back(serve: Serve, shared: Path) -> None:
    is_healthy = threading.Event()
    is_healthy.set()
    checkers: list[dict[str, Any]] = []

    def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/health":
            return show_environ(environ, start_response)
        checkers.append(environ)
        is_well = is_healthy.is_set()
        start_response("200 OK" if is_well else "503 Unwell", [("Content-Type", "text/plain")])
        return [b""]

    server = serve(application, **OPTIONS)
    often = ("inter 2s", "inter 200ms")
    with haproxy(shared, ("127.0.0.1", server.port), often) as proxy:
        is_healthy.clear()
        proxy.process.read_until("Server app/app1 is DOWN")
        with connected(proxy) as client:
            assert client.is_closed()  # there is nobody to be connected with
        is_healthy.set()
        proxy.process.read_until("Server app/app1 is UP")
        with connected(proxy) as client:
            assert client.get().status == 200
    assert {environ["REMOTE_ADDR"] for environ in checkers} == {"127.0.0.1"}  # HAProxy's own
