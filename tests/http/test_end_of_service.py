"""A connection on which nothing more is served holds nothing, and does not stay."""

from __future__ import annotations

import asyncio
import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from asyncwsgi import Server
from asyncwsgi.frontends.http import MOST_PIECES, HttpConnection
from asyncwsgi.testing import LiveServer
from tests.apps import hello
from tests.client import TIMEOUT
from tests.conftest import Serve
from tests.http.helpers import MIB, ClientOf
from tests.http.wire import CHUNKED, chunk


def wait_until_disconnected(server: LiveServer) -> None:
    waited = server.server.wait_until_disconnected()
    asyncio.run_coroutine_threadsafe(waited, server.started.result()).result(TIMEOUT)


def test_who_does_not_close_behind_a_response_is_closed_though_its_body_is_still_parsed(
    serve: Serve, client_of: ClientOf
) -> None:
    server = serve(hello, body_buffer_size=MIB, drain_timeout=0.01, stream_chunked_bodies=True)
    client = client_of(server)
    # The application answers, and does not keep the connection, while chunks are being parsed.
    client.request("POST", Expect="100-continue", Transfer_Encoding="chunked")
    client.send(chunk(b"x") * 100_000)
    client.read_all()
    wait_until_disconnected(server)


def test_a_client_whose_body_was_refused_is_heard_when_it_closes(
    serve: Serve, client_of: ClientOf
) -> None:
    executor = ThreadPoolExecutor()
    executor.shutdown()
    server = serve(hello, executor=executor, body_buffer_size=1, drain_timeout=1000.0)
    client = client_of(server)
    client.send(CHUNKED + chunk(b"x") * (MOST_PIECES + 1))
    assert client.read_all().startswith(b"HTTP/1.1 503 ")
    client.close()
    wait_until_disconnected(server)


def test_a_request_that_is_refused_in_its_body_leaves_no_cycle(
    serve: Serve, client_of: ClientOf
) -> None:
    remains: list[weakref.ref[Any]] = []

    class Noting(HttpConnection):
        def make_exchange(self, head: Any, environ: dict[str, Any]) -> Any:
            exchange = super().make_exchange(head, environ)
            remains.append(weakref.ref(exchange))
            return exchange

    class NotingServer(Server):
        connection_class = Noting

    server = serve(hello, server_class=NotingServer, max_body_size=1)
    client = client_of(server)
    gc.disable()
    try:
        client.send(CHUNKED + chunk(b"spam"))
        assert client.read_all().startswith(b"HTTP/1.1 413 ")
        client.close()
        wait_until_disconnected(server)
        assert [remain() for remain in remains] == [None]
    finally:
        gc.enable()
