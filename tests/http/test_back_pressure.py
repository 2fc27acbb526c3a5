"""Memory and threads are bounded, however slow or pushy a client is.

Bounds are generous, because the kernel buffers some megabytes at both ends of a connection; what
would come without back-pressure is far beyond them.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tests.apps import hello
from tests.client import TIMEOUT
from tests.conftest import Serve
from tests.http.helpers import (
    MIB,
    Blocks,
    ClientOf,
    Gate,
    fill,
    watched,
)

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

TOTAL = 64 * MIB
BOUND = 24 * MIB


def digest(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    """Answers with the body's hash; reads in blocks."""
    digest = hashlib.sha256()
    while block := environ["wsgi.input"].read(100_000):
        digest.update(block)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [digest.hexdigest().encode()]


class TestRequestBody:
    def test_a_client_is_read_no_further_than_the_application_reads(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        gate = Gate(digest)
        server = serve(gate, body_buffer_size=64 * 1024)
        client, other = client_of(server), client_of(server)
        client.request("POST", "/held", Content_Length=str(TOTAL))
        part = random.Random(1).randbytes(MIB)
        sent = fill(client, part, other.get, limit=BOUND)
        gate.open()
        body = part * (TOTAL // MIB)
        client.send(body[sent:])
        assert client.reply().body.decode() == hashlib.sha256(body).hexdigest()

    def test_a_thread_is_taken_only_when_the_body_is_there(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        server = serve(digest, threads=1)
        uploads = [client_of(server) for _ in range(5)]
        for upload in uploads:
            upload.request("POST", Content_Length="4")
            upload.send(b"sp")
        assert client_of(server).get().status == 200  # the only thread is free
        for upload in uploads:
            upload.send(b"am")
        expected = hashlib.sha256(b"spam").hexdigest().encode()
        assert [upload.reply().body for upload in uploads] == [expected] * 5

    def test_a_thread_is_taken_when_the_buffer_is_full(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        gate = Gate(digest)
        client = client_of(serve(gate, body_buffer_size=4))
        client.request("POST", "/held", Content_Length="8")
        client.send(b"spam")
        gate.wait_until_entered()
        gate.open()
        client.send(b"eggs")
        assert client.reply().body.decode() == hashlib.sha256(b"spameggs").hexdigest()


class TestResponse:
    def test_an_application_runs_no_further_ahead_than_the_buffer(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        app = Blocks(TOTAL)
        server = serve(app, response_buffer_size=64 * 1024, send_timeout=0.2)
        client_of(server).request()
        # It is cut in the end; until then nothing but the back-pressure holds it.
        assert app.was_closed.wait(TIMEOUT)
        assert app.produced < BOUND

    def test_one_large_block_does_not_go_out_at_once(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        app = Blocks(TOTAL, block_size=TOTAL)
        server_class, lost = watched()
        server = serve(
            app, server_class=server_class, response_buffer_size=64 * 1024, send_timeout=0.2
        )
        client = client_of(server)
        client.request()
        assert lost.wait(TIMEOUT)
        assert len(client.read_all()) < BOUND

    def test_an_application_goes_on_when_the_client_reads_on(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        app = Blocks(TOTAL)
        client = client_of(serve(app, response_buffer_size=64 * 1024))
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        head_and_some = client.read(MIB)
        rest = client.read_all()
        assert len(head_and_some) + len(rest) == TOTAL + head_and_some.index(b"\r\n\r\n") + 4
        assert (app.produced, app.closings) == (TOTAL, 1)

    def test_write_blocks_as_iteration_does(self, serve: Serve, client_of: ClientOf) -> None:
        written = 0

        def writing(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
            nonlocal written
            write = start_response("200 OK", [("Content-Type", "text/plain")])
            block = b"x" * 16 * 1024
            while written < TOTAL:
                write(block)
                written += len(block)
            return []

        server_class, lost = watched()
        server = serve(
            writing, server_class=server_class, response_buffer_size=64 * 1024, send_timeout=0.2
        )
        client_of(server).request()
        assert lost.wait(TIMEOUT)
        assert written < BOUND

    def test_a_response_that_fits_the_buffer_frees_its_thread_at_once(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        # 16 MiB: more than the socket buffers take, so most of it waits in the server.
        size = 16 * MIB

        def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
            if environ["PATH_INFO"] != "/large":
                return hello(environ, start_response)
            start_response(
                "200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(size))]
            )
            return [b"x" * size]

        server = serve(app, threads=1, response_buffer_size=64 * MIB)
        slow, quick = client_of(server), client_of(server)
        slow.request(target="/large")
        assert quick.get().body == b"Hello, world!"
        assert len(slow.reply().body) == size
        assert slow.get().body == b"Hello, world!"

    def test_slow_readers_do_not_hold_more_threads_than_they_have_requests(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        app = Blocks(BOUND)
        server = serve(app, threads=3)
        slow = [client_of(server) for _ in range(2)]
        for client in slow:
            client.request()
            client.read(1)
        quick = client_of(server)
        quick.request("HEAD")
        assert quick.reply("HEAD").status == 200
        for client in slow:
            client.reset()
