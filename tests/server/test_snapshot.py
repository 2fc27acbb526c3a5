"""What a server says of itself: connections, requests, threads, and where they stand."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from asyncwsgi import EventStream, Server, from_thread, stream
from asyncwsgi.server.snapshot import EMPTY, RequestSnapshot
from asyncwsgi.testing import LiveServer
from tests.apps import hello
from tests.client import TIMEOUT, Client, connect
from tests.conftest import Serve
from tests.coroutines.streams import EVENTS, PLAIN, Feed, app_of, open_stream
from tests.http.conftest import clock as clock
from tests.http.helpers import (
    MIB,
    Blocks,
    ClientOf,
    Clock,
    Gate,
    come_round,
    leavings,
    until,
)
from tests.http.wire import read_head
from tests.server.helpers import FOREVER, connected, request_in_flight, soon

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 8\r\n\r\nspam"


def only_request(server: LiveServer, *, stacks: bool = False) -> RequestSnapshot:
    (request,) = server.server.snapshot(stacks=stacks).requests
    return request


def requests_of(server: LiveServer, *, stacks: bool = False) -> dict[str, RequestSnapshot]:
    """Those in flight by their targets."""
    return {request.target: request for request in server.server.snapshot(stacks=stacks).requests}


def said(server: LiveServer, what: str) -> list[Any]:
    """One thing that is said of each request."""
    return [getattr(request, what) for request in server.server.snapshot().requests]


class TestConnections:
    @pytest.mark.parametrize(
        ("state", "sent", "reply", "had_request"),
        [
            pytest.param("idle", b"", None, False, id="silent"),
            pytest.param("idle", GET, 200, True, id="kept"),
            pytest.param("head", GET[:9], None, False, id="in a head"),
            pytest.param("body", POST, None, True, id="in a body"),
            pytest.param("responding", GET.replace(b"/", b"/held", 1), None, True, id="held"),
            pytest.param("draining", POST + b"x", 200, True, id="with a body nobody read"),
            pytest.param("lingering", b"spam\r\n\r\n", 400, False, id="refused"),
        ],
    )
    def test_say_what_they_wait_for_and_for_how_long(
        self,
        serve: Serve,
        client_of: ClientOf,
        clock: Clock,
        state: str,
        sent: bytes,
        reply: int | None,
        had_request: bool,
    ) -> None:
        gate = Gate()
        timeouts: dict[str, Any] = dict.fromkeys(
            [f"{name}_timeout" for name in ("head", "body", "keep_alive", "drain", "send")], FOREVER
        )
        server = serve(gate, body_buffer_size=5, **timeouts)
        client = client_of(server)
        client.send(sent)
        if reply is not None:
            assert client.reply().status == reply
        until(server, lambda: [c.state for c in server.server.snapshot().connections] == [state])
        clock.pass_time(server, 5.0)
        (connection,) = server.server.snapshot().connections
        host, port = client.sock.getsockname()
        assert connection.peer == f"{host}:{port}"
        assert (connection.state, connection.had_request) == (state, had_request)
        assert connection.age == pytest.approx(5.0)
        gate.open()


class TestRequests:
    def test_say_which_wait_run_and_stream(
        self, serve: Serve, client_of: ClientOf, clock: Clock
    ) -> None:
        feed = Feed()
        gate = Gate(app_of(feed.blocks))
        server = serve(gate, validate=False, threads=1)
        streaming, running, queued = [client_of(server) for _ in range(3)]
        open_stream(streaming)
        running.request("PUT", "/held?running", b"")
        gate.wait_until_entered()
        queued.request(target="/held?queued")
        come_round(server)
        clock.pass_time(server, 5.0)
        snapshot = server.server.snapshot()
        assert {(r.method, r.target, r.state) for r in snapshot.requests} == {
            ("GET", "/stream", "streaming"),
            ("PUT", "/held?running", "running"),
            ("GET", "/held?queued", "queued"),
        }
        assert {(r.client, r.thread, r.stack) for r in snapshot.requests} == {
            ("127.0.0.1", None, "")
        }
        assert [r.age for r in snapshot.requests] == pytest.approx([5.0] * 3)
        assert len({r.key for r in snapshot.requests}) == 3
        assert (snapshot.queue_size, snapshot.stream_count) == (1, 1)
        gate.open()
        feed.go_on()

    def test_say_in_which_thread_they_stand_and_where(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        entered, release = threading.Event(), threading.Event()

        def view(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
            entered.set()
            release.wait(TIMEOUT)  # the view's own line
            return list(hello(environ, start_response))

        server = serve(view, threads=1)
        client, queued = client_of(server), client_of(server)
        client.request(target="/running")
        assert entered.wait(TIMEOUT)
        queued.request(target="/queued")
        come_round(server)
        requests = requests_of(server, stacks=True)
        assert (requests["/running"].thread or "").startswith("asyncwsgi-worker-")
        assert f'File "{__file__}"' in requests["/running"].stack
        assert "release.wait(TIMEOUT)  # the view's own line" in requests["/running"].stack
        assert (requests["/queued"].thread, requests["/queued"].stack) == (None, "")
        release.set()
        assert client.reply().status == 200

    @pytest.mark.parametrize("make", [stream, lambda blocks: EventStream(blocks).body()])
    def test_say_where_their_streams_stand(
        self, serve: Serve, client_of: ClientOf, make: Callable[[Any], Iterable[bytes]]
    ) -> None:
        entered = threading.Event()

        async def blocks() -> AsyncIterator[str]:
            go_on = asyncio.Event()
            entered.set()
            await go_on.wait()  # the generator's own line
            yield "never"

        def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", [("Content-Type", "text/event-stream")])
            return make(blocks())

        server = serve(app, validate=False)
        client_of(server).request()
        assert entered.wait(TIMEOUT)
        come_round(server)
        request = only_request(server, stacks=True)
        assert (request.state, request.thread) == ("streaming", None)
        assert "await go_on.wait()  # the generator's own line" in request.stack

    def test_say_where_coroutines_stand_for_which_their_threads_wait(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        entered, release = threading.Event(), asyncio.Event()

        async def coroutine() -> None:
            entered.set()
            await release.wait()  # the coroutine's own line

        def view(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
            from_thread.run(coroutine)
            return list(hello(environ, start_response))

        server = serve(view)
        client = client_of(server)
        client.request()
        assert entered.wait(TIMEOUT)
        come_round(server)
        (stack,) = server.server.snapshot(stacks=True).coroutines
        assert "await release.wait()  # the coroutine's own line" in stack
        assert server.server.snapshot().coroutines == ()
        server.started.result().call_soon_threadsafe(release.set)
        assert client.reply().status == 200

    def test_say_that_a_slow_reader_keeps_them_waiting_and_that_it_no_longer_does(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        gate = threading.Event()

        def app(environ: dict[str, Any], start_response: StartResponse) -> Iterator[bytes]:
            start_response("200 OK", PLAIN)
            yield from Blocks(16 * MIB)
            assert gate.wait(TIMEOUT)

        server = serve(app)
        client = client_of(server)
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        until(server, lambda: said(server, "waits_for_client") == [True])
        client.read(16 * MIB)
        until(server, lambda: said(server, "waits_for_client") == [False])
        gate.set()

    def test_say_that_of_streams_too(self, serve: Serve, client_of: ClientOf) -> None:
        go_on = asyncio.Event()

        async def blocks() -> AsyncIterator[bytes]:
            for _ in range(16 * 16):
                yield b"x" * (MIB // 16)
            await go_on.wait()

        server = serve(app_of(blocks), validate=False)
        client = client_of(server)
        client.send(b"GET /stream HTTP/1.0\r\n\r\n")
        until(server, lambda: said(server, "waits_for_client") == [True])
        client.read(16 * MIB)
        until(server, lambda: said(server, "waits_for_client") == [False])
        server.started.result().call_soon_threadsafe(go_on.set)

    def test_say_that_they_wait_for_their_bodies(self, serve: Serve, client_of: ClientOf) -> None:
        gate = threading.Event()

        def app(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
            environ["wsgi.input"].read(8)
            assert gate.wait(TIMEOUT)
            return list(hello(environ, start_response))

        server = serve(app, body_buffer_size=1)
        client = client_of(server)
        client.send(POST)
        until(server, lambda: said(server, "waits_for_client") == [True])
        client.send(b"eggs")
        until(server, lambda: said(server, "waits_for_client") == [False])
        gate.set()
        assert client.reply().status == 200

    def test_say_that_they_are_answered_while_they_tidy_up(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        gates = [threading.Event(), threading.Event()]

        class Body:
            def __iter__(self) -> Iterator[bytes]:
                yield b"spam"
                assert gates[0].wait(TIMEOUT)
                yield b"eggs"

            def close(self) -> None:
                assert gates[1].wait(TIMEOUT)

        def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", [*PLAIN, ("Content-Length", "8")])
            return Body()

        server = serve(app)
        client = client_of(server)
        client.request()
        read_head(client)
        assert client.read(4) == b"spam"
        assert not only_request(server).is_answered
        gates[0].set()
        assert client.read(4) == b"eggs"
        until(server, lambda: said(server, "is_answered") == [True])
        gates[1].set()

    @leavings
    def test_say_that_their_client_has_left(
        self, serve: Serve, client_of: ClientOf, leave: Callable[[Client], None]
    ) -> None:
        gate = Gate()
        server = serve(gate)
        client = client_of(server)
        client.request(target="/held")
        gate.wait_until_entered()
        assert not only_request(server).has_disconnected
        leave(client)
        until(server, lambda: said(server, "has_disconnected") == [True])
        gate.open()

    @pytest.mark.usefixtures("patience")
    async def test_say_that_they_were_cut(self) -> None:
        gate = threading.Event()

        def app(environ: dict[str, Any], start_response: StartResponse) -> Iterator[bytes]:
            start_response("200 OK", EVENTS)
            yield b"spam"
            assert gate.wait(TIMEOUT)

        async with connected(app) as (server, client):
            client.request()
            await asyncio.to_thread(client.sock.recv, 1)
            assert [request.was_cut for request in server.snapshot().requests] == [False]
            stopping = asyncio.create_task(server.shutdown())
            await asyncio.to_thread(client.read_all)
            assert [request.was_cut for request in server.snapshot().requests] == [True]
            gate.set()
            await soon(stopping)
            assert server.snapshot().requests == ()


class TestServer:
    def test_counts_connections_requests_and_refusals(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        server = serve(hello, threads=3)
        client, refused = client_of(server), client_of(server)
        for _ in range(3):
            assert client.get().status == 200
        refused.send(b"spam\r\n\r\n")
        assert refused.reply().status == 400
        snapshot = server.server.snapshot()
        assert snapshot.accepted_count == 2
        assert snapshot.submitted_count == 3
        assert snapshot.refused_count == 1

    def test_knows_its_threads(self, serve: Serve, client_of: ClientOf) -> None:
        server = serve(hello, threads=3)
        assert client_of(server).get().status == 200
        snapshot = server.server.snapshot()
        assert (snapshot.thread_limit, snapshot.thread_count) == (3, 1)

    def test_knows_nothing_of_an_executors(self, serve: Serve) -> None:
        with ThreadPoolExecutor(1) as executor:
            snapshot = serve(hello, executor=executor).server.snapshot()
            assert (snapshot.thread_limit, snapshot.thread_count) == (None, None)

    async def test_has_nothing_to_say_before_its_start(self) -> None:
        assert Server(hello, port=0).snapshot(stacks=True) == EMPTY

    async def test_says_that_it_drains_and_keeps_its_counts_when_it_has_stopped(self) -> None:
        async with request_in_flight() as flight:
            assert not flight.server.snapshot().is_draining
            stopping = await flight.begin_shutdown()
            assert flight.server.snapshot().is_draining
            flight.application.release()
            await soon(stopping)
            snapshot = flight.server.snapshot(stacks=True)
        assert (snapshot.connections, snapshot.requests) == ((), ())
        assert (snapshot.accepted_count, snapshot.submitted_count) == (2, 1)
        assert snapshot.is_draining

    async def test_says_where_its_lifespan_hangs_on_its_way_out(self) -> None:
        leaving, release = asyncio.Event(), asyncio.Event()

        @contextlib.asynccontextmanager
        async def lifespan() -> AsyncIterator[None]:
            yield
            leaving.set()
            await release.wait()  # the lifespan's own line

        server = Server(hello, port=0, lifespan=lifespan)
        await server.start()
        assert server.snapshot(stacks=True).lifespan == ""
        stopping = asyncio.create_task(server.shutdown())
        await soon(leaving.wait())
        assert "await release.wait()  # the lifespan's own line" in (
            server.snapshot(stacks=True).lifespan
        )
        assert server.snapshot().lifespan == ""
        release.set()
        await soon(stopping)


def hammer(server: LiveServer, number: int) -> None:
    """Be a client of every kind in turn, some of them rude."""
    for turn in range(8):
        with connect(server.addresses[0]) as client:
            kind = (number + turn) % 4
            if kind == 0:
                assert client.get().body == b"ordinary"
            elif kind == 1:
                client.request("POST", Content_Length="100000")
                client.send(b"x" * 1000)
            elif kind == 2:
                open_stream(client)
            else:
                client.send(b"spam\r\n\r\n")
                assert client.reply().status == 400
            if turn % 2:
                client.reset()


def test_it_may_be_taken_from_any_thread_while_very_many_clients_come_and_go(
    serve: Serve,
) -> None:
    async def blocks() -> AsyncIterator[bytes]:
        yield b"first\n"
        await asyncio.Event().wait()

    server = serve(app_of(blocks, EVENTS), validate=False, threads=8, body_buffer_size=100)
    with ThreadPoolExecutor(64) as clients:
        hammering = [clients.submit(hammer, server, number) for number in range(64)]
        taken = 0
        while not all(client.done() for client in hammering):
            snapshot = server.server.snapshot(stacks=bool(taken % 2))
            keys = [request.key for request in snapshot.requests]
            assert len(keys) == len(set(keys))
            assert min((request.age for request in snapshot.requests), default=0.0) >= 0.0
            taken += 1
        assert taken
    for client in hammering:
        client.result()
    server.close()
    assert server.server.snapshot().connections == ()
    assert server.server.snapshot().requests == ()
