"""PEP 3333: close() of the iterable runs once however the response ends, over real sockets."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from asyncwsgi.testing import HungApplication
from tests.apps import Endless, hello
from tests.client import TIMEOUT
from tests.conftest import Serve
from tests.http.helpers import ClientOf, Environ, answer, take, wait_for
from tests.http.wire import PLAIN, SIZED, read_head

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

# Larger than all that server and kernel hold between an application and a client.
MORE_THAN_FITS = 64 * 1024 * 1024


class Body:
    """Blocks of a body; counts how often it was closed."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self.blocks = blocks
        self.closings = 0

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.blocks)

    def close(self) -> None:
        self.closings += 1


def fail_after(*blocks: bytes) -> Iterator[bytes]:
    yield from blocks
    raise LookupError("spam")


@pytest.mark.parametrize(
    "blocks",
    [
        pytest.param(lambda: [b"spam"], id="a complete body"),
        pytest.param(lambda: fail_after(), id="an error at once"),
        pytest.param(lambda: fail_after(b"spam"), id="an error later"),
    ],
)
def test_the_iterable_is_closed_once_after(
    blocks: Callable[[], Any], serve: Serve, client_of: ClientOf
) -> None:
    body = Body(blocks())
    server = serve(answer(lambda: body))
    client = client_of(server)
    client.request(Connection="close")
    client.read_all()
    server.close()
    assert body.closings == 1


class SlowToClose(Body):
    """Closes when the test allows it."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        super().__init__(blocks)
        self.may_close = threading.Event()

    def close(self) -> None:
        wait_for(self.may_close)
        super().close()


def test_the_response_is_complete_before_close_ends(serve: Serve, client_of: ClientOf) -> None:
    body = SlowToClose([b"spam"])
    server = serve(answer(lambda: body))
    assert client_of(server).get().body == b"spam"
    body.may_close.set()
    server.close()
    assert body.closings == 1


def test_the_next_request_of_a_connection_waits_for_close(
    serve: Serve, client_of: ClientOf
) -> None:
    log: list[str] = []

    class Logged(SlowToClose):
        def close(self) -> None:
            super().close()
            log.append("closed")

    body = Logged([b"spam"])

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        log.append(environ["PATH_INFO"])
        if environ["PATH_INFO"] == "/second":
            return hello(environ, start_response)
        start_response("200 OK", PLAIN)
        return body

    client = client_of(serve(application))
    client.request(target="/first")
    client.request(target="/second")
    assert client.reply().body == b"spam"
    body.may_close.set()
    assert client.reply().status == 200
    assert log == ["/first", "closed", "/second"]


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
    bodies: list[Body] = []

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
        bodies.append(Body(produce(environ)))
        return bodies[0]

    server = serve(application, graceful_timeout=0.01, body_buffer_size=1)
    client = client_of(server)
    client.send(SIZED % 9 + b"spam")
    take(reading)
    server.close()
    threads[0].join(TIMEOUT)
    assert len(raised) == 1
    assert bodies[0].closings == 1
