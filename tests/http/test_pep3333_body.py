"""PEP 3333 on the body: streaming, iterables, write(), Content-Length, bodiless responses."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.client import TIMEOUT, Client
from tests.conftest import Serve
from tests.http.staging import (
    GET,
    PLAIN,
    ClientOf,
    Environ,
    answer,
    generate,
    read_head,
    sized,
    wait_for,
)  # fmt: skip

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

GET_1_0 = b"GET / HTTP/1.0\r\n\r\n"


class Staged:
    """Goes from block to block only when the test says so, and says that it waits."""

    def __init__(self, *, is_written: bool) -> None:
        self._is_written = is_written
        self.goes_on = threading.Semaphore(0)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        write = start_response("200 OK", [("Content-Type", "text/event-stream")])
        for number in range(3):
            event = b"data: %d\n\n" % number
            if self._is_written:
                write(event)
            else:
                yield event
            assert self.goes_on.acquire(timeout=TIMEOUT), "the client did not get the block"


@pytest.mark.parametrize("is_written", [False, True], ids=["yielded", "written"])
@pytest.mark.parametrize("request_", [GET, GET_1_0], ids=["HTTP/1.1", "HTTP/1.0"])
def test_a_block_is_on_the_wire_before_the_next_is_asked_for(
    request_: bytes, is_written: bool, serve: Serve, client_of: ClientOf
) -> None:
    application = Staged(is_written=is_written)
    client = client_of(serve(application))
    client.send(request_)
    read_head(client)
    framed = b"9\r\ndata: %d\n\n\r\n" if request_ is GET else b"data: %d\n\n"
    for number in range(3):
        block = framed % number
        assert client.read(len(block)) == block
        application.goes_on.release()
    end = b"0\r\n\r\n" if request_ is GET else b""
    assert client.read(len(end)) == end


def test_blocks_with_a_content_length_are_not_held_back_either(
    serve: Serve, client_of: ClientOf
) -> None:
    goes_on = threading.Event()

    def produce() -> Iterator[bytes]:
        yield b"spam"
        wait_for(goes_on)
        yield b"eggs"

    client = client_of(serve(answer(produce, sized(8))))
    client.request()
    read_head(client)
    assert client.read(4) == b"spam"
    goes_on.set()
    assert client.read(4) == b"eggs"


@pytest.mark.parametrize(
    "block",
    [
        pytest.param("spam", id="str"),
        pytest.param(bytearray(b"spam"), id="bytearray"),
        pytest.param(memoryview(b"spam"), id="memoryview"),
        pytest.param(115, id="int, as iterating over bytes yields them"),
        pytest.param(None, id="None"),
    ],
)
@pytest.mark.parametrize("is_written", [False, True], ids=["yielded", "written"])
def test_a_block_that_is_not_bytes_is_an_error(
    is_written: bool, block: Any, serve: Serve, client_of: ClientOf
) -> None:
    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", PLAIN)
        if is_written:
            write(block)
            return []
        return [block]

    # Not validated: wsgiref.validate would raise in place of the server.
    assert client_of(serve(application, validate=False)).get().status == 500


def test_empty_blocks_write_no_chunk(serve: Serve, client_of: ClientOf) -> None:
    # An empty chunk would be the last one (RFC 9112 7.1).
    client = client_of(serve(answer(lambda: iter([b"", b"spam", b"", b"", b"eggs", b""]))))
    client.request(Connection="close")
    read_head(client)
    assert client.read_all() == b"4\r\nspam\r\n4\r\neggs\r\n0\r\n\r\n"


def test_written_data_comes_before_that_of_the_iterable(serve: Serve, client_of: ClientOf) -> None:
    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", PLAIN)
        write(b"one ")
        write(b"two ")
        return [b"three ", b"four"]

    assert client_of(serve(application)).get().body == b"one two three four"


@pytest.mark.parametrize("is_written", [False, True], ids=["yielded", "written"])
def test_a_slow_client_holds_up_the_application(
    is_written: bool, serve: Serve, client_of: ClientOf
) -> None:
    block, count = b"x" * 64 * 1024, 1024
    # What server and kernel may hold between application and client: the server's buffer, the
    # socket's send buffer (Linux: up to 4 MiB by itself) and the receive buffer set below.
    most_ahead = 16 * 1024 * 1024
    produced = 0

    def application(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        nonlocal produced
        write = start_response("200 OK", sized(len(block) * count))
        for _ in range(count):
            produced += len(block)
            if is_written:
                write(block)
            else:
                yield block

    server = serve(application)
    client = Client(socket.create_connection(("127.0.0.1", server.port)))
    with client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        client.request()
        read_head(client)
        for number in range(1, count + 1):
            assert client.read(len(block)) == block
            assert produced <= len(block) * number + most_ahead


class Plain:
    """An object with ``__iter__`` alone."""

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"spam ", b"eggs"])


class Indexed:
    """An object of the oldest iteration protocol."""

    def __getitem__(self, index: int) -> bytes:
        return [b"spam ", b"eggs"][index]


@pytest.mark.parametrize(
    "blocks",
    [
        pytest.param(lambda: [b"spam ", b"eggs"], id="list"),
        pytest.param(lambda: (b"spam ", b"eggs"), id="tuple"),
        pytest.param(generate, id="generator"),
        pytest.param(lambda: map(bytes, [b"spam ", b"eggs"]), id="iterator"),
        pytest.param(lambda: {b"spam ": 1, b"eggs": 2}, id="dict"),
        pytest.param(Plain, id="object with __iter__"),
        pytest.param(Indexed, id="object with __getitem__"),
    ],
)
def test_any_iterable_of_bytes_is_a_body(
    blocks: Callable[[], Any], serve: Serve, client_of: ClientOf
) -> None:
    assert client_of(serve(answer(blocks))).get().body == b"spam eggs"


@pytest.mark.parametrize("blocks", [list, tuple, lambda: iter([]), lambda: iter([b""])])
def test_an_empty_iterable_is_an_empty_body(
    blocks: Callable[[], Any], serve: Serve, client_of: ClientOf
) -> None:
    client = client_of(serve(answer(blocks)))
    replies = [client.get(), client.get()]
    assert [(reply.status, reply.body) for reply in replies] == [(200, b"")] * 2


class Strict:
    """Tells which of its attributes are looked up."""

    def __init__(self) -> None:
        self.looked_up: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        if name not in ("looked_up", "__class__"):
            self.looked_up.append(name)
        return super().__getattribute__(name)

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"spam"])


def test_nothing_but_close_is_looked_up_on_the_iterable(serve: Serve, client_of: ClientOf) -> None:
    blocks = Strict()
    # Not validated: wsgiref.validate would look in place of the server.
    server = serve(answer(lambda: blocks), validate=False)
    assert client_of(server).get().body == b"spam"
    assert set(blocks.looked_up) <= {"close"}


@pytest.mark.parametrize("size", [1, 65536, 65537, 131072, 3_000_001])
@pytest.mark.parametrize("has_length", [False, True], ids=["chunked", "sized"])
def test_a_block_of_any_size_arrives_whole(
    has_length: bool, size: int, serve: Serve, client_of: ClientOf
) -> None:
    block = bytes(range(251)) * (size // 251 + 1)
    block = block[:size]
    headers = sized(size + 1) if has_length else PLAIN
    client = client_of(serve(answer(lambda: iter([block, b"!"]), headers)))
    assert client.get().body == block + b"!"
