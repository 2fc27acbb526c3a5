"""PEP 3333 when the client leaves or the server stops: write() raises, close() runs once."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import pytest

from asyncwsgi import ClientDisconnected, Server
from asyncwsgi.frontends.http import HttpConnection
from asyncwsgi.testing import HungApplication
from tests.apps import Endless
from tests.client import TIMEOUT, Client
from tests.conftest import Serve
from tests.http.staging import (
    PLAIN,
    Blocks,
    ClientOf,
    Environ,
    answer,
    read_head,
    take,
    wait_for,
)

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

# Larger than all that server and kernel hold between an application and a client.
MORE_THAN_FITS = 64 * 1024 * 1024

LEAVE = [
    pytest.param(Client.close, id="closed"),
    pytest.param(Client.reset, id="reset"),
]


@pytest.mark.parametrize("leave", LEAVE)
def test_the_iterable_is_closed_when_the_client_leaves(
    leave: Callable[[Client], None],
    serve: Serve,
    client_of: ClientOf,
    caplog: pytest.LogCaptureFixture,
) -> None:
    application = Endless()
    server = serve(application)
    staying, leaving = client_of(server), client_of(server)
    staying.request()
    read_head(staying)
    leaving.request()
    read_head(leaving)
    leave(leaving)
    wait_for(application.was_closed)
    # The other one is still streamed to, and it ends as that one did: without a word in the log.
    assert staying.read(MORE_THAN_FITS // 4).count(b"x") > MORE_THAN_FITS // 8
    staying.reset()
    server.close()
    assert application.closings == 2
    assert caplog.records == []


@pytest.mark.parametrize("leave", LEAVE)
def test_the_iterable_is_closed_when_a_client_leaves_that_did_not_read(
    leave: Callable[[Client], None],
    serve: Serve,
    client_of: ClientOf,
    caplog: pytest.LogCaptureFixture,
) -> None:
    is_held_up = threading.Semaphore(0)

    class Connection(HttpConnection):
        def pause_writing(self) -> None:
            super().pause_writing()
            is_held_up.release()

    class PausingServer(Server):
        connection_class = Connection

    application = Endless()
    server = serve(application, server_class=PausingServer)
    client = client_of(server)
    client.request()
    take(is_held_up)
    leave(client)
    wait_for(application.was_closed)
    server.close()
    assert application.closings == 1
    assert caplog.records == []


@pytest.mark.parametrize("leave", LEAVE)
def test_write_raises_when_the_client_has_left(
    leave: Callable[[Client], None],
    serve: Serve,
    client_of: ClientOf,
    caplog: pytest.LogCaptureFixture,
) -> None:
    has_left = threading.Event()
    raised: list[BaseException] = []

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", PLAIN)
        write(b"first")
        wait_for(has_left)
        try:
            # The kernel tells of it with the answer to the first or second block.
            for _ in range(MORE_THAN_FITS // 65536):
                write(b"x" * 65536)
        except OSError as error:
            raised.append(error)
            raise
        return []

    server = serve(application)
    client = client_of(server)
    client.request()
    read_head(client)
    leave(client)
    has_left.set()
    server.close()
    assert [type(error) for error in raised] == [ClientDisconnected]
    assert caplog.records == []


@pytest.mark.parametrize("leave", [Client.half_close, Client.reset], ids=["half-closed", "reset"])
def test_a_client_that_leaves_amid_its_body_is_no_error_of_the_application(
    leave: Callable[[Client], None],
    serve: Serve,
    client_of: ClientOf,
    caplog: pytest.LogCaptureFixture,
) -> None:
    reading = threading.Semaphore(0)

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        reading.release()
        environ["wsgi.input"].read(-1)
        start_response("200 OK", PLAIN)
        return []

    server = serve(application, body_buffer_size=1)
    client = client_of(server)
    client.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nspam")
    take(reading)
    leave(client)
    if leave is Client.half_close:
        assert client.reply().status == 400
    server.close()
    assert [record for record in caplog.records if record.exc_info] == []


class HeldBetweenBlocks:
    """Yields one block, waits for the test, then yields more than anybody takes."""

    def __init__(self) -> None:
        self.is_held = threading.Event()
        self.goes_on = threading.Event()
        self.thread = threading.current_thread()
        self.closings = 0

    def __iter__(self) -> Iterator[bytes]:
        self.thread = threading.current_thread()
        yield b"first"
        self.is_held.set()
        wait_for(self.goes_on)
        for _ in range(MORE_THAN_FITS // 65536):
            yield b"x" * 65536

    def close(self) -> None:
        self.closings += 1


def test_the_iterable_is_closed_when_the_server_was_stopped_meanwhile(
    serve: Serve, client_of: ClientOf
) -> None:
    # Nobody can wait for an application that does not move; when it does, it is closed all the
    # same, although the loop is gone.
    body = HeldBetweenBlocks()
    server = serve(answer(lambda: body), graceful_timeout=0.0)
    client_of(server).request()
    wait_for(body.is_held)
    with pytest.raises(HungApplication):
        server.close()
    body.goes_on.set()
    body.thread.join(TIMEOUT)
    assert not body.thread.is_alive()
    assert body.closings == 1


@pytest.mark.usefixtures("patience")
def test_a_server_that_has_stopped_has_closed_what_it_cut(
    serve: Serve, client_of: ClientOf
) -> None:
    # The process may end now, and daemon threads with it: what close() tidies up, a transaction
    # for one, would stay as it is.
    class TidyingUp(Endless):
        def close(self) -> None:
            hashlib.pbkdf2_hmac("sha256", b"work for", b"a moment", 100_000)
            super().close()

    application = TidyingUp()
    server = serve(application, graceful_timeout=0.01)
    client = client_of(server)
    client.request()
    read_head(client)
    server.close()
    assert application.closings == 1


@pytest.mark.usefixtures("patience")
def test_the_iterable_is_closed_when_the_server_stops_with_its_input_awaited(
    serve: Serve, client_of: ClientOf
) -> None:
    reading = threading.Semaphore(0)
    raised: list[BaseException] = []
    bodies: list[Blocks] = []

    threads: list[threading.Thread] = []

    def produce(environ: Environ) -> Iterator[bytes]:
        threads.append(threading.current_thread())
        reading.release()
        try:
            yield environ["wsgi.input"].read(-1)
        except OSError as error:
            raised.append(error)
            raise

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", PLAIN)
        bodies.append(Blocks(produce(environ)))
        return bodies[0]

    server = serve(application, graceful_timeout=0.01, body_buffer_size=1)
    client = client_of(server)
    client.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nspam")
    take(reading)
    server.close()
    threads[0].join(TIMEOUT)
    assert len(raised) == 1
    assert bodies[0].closings == 1
