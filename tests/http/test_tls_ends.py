"""How connections end over TLS: whoever still sends, or reads slowly, gets the whole response."""

from __future__ import annotations

import os
import queue
import socket
import ssl
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from asyncwsgi.testing import Authority, LiveServer
from tests.apps import hello
from tests.client import TIMEOUT, Client
from tests.conftest import Serve
from tests.http.helpers import MIB, Clock, Environ, answer, come_round, watched
from tests.http.wire import PLAIN

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

UPLOAD = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n" % (6 * MIB)
refuse = answer(lambda: [b"no"], [*PLAIN, ("Content-Length", "2")], "401 Unauthorized")


class TlsClientOf(Protocol):
    """Connects to a server that speaks TLS; the client is closed when the test ends."""

    def __call__(self, server: LiveServer, **settings: Any) -> Client: ...


@pytest.fixture(scope="module")
def tls() -> Authority:
    return Authority()


@pytest.fixture
def tls_client_of(tls: Authority) -> Iterator[TlsClientOf]:
    """`settings` are those of the client's context."""
    with ExitStack() as stack:

        def client_of(server: LiveServer, **settings: Any) -> Client:
            context = tls.client_context()
            for name, value in settings.items():
                setattr(context, name, value)
            sock = socket.create_connection(("127.0.0.1", server.port), TIMEOUT)
            # An end without close_notify is an error.
            tls_sock = context.wrap_socket(
                sock, server_hostname="localhost", suppress_ragged_eofs=False
            )
            return stack.enter_context(Client(tls_sock))

        yield client_of


def raw(client: Client) -> socket.socket:
    """What is below the TLS of `client`."""
    sock = socket.socket(fileno=os.dup(client.sock.fileno()))
    sock.settimeout(TIMEOUT)
    return sock


def wait_for_the_end_of_tcp(client: Client) -> None:
    with raw(client) as sock:
        while sock.recv(65536):
            pass


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("status", "head", "options"),
    [
        pytest.param(401, UPLOAD + b"\r\n", {}, id="by the application"),
        pytest.param(401, UPLOAD + b"Connection: close\r\n\r\n", {}, id="on its last request"),
        pytest.param(400, b"no HTTP\r\n\r\n", {}, id="no HTTP"),
        pytest.param(413, UPLOAD + b"\r\n", {"max_body_size": MIB}, id="too large"),
        pytest.param(431, UPLOAD + b"A: " + b"x" * 100_000 + b"\r\n\r\n", {}, id="too long a head"),
    ],
)
def test_a_client_that_is_answered_while_it_sends_gets_the_answer(
    serve: Serve,
    tls: Authority,
    tls_client_of: TlsClientOf,
    version: ssl.TLSVersion,
    status: int,
    head: bytes,
    options: dict[str, Any],
) -> None:
    # RFC 9112 9.6, by RFC 8446 6.1: our close_notify ends our direction only.
    server = serve(refuse, tls=tls, drain_timeout=TIMEOUT, **options)
    client = tls_client_of(server, maximum_version=version)
    client.send(head)
    client.send(b"x" * 6 * MIB)
    assert client.reply().status == status
    assert client.is_closed()


def test_a_client_too_many_gets_its_answer_though_it_sends(
    serve: Serve, tls: Authority, tls_client_of: TlsClientOf
) -> None:
    server = serve(hello, tls=tls, max_connections=1, drain_timeout=TIMEOUT)
    assert tls_client_of(server).get().status == 200
    client = tls_client_of(server)
    client.send(UPLOAD + b"\r\n" + b"x" * 6 * MIB)
    assert client.reply().status == 503
    assert client.is_closed()


def test_a_client_is_answered_whose_upload_waits_unread_in_the_server(
    serve: Serve, tls: Authority, tls_client_of: TlsClientOf
) -> None:
    # What has come is between the socket and the connection, which has stopped to read.
    server = serve(refuse, tls=tls, body_buffer_size=1, drain_size=1, drain_timeout=TIMEOUT)
    client = tls_client_of(server)
    client.send(UPLOAD + b"\r\n" + b"x" * 6 * MIB)
    assert client.reply().status == 401
    assert client.is_closed()


