"""A child that a view has forked holds the sockets; no client waits for it."""

from __future__ import annotations

import contextlib
import os
import signal
import ssl
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.client import connect
from tests.conftest import Serve
from tests.http.helpers import ClientOf, Environ, wait_for
from tests.http.wire import PLAIN, sized
from tests.server.certificates import Certificates

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here"),
    # CPython 3.12 and later warn of forks in processes with threads: that is what is tested here.
    pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning"),
]


class Forks:
    """Answers, while a child lives that was forked in the call."""

    def __init__(self) -> None:
        self.children: list[int] = []
        self.released = threading.Event()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        child = os.fork()
        if not child:
            signal.pause()
            os._exit(0)
        self.children.append(child)
        path = environ["PATH_INFO"]
        start_response("200 OK", sized(4) if path == "/sized" else PLAIN)
        return self.fails() if path == "/fails" else [b"spam"]

    def fails(self) -> Iterator[bytes]:
        yield b"spam"
        wait_for(self.released)  # the client has read what there is
        raise LookupError("spam")


@pytest.fixture
def forks() -> Iterator[Forks]:
    application = Forks()
    yield application
    for child in application.children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_response_that_the_end_of_the_connection_delimits_ends(
    serve: Serve, forks: Forks, client_of: ClientOf, where: dict[str, Any]
) -> None:
    client = client_of(serve(forks, **where))
    client.send(b"GET / HTTP/1.0\r\n\r\n")
    assert client.read_all().endswith(b"\r\n\r\nspam")


def test_a_connection_that_the_client_does_not_keep_ends(
    serve: Serve, forks: Forks, client_of: ClientOf, where: dict[str, Any]
) -> None:
    client = client_of(serve(forks, **where))
    client.request("GET", "/sized", Connection="close")
    assert client.read_all().endswith(b"\r\n\r\nspam")


def test_a_connection_that_times_out_ends(serve: Serve, forks: Forks, client_of: ClientOf) -> None:
    client = client_of(serve(forks, keep_alive_timeout=0.1))
    client.request("GET", "/sized")
    assert client.read_all().endswith(b"\r\n\r\nspam")


def test_a_response_that_is_cut_ends(serve: Serve, forks: Forks, client_of: ClientOf) -> None:
    client = client_of(serve(forks))
    client.request("GET", "/fails")
    forks.released.set()
    assert client.read_all().endswith(b"4\r\nspam\r\n")


def test_tls_ends_as_well(serve: Serve, forks: Forks, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    server = serve(forks, certfile=certificates.files.both)
    with connect(("127.0.0.1", server.port), certificates.client_context()) as client:
        client.request("GET", "/sized", Connection="close")
        assert client.read_all().endswith(b"\r\n\r\nspam")
    with connect(("127.0.0.1", server.port), certificates.client_context()) as client:
        client.send(b"GET /fails HTTP/1.0\r\n\r\n")
        while not client.sock.recv(65536).endswith(b"spam"):
            pass
        forks.released.set()
        with contextlib.suppress(ConnectionResetError, ssl.SSLError):  # but no TimeoutError
            assert client.sock.recv(65536) == b""


@pytest.mark.skipif("sys.platform != 'linux'", reason="there is no way to")
def test_a_response_that_must_not_seem_whole_is_reset(
    serve: Serve, forks: Forks, client_of: ClientOf
) -> None:
    client = client_of(serve(forks))
    client.send(b"GET /fails HTTP/1.0\r\n\r\n")
    while not client.sock.recv(65536).endswith(b"spam"):
        pass
    forks.released.set()
    with pytest.raises(ConnectionResetError):
        client.read_all()


def test_who_waits_at_the_socket_of_a_client_hears_of_its_end(
    serve: Serve, forks: Forks, client_of: ClientOf
) -> None:
    heard: list[bytes] = []
    is_over = threading.Event()

    def converse(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        sock = environ["werkzeug.socket"]
        sock.recv(1)
        forks(environ, start_response)
        sock.sendall(b"spam")
        heard.append(sock.recv(1))
        is_over.set()
        return []

    server = serve(converse, validate=False)
    client = client_of(server)
    client.request()
    client.send(b"x")
    assert client.read(4) == b"spam"
    server.abort()  # a client of this process would be held by the child, too
    wait_for(is_over)
    assert heard == [b""]
