"""A response that is cut never seems whole (RFC 9112 8).

Only the end of the connection tells a client of HTTP/1.0 where a body ends whose length is not
known. So the end of one that is not complete is a reset.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from asyncwsgi import EventStream, stream
from asyncwsgi.testing import HungApplication, LiveServer
from tests.client import Client
from tests.conftest import Serve
from tests.http.helpers import MIB, ClientOf, Environ, watched
from tests.http.wire import PLAIN

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

pytestmark = pytest.mark.usefixtures("lent_to_few")

OLD = b"GET / HTTP/1.0\r\n\r\n"


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What applications wait for; open when the test is over."""
    gate = threading.Event()
    yield gate
    gate.set()


def read_until(client: Client, end: bytes) -> None:
    data = b""
    while not data.endswith(end):
        byte = client.read(1)
        assert byte, f"the connection ended behind {data!r}"
        data += byte


def in_blocks(gate: threading.Event) -> Any:
    def application(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", PLAIN)
        yield b"spam"
        gate.wait()

    return application


def on_the_loop(gate: threading.Event) -> Any:
    async def blocks() -> AsyncIterator[bytes]:
        yield b"spam"
        await asyncio.Event().wait()

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", PLAIN)
        return stream(blocks())

    return application


def abort(server: LiveServer) -> None:
    server.abort()


def stop(server: LiveServer) -> None:
    server.shutdown()


@pytest.mark.parametrize("make", [in_blocks, on_the_loop])
@pytest.mark.parametrize("cut", [abort, stop])
def test_one_that_is_being_made_is_reset(
    serve: Serve,
    client_of: ClientOf,
    gate: threading.Event,
    make: Callable[[threading.Event], Any],
    cut: Callable[[LiveServer], None],
) -> None:
    # Not validated: wsgiref's validator knows no block of a subclass of bytes.
    server = serve(make(gate), validate=False, graceful_timeout=0.05)
    client = client_of(server)
    client.send(OLD)
    read_until(client, b"spam")
    cut(server)
    with pytest.raises(ConnectionResetError):
        client.read_all()
    gate.set()
    with contextlib.suppress(HungApplication):  # which is how it came to be cut
        server.close()


def large(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", PLAIN)
    for _ in range(16):
        yield bytes(MIB)


def test_one_that_was_made_and_has_not_left_is_reset(serve: Serve, client_of: ClientOf) -> None:
    server = serve(large, response_buffer_size=64 * MIB)
    client = client_of(server)
    client.send(OLD)
    server.wait_for_request()
    server.abort()
    with pytest.raises(ConnectionResetError):
        client.read_all()


def test_one_whose_client_does_not_read_is_reset(serve: Serve, client_of: ClientOf) -> None:
    server_class, lost = watched()
    server = serve(
        large, server_class=server_class, response_buffer_size=64 * MIB, send_timeout=0.2
    )
    client = client_of(server)
    client.send(OLD)
    assert lost.wait(30)
    with pytest.raises(ConnectionResetError):
        client.read_all()


def test_a_complete_one_is_not(serve: Serve, client_of: ClientOf) -> None:
    client = client_of(serve(large, response_buffer_size=64 * MIB))
    client.send(OLD)
    assert client.read_all().endswith(bytes(16 * MIB))


def test_one_without_an_end_of_its_own_has_an_ordinary_end(
    serve: Serve, client_of: ClientOf
) -> None:
    async def events() -> AsyncIterator[str]:
        yield "spam"
        await asyncio.Event().wait()

    server = serve(EventStream(lambda _: events()), validate=False)
    client = client_of(server)
    client.send(OLD)
    read_until(client, b"data: spam\n\n")
    server.shutdown()
    assert client.read_all() == b""
