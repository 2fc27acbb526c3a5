"""PEP 3333: close() of the iterable runs once however the response ends, over real sockets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from asyncwsgi import ClientDisconnected
from tests.apps import hello
from tests.conftest import Serve
from tests.http.staging import (
    PLAIN,
    Blocks,
    ClientOf,
    Environ,
    Headers,
    answer,
    read_head,
    sized,
    wait_for,
)

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

# Larger than all that server and kernel hold between an application and a client.
MORE_THAN_FITS = 64 * 1024 * 1024


def fail_after(*blocks: bytes) -> Iterator[bytes]:
    yield from blocks
    raise LookupError("spam")


@pytest.mark.parametrize(
    ("blocks", "headers", "status", "method"),
    [
        pytest.param(lambda: [b"spam"], PLAIN, "200 OK", "GET", id="a complete body"),
        pytest.param(list, PLAIN, "200 OK", "GET", id="an empty body"),
        pytest.param(lambda: [b"spam"], sized(4), "200 OK", "HEAD", id="HEAD"),
        pytest.param(lambda: [b"spam"], [], "204 No Content", "GET", id="a status without content"),
        pytest.param(lambda: [b"spam", b"!"], sized(2), "200 OK", "GET", id="too much"),
        pytest.param(lambda: [b"spam"], sized(9), "200 OK", "GET", id="too little"),
        pytest.param(lambda: fail_after(), PLAIN, "200 OK", "GET", id="an error at once"),
        pytest.param(lambda: fail_after(b"spam"), PLAIN, "200 OK", "GET", id="an error later"),
        pytest.param(lambda: ["spam"], PLAIN, "200 OK", "GET", id="a block that is not bytes"),
    ],
)
def test_the_iterable_is_closed_once_after(
    blocks: Callable[[], Any],
    headers: Headers,
    status: str,
    method: str,
    serve: Serve,
    client_of: ClientOf,
) -> None:
    body = Blocks(())

    def make() -> Blocks:
        body.blocks = blocks()
        return body

    server = serve(answer(make, headers, status))
    client = client_of(server)
    client.request(method, Connection="close")
    client.read_all()
    server.close()
    assert body.closings == 1


def test_the_iterable_is_closed_if_start_response_was_not_called(
    serve: Serve, client_of: ClientOf
) -> None:
    body = Blocks([b"spam"])
    # Not validated: wsgiref.validate would raise in place of the server.
    server = serve(lambda environ, start_response: body, validate=False)
    assert client_of(server).get().status == 500
    server.close()
    assert body.closings == 1


class Uniterable:
    """Something that cannot even begin to iterate."""

    def __init__(self) -> None:
        self.closings = 0

    def __iter__(self) -> Iterator[bytes]:
        raise LookupError("spam")

    def close(self) -> None:
        self.closings += 1


def test_the_iterable_is_closed_even_if_iter_raised(serve: Serve, client_of: ClientOf) -> None:
    body = Uniterable()
    # Not validated: wsgiref.validate calls iter() inside the application's call.
    server = serve(answer(lambda: body), validate=False)
    assert client_of(server).get().status == 500
    server.close()
    assert body.closings == 1


def test_nothing_is_closed_if_the_call_itself_raised(serve: Serve, client_of: ClientOf) -> None:
    # PEP 3333 speaks of the iterable returned; there is none.
    body = Blocks([b"spam"])

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", PLAIN)
        raise LookupError(body)

    server = serve(application)
    assert client_of(server).get().status == 500
    server.close()
    assert body.closings == 0


class SlowToClose(Blocks):
    """Closes when the test allows it."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        super().__init__(blocks)
        self.may_close = threading.Event()

    def close(self) -> None:
        wait_for(self.may_close)
        super().close()


@pytest.mark.parametrize("headers", [PLAIN, sized(4)], ids=["chunked", "sized"])
def test_the_response_is_complete_before_close_ends(
    headers: Headers, serve: Serve, client_of: ClientOf
) -> None:
    body = SlowToClose([b"spam"])
    server = serve(answer(lambda: body, headers))
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


def test_an_error_in_close_is_logged_and_the_response_complete(
    serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Blocks):
        def close(self) -> None:
            super().close()
            raise LookupError("spam")

    client = client_of(serve(answer(lambda: Failing([b"spam"]))))
    assert [client.get().body, client.get().body] == [b"spam", b"spam"]
    record = caplog.records[0]
    assert (record.name, record.levelname) == ("asyncwsgi.server", "ERROR")
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], LookupError)


@pytest.mark.parametrize("headers", [PLAIN, sized(8)], ids=["chunked", "sized"])
def test_what_close_writes_does_not_get_behind_the_response(
    headers: Headers, serve: Serve, client_of: ClientOf
) -> None:
    # Behind the end of a message the client reads the next one (RFC 9112 6.3).
    class Writing(Blocks):
        write: Callable[[bytes], object]

        def close(self) -> None:
            self.write(b"HTTP/1.1 200 Evil\r\nContent-Length: 0\r\n\r\n")

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        body = Writing([b"spam", b"eggs"])
        body.write = start_response("200 OK", headers)
        return body

    client = client_of(serve(application))
    for _ in range(2):
        client.request()
        assert read_head(client)[0] == b"HTTP/1.1 200 OK"
        body = b"spameggs" if headers is not PLAIN else b"4\r\nspam\r\n4\r\neggs\r\n0\r\n\r\n"
        assert client.read(len(body)) == body
    client.half_close()
    assert client.read_all() == b""


def test_write_raises_when_its_response_is_over(serve: Serve, client_of: ClientOf) -> None:
    writes: list[Callable[[bytes], object]] = []

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        writes.append(start_response("200 OK", PLAIN))
        return [b"spam", b"eggs"]

    client = client_of(serve(application))
    client.get()
    client.get()
    with pytest.raises((ClientDisconnected, AssertionError)):
        writes[0](b"late")
    assert client.get().body == b"spameggs"
