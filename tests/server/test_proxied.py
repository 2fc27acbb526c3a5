"""Clients behind a proxy that speaks the PROXY protocol, over sockets."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asyncwsgi.testing import LiveServer
from tests.apps import show_environ
from tests.client import Client, connect
from tests.conftest import Serve
from tests.http.helpers import come_round
from tests.server.certificates import Certificates
from tests.server.helpers import FOREVER

ServeProxied = Callable[..., LiveServer]
ClientOf = Callable[[LiveServer], Client]

V1 = b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n"
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V2 = (
    SIGNATURE
    + b"\x21\x11"
    + struct.pack("!H", 12 + 6)
    + socket.inet_aton("203.0.113.7")
    + socket.inet_aton("192.0.2.1")
    + struct.pack("!HH", 4711, 443)
    + b"\x05\x00\x03abc"
)
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"
ENDS = {
    "REMOTE_ADDR": "203.0.113.7",
    "REMOTE_PORT": "4711",
    "SERVER_NAME": "192.0.2.1",
    "SERVER_PORT": "443",
}
versions = pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])


@pytest.fixture
def proxied(serve: Serve, caplog: pytest.LogCaptureFixture) -> ServeProxied:
    """Starts a server whose clients come by way of a proxy, here or on a Unix socket."""

    def start(**options: Any) -> LiveServer:
        options.setdefault("proxy_protocol_allow_ips", "127.0.0.1,unix")
        server = serve(show_environ, proxy_protocol=True, **options)
        caplog.set_level(logging.INFO, "asyncwsgi.server")
        return server

    return start


def environ_by(client: Client, **headers: str) -> dict[str, Any]:
    """What the application sees of a request."""
    reply = client.get(**headers)
    assert reply.status == 200
    environ: dict[str, Any] = json.loads(reply.body)
    return environ


def ends_of(environ: dict[str, Any]) -> dict[str, Any]:
    return {key: environ.get(key) for key in ENDS}


def is_cut(client: Client) -> bool:
    """Whether it gets an end or a reset, which is what unread bytes make of an end, and no word."""
    try:
        return client.read_all() == b""
    except ConnectionResetError:
        return True


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


@versions
def test_the_application_sees_the_ends_that_the_proxy_tells(
    proxied: ServeProxied, client_of: ClientOf, header: bytes
) -> None:
    client = client_of(proxied())
    client.send(header + b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n")
    assert ends_of(json.loads(client.reply().body)) == ENDS
    assert ends_of(environ_by(client)) == ENDS  # of every request on the connection


@versions
def test_a_header_may_come_byte_by_byte(
    proxied: ServeProxied, client_of: ClientOf, header: bytes
) -> None:
    server = proxied()
    client = client_of(server)
    for index in range(len(header)):
        client.send(header[index : index + 1])
        come_round(server)
    assert ends_of(environ_by(client)) == ENDS


@versions
def test_a_header_precedes_the_tls_handshake(
    proxied: ServeProxied, header: bytes, tmp_path: Path
) -> None:
    certificates = Certificates(tmp_path)
    server = proxied(certfile=certificates.files.both)
    sock = socket.create_connection(("127.0.0.1", server.port))
    sock.sendall(header)
    tls = certificates.client_context().wrap_socket(sock, server_hostname="localhost")
    with Client(tls) as client:
        environ = environ_by(client)
    assert ends_of(environ) == ENDS
    assert environ["wsgi.url_scheme"] == "https"


def test_a_connection_of_the_proxy_s_own_has_its_own_ends(
    proxied: ServeProxied, client_of: ClientOf
) -> None:
    server = proxied()
    client = client_of(server)
    client.send(LOCAL)
    host, port = client.sock.getsockname()
    assert ends_of(environ_by(client)) == {
        "REMOTE_ADDR": host,
        "REMOTE_PORT": str(port),
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": str(server.port),
    }


def test_a_client_of_whom_nothing_is_told_is_not_its_proxy(
    proxied: ServeProxied, client_of: ClientOf
) -> None:
    server = proxied(forwarded_allow_ips="127.0.0.1,unix")
    client = client_of(server)
    client.send(b"PROXY UNKNOWN\r\n")
    environ = environ_by(client, X_Forwarded_For="6.6.6.6")
    assert ends_of(environ) == {
        "REMOTE_ADDR": "",
        "REMOTE_PORT": None,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": str(server.port),
    }


@versions
def test_a_proxy_may_be_on_a_unix_socket(
    proxied: ServeProxied, client_of: ClientOf, header: bytes, tmp_path: Path
) -> None:
    client = client_of(proxied(bind=f"unix:{tmp_path / 'socket'}"))
    client.send(header)
    assert ends_of(environ_by(client)) == ENDS


def test_log_lines_name_the_client(
    proxied: ServeProxied, client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    client = client_of(proxied())
    client.send(V2 + b"no HTTP\r\n\r\n")
    assert client.reply().status == 400
    [line] = warnings_of(caplog)
    assert line.startswith("203.0.113.7:4711 refused with 400: ")


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", id="HTTP"),
        pytest.param(b"\x16\x03\x01\x02", id="TLS"),
        pytest.param(V1.replace(b"TCP4", b"TCP6"), id="malformed"),
    ],
)
def test_who_begins_otherwise_is_refused(
    proxied: ServeProxied, client_of: ClientOf, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    server = proxied()
    client = client_of(server)
    client.send(sent)
    assert is_cut(client)
    [line] = warnings_of(caplog)
    assert line.startswith("127.0.0.1:")
    assert line.endswith("; closed")


@versions
def test_who_is_no_proxy_is_refused_whatever_it_says(
    proxied: ServeProxied, client_of: ClientOf, caplog: pytest.LogCaptureFixture, header: bytes
) -> None:
    client = client_of(proxied(proxy_protocol_allow_ips="10.0.0.0/8,unix"))
    with contextlib.suppress(OSError):  # it may be closed already
        client.send(header)
    assert is_cut(client)
    [line] = warnings_of(caplog)
    assert line.endswith("refused: it is no proxy that proxy_protocol_allow_ips names")


@pytest.mark.parametrize("sent", [b"", V1[:-1], V2[:-1]], ids=["nothing", "v1", "v2"])
def test_a_header_that_does_not_come_in_time_ends_the_connection(
    proxied: ServeProxied, client_of: ClientOf, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    client = client_of(proxied(head_timeout=0.05))
    client.send(sent)
    assert client.is_closed()
    [line] = warnings_of(caplog)
    assert line.endswith("sent no whole PROXY header within head_timeout of 0.05 s; closed")


def test_who_only_connects_is_no_event(
    proxied: ServeProxied, client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    server = proxied()
    client = client_of(server)
    client.half_close()
    assert client.is_closed()
    assert warnings_of(caplog) == []


def test_a_stop_ends_who_has_sent_no_header(proxied: ServeProxied, client_of: ClientOf) -> None:
    server = proxied(head_timeout=FOREVER)
    client = client_of(server)
    client.send(V2[:20])
    come_round(server)
    server.close()
    assert client.is_closed()


def test_whom_the_proxy_tells_of_is_the_peer_whose_headers_are_believed(
    proxied: ServeProxied, client_of: ClientOf
) -> None:
    # A proxy that hands on bytes hands on what its client writes: that it is trusted to tell
    # addresses is no reason to believe these.
    told = {"X_Forwarded_For": "198.51.100.9"}
    for trusted, address in (("127.0.0.1", "203.0.113.7"), ("203.0.113.7", "198.51.100.9")):
        client = client_of(proxied(forwarded_allow_ips=trusted))
        client.send(V2)
        assert environ_by(client, **told)["REMOTE_ADDR"] == address


def test_a_client_that_was_accepted_elsewhere_has_a_header_too(
    proxied: ServeProxied, listener: socket.socket
) -> None:
    server = proxied()
    with connect(listener.getsockname()) as client:
        accepted, _ = listener.accept()
        server.started.result().call_soon_threadsafe(server.server.adopt, accepted)
        client.send(V2)
        assert ends_of(environ_by(client)) == ENDS