def test_a_client_that_has_not_begun_to_send_hears_the_end_at_once(
    serve: Serve, tls: Authority, tls_client_of: TlsClientOf
) -> None:
    server = serve(refuse, tls=tls, drain_timeout=TIMEOUT)
    client = tls_client_of(server)
    client.send(UPLOAD + b"Expect: 100-continue\r\n\r\n")
    assert client.reply().status == 401
    assert client.is_closed()


def test_a_client_that_never_stops_sending_is_cut_after_drain_timeout(
    serve: Serve, tls: Authority, tls_client_of: TlsClientOf, clock: Clock
) -> None:
    server_class, lost = watched()
    server = serve(
        refuse, tls=tls, server_class=server_class, max_body_size=1, drain_timeout=TIMEOUT
    )
    client = tls_client_of(server)
    client.send(UPLOAD + b"\r\n" + b"x" * MIB)
    assert client.reply().status == 413
    client.send(b"x" * MIB)
    clock.pass_time(server, TIMEOUT)
    assert lost.wait(TIMEOUT)
    with pytest.raises(OSError, match=r"(?i)reset|broken pipe|EOF"):
        client.send(b"x" * 5 * MIB)


def test_a_client_that_stays_without_a_word_is_closed_after_drain_timeout(
    serve: Serve, tls: Authority, tls_client_of: TlsClientOf, clock: Clock
) -> None:
    server = serve(refuse, tls=tls, max_body_size=1, drain_timeout=TIMEOUT)
    client = tls_client_of(server)
    client.send(UPLOAD + b"\r\n")
    assert client.reply().status == 413
    clock.pass_time(server, TIMEOUT)
    wait_for_the_end_of_tcp(client)


def test_a_client_that_does_not_answer_the_end_is_closed_after_drain_timeout(
    serve: Serve, tls: Authority, tls_client_of: TlsClientOf, clock: Clock
) -> None:
    server = serve(refuse, tls=tls, drain_timeout=TIMEOUT)
    client = tls_client_of(server)
    assert client.get(Connection="close").status == 401
    assert client.is_closed()
    clock.pass_time(server, TIMEOUT)
    wait_for_the_end_of_tcp(client)


def test_a_client_that_leaves_behind_an_upload_that_nobody_reads_is_noticed(
    serve: Serve, tls: Authority, tls_client_of: TlsClientOf
) -> None:
    entered, noticed = threading.Event(), queue.SimpleQueue[bool]()

    def wait(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        entered.set()
        noticed.put(environ["asyncwsgi.disconnected"](TIMEOUT))
        return refuse(environ, start_response)

    client = tls_client_of(serve(wait, tls=tls, body_buffer_size=1))
    client.send(UPLOAD + b"\r\nx")
    assert entered.wait(TIMEOUT)
    client.half_close()  # below TLS, where what the client has not read would make it a reset
    assert noticed.get(timeout=TIMEOUT)


def test_a_client_that_reads_slowly_gets_all_of_its_last_response(
    serve: Serve, tls: Authority, tls_client_of: TlsClientOf
) -> None:
    # drain_timeout is for its leave-taking. Its reading has send_timeout, as without TLS.
    body = b"x" * MIB

    def large(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        size = len(body) if environ["PATH_INFO"] == "/large" else 0
        start_response("200 OK", [*PLAIN, ("Content-Length", str(size))])
        return [body[:size]]

    with socket.create_server(("127.0.0.1", 0)) as listener:
        # Those of its clients have it, too: the kernel takes little, and the loop keeps the rest.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        bind = f"fd://{listener.fileno()}"
        server = serve(large, tls=tls, bind=bind, response_buffer_size=8 * MIB, drain_timeout=0.1)
        slow = tls_client_of(server)
        slow.request("GET", "/large", Connection="close")
        assert slow.read_line() == b"HTTP/1.1 200 OK\r\n"
        come_round(server)
        # One that has read all is closed when it has had as long as the other.
        quick = tls_client_of(server)
        assert quick.get(Connection="close").status == 200
        wait_for_the_end_of_tcp(quick)
        assert slow.read_all().endswith(b"\r\n\r\n" + body)
