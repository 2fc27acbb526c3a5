"""What a stopping server still does for its clients, and for how long."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asyncwsgi import ClientDisconnected, Server
from asyncwsgi.requests import dispatcher
from tests.apps import Endless, Held, echo, hello
from tests.client import connect
from tests.server.helpers import (
    FOREVER,
    TwoBlocks,
    aget,
    begin_shutdown,
    connected,
    refuses,
    request_in_flight,
    soon,
    turns,
    until_read,
)

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

SOON = 0.05
"""A `graceful_timeout` for tests in which it has to pass."""


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Applications that hang here hang on: they need no second to notice that they were cut."""
    monkeypatch.setattr("asyncwsgi.server.server.CUT_TIMEOUT", 0)
    monkeypatch.setattr(Server, "arrival_timeout", 0)


class TestAtOnce:
    """What happens before the last request has ended."""

    async def test_the_listener_closes(self) -> None:
        async with request_in_flight() as held:
            stopping = await held.begin_shutdown()
            assert refuses(held.address)
            assert not stopping.done()

    async def test_a_unix_listener_closes(self, tmp_path: Path) -> None:
        async with request_in_flight(bind=f"unix:{tmp_path}/socket") as held:
            stopping = await held.begin_shutdown()
            assert refuses(held.address)
            assert not stopping.done()

    @pytest.mark.parametrize(
        "sent",
        [
            pytest.param(b"", id="that has sent nothing"),
            pytest.param(b"GET / HTTP/1.1\r\nHost: te", id="in mid head"),
            pytest.param(b"no HTTP\r\n\r\n", id="that was refused and does not leave"),
        ],
    )
    async def test_a_connection_without_a_request_closes(self, sent: bytes) -> None:
        async with connected(hello, graceful_timeout=FOREVER, drain_timeout=FOREVER) as (
            server,
            client,
        ):
            client.send(sent)
            await until_read(server.addresses[0])
            await soon(server.shutdown())
            await asyncio.to_thread(client.read_all)

    async def test_a_connection_that_waits_for_its_next_request_closes(self) -> None:
        async with connected(hello, graceful_timeout=FOREVER) as (server, client):
            client.request()
            reply = await asyncio.to_thread(client.reply)
            assert reply.header("Connection") is None
            await soon(server.shutdown())
            assert await asyncio.to_thread(client.is_closed)

    @pytest.mark.parametrize("loop_turns", range(5))
    async def test_a_client_that_comes_in_that_moment_is_not_left_waiting(
        self, loop_turns: int
    ) -> None:
        # asyncio accepts a connection on one turn and serves it on a later one.
        async with connected(hello) as (server, client):
            await turns(loop_turns)
            await soon(server.shutdown())
            with contextlib.suppress(ConnectionResetError):  # it was never accepted
                assert await asyncio.to_thread(client.is_closed)


class TestARequestInFlight:
    async def test_ends_and_says_that_its_connection_closes(self) -> None:
        # RFC 9112 9.6: the server sends "close" in the last response on a connection.
        async with request_in_flight() as held:
            stopping = await held.begin_shutdown()
            held.application.release()
            reply = await held.reply()
            assert (reply.status, reply.body) == (200, b"Hello, world!")
            assert reply.header("Connection") == "close"
            assert await asyncio.to_thread(held.client.is_closed)
            await soon(stopping)

    async def test_ends_its_response_if_that_had_begun(self) -> None:
        app = TwoBlocks()
        async with connected(app) as (server, client):
            client.request()
            assert await asyncio.to_thread(client.read_line) == b"HTTP/1.1 200 OK\r\n"
            stopping = await begin_shutdown(server)
            app.release()
            rest = await asyncio.to_thread(client.read_all)
            assert rest.endswith(b"\r\n\r\n6\r\nfirst \r\n6\r\nsecond\r\n0\r\n\r\n")
            await soon(stopping)

    async def test_still_receives_its_body(self) -> None:
        async with connected(echo) as (server, client):
            client.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nfirst")
            await until_read(server.addresses[0])
            stopping = await begin_shutdown(server)
            client.send(b" last")
            reply = await asyncio.to_thread(client.reply)
            assert (reply.body, reply.header("Connection")) == (b"first last", "close")
            await soon(stopping)

    async def test_that_is_a_complete_event_stream_may_tidy_up(self) -> None:
        read, gate = threading.Event(), threading.Event()

        class Body(list[bytes]):
            def close(self) -> None:
                read.set()
                gate.wait()

        def app(_environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", [("Content-Type", "text/event-stream")])
            return Body([b"data: ", b"the last\n\n"])

        async with connected(app, graceful_timeout=FOREVER) as (server, client):
            client.request()
            assert (await asyncio.to_thread(client.reply)).body == b"data: the last\n\n"
            await asyncio.to_thread(read.wait)
            stopping = await begin_shutdown(server)
            cut = set(server._dispatcher.cut_exchanges)
            gate.set()
            await soon(stopping)
            assert cut == set()

    async def test_ends_even_if_it_waits_for_a_thread(self) -> None:
        async with request_in_flight(threads=1) as held:
            with connect(held.address) as queued:
                queued.request("GET", "/queued")
                await until_read(held.address)
                stopping = await held.begin_shutdown()
                held.application.release()
                assert (await asyncio.to_thread(queued.reply)).status == 200
                await soon(stopping)

    async def test_is_the_last_of_its_connection(self) -> None:
        async with request_in_flight() as held:
            held.client.request("GET", "/pipelined")
            await until_read(held.address)
            await held.begin_shutdown()
            held.application.release()
            assert (await held.reply()).status == 200
            # The request behind it was not answered; RFC 9112 9.6 lets the client repeat it.
            assert await asyncio.to_thread(held.client.is_closed)
            held.client.close()


class TestAResponseWithoutAnEnd:
    """An event stream would hold up every stop: its client is sent away at once."""

    async def test_is_cut_at_once_and_closed(self) -> None:
        app = EventStream()
        async with connected(app, graceful_timeout=FOREVER) as (server, client):
            client.request()
            assert await asyncio.to_thread(client.read_line) == b"HTTP/1.1 200 OK\r\n"
            stopping = asyncio.create_task(server.shutdown())
            assert not (await asyncio.to_thread(client.read_all)).endswith(b"0\r\n\r\n")
            app.release()
            assert await asyncio.to_thread(app.was_closed.wait, 10)
            await soon(stopping)
        assert isinstance(app.raised, ClientDisconnected)

    async def test_is_not_waited_for(self) -> None:
        app = EventStream()
        async with connected(app, graceful_timeout=FOREVER) as (server, client):
            client.request()
            assert await asyncio.to_thread(client.read_line) == b"HTTP/1.1 200 OK\r\n"
            await soon(server.shutdown())
            assert not app.was_closed.is_set()
            app.release()

    async def test_is_cut_though_nothing_of_it_was_sent(self) -> None:
        app = EventStream(events=0)
        async with connected(app, graceful_timeout=FOREVER) as (server, client):
            client.request()
            assert await asyncio.to_thread(app.was_called.wait, 10)
            await soon(server.shutdown())
            assert await asyncio.to_thread(client.is_closed)
            app.release()

    async def test_is_cut_if_it_is_called_while_the_server_stops_and_sends_nothing(self) -> None:
        app = EventStream(events=0)
        async with request_in_flight(app, graceful_timeout=FOREVER) as held:
            stopping = await held.begin_shutdown()
            held.application.release()
            assert await asyncio.to_thread(held.client.is_closed)
            await soon(stopping)
            app.release()

    @pytest.mark.parametrize("events", [0, 1])
    async def test_begins_before_it_is_cut(
        self, events: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # To a proxy, a connection that is closed without an answer is a server that fails: 502.
        monkeypatch.setattr(dispatcher, "FIRST_BLOCK_TIMEOUT", FOREVER)
        app = EventStream(events=events)
        async with request_in_flight(app, graceful_timeout=FOREVER) as held:
            stopping = await held.begin_shutdown()
            held.application.release()
            app.release()
            received = await asyncio.to_thread(held.client.read_all)
            assert received.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"\r\n\r\n" in received
            await soon(stopping)

    async def test_is_not_waited_for_though_its_client_has_left_before(self) -> None:
        app = EventStream(events=0)
        options: dict[str, Any] = {"graceful_timeout": FOREVER}
        options["thread_idle_timeout"] = 0.04  # a fast clock
        async with request_in_flight(app, **options) as held:
            held.client.reset()
            stopping = await held.begin_shutdown()
            await soon(held.server._registry.wait_until_empty())
            held.application.release()
            await soon(stopping)
            app.release()

    async def test_is_cut_though_its_client_does_not_read(self) -> None:
        app = Endless(media_type="text/event-stream")
        async with connected(app, graceful_timeout=FOREVER, send_timeout=FOREVER) as (
            server,
            client,
        ):
            client.request()
            assert await asyncio.to_thread(client.read_line) == b"HTTP/1.1 200 OK\r\n"
            await soon(server.shutdown())
            assert await asyncio.to_thread(app.was_closed.wait, 10)

    async def test_does_not_take_others_along(self) -> None:
        held, events = Held(), EventStream()

        def both(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
            app = events if environ["PATH_INFO"] == "/events" else held
            return app(environ, start_response)

        async with connected(both, graceful_timeout=FOREVER) as (server, client):
            client.request()
            await asyncio.to_thread(held.wait_until_entered)
            with connect(server.addresses[0]) as other:
                other.request("GET", "/events")
                assert await asyncio.to_thread(other.read_line) == b"HTTP/1.1 200 OK\r\n"
                stopping = asyncio.create_task(server.shutdown())
                await asyncio.to_thread(other.read_all)
            held.release()
            assert (await asyncio.to_thread(client.reply)).body == b"Hello, world!"
            await soon(stopping)
            events.release()


class TestARequestOnItsWay:
    """What a client sent before it could know of the stop is answered."""

    @pytest.fixture(autouse=True)
    def patience(self, impatience: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Server, "arrival_timeout", FOREVER)

    @pytest.mark.parametrize("has_successor", [False, True])
    @pytest.mark.parametrize("sent", [0, 20])
    async def test_on_a_new_connection_is_answered(self, sent: int, has_successor: bool) -> None:
        request = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
        async with connected(hello, graceful_timeout=FOREVER) as (server, client):
            client.send(request[:sent])
            await until_read(server.addresses[0])
            stopping = asyncio.create_task(server.shutdown(has_successor=has_successor))
            await soon(server.stop_accepting())
            await turns()
            client.send(request[sent:])
            reply = await asyncio.to_thread(client.reply)
            assert (reply.status, reply.header("Connection")) == (200, "close")
            await soon(stopping)

    async def test_on_a_kept_connection_is_answered_if_there_is_a_successor(self) -> None:
        async with connected(hello, graceful_timeout=FOREVER) as (server, client):
            await asyncio.to_thread(client.get)
            stopping = asyncio.create_task(server.shutdown(has_successor=True))
            await soon(server.stop_accepting())
            await turns()
            reply = await asyncio.to_thread(client.get)
            assert (reply.status, reply.header("Connection")) == (200, "close")
            await soon(stopping)

    async def test_on_a_kept_connection_is_not_waited_for_otherwise(self) -> None:
        async with connected(hello, graceful_timeout=FOREVER) as (server, client):
            await asyncio.to_thread(client.get)
            await soon(server.shutdown())
            assert await asyncio.to_thread(client.is_closed)

    @pytest.mark.parametrize("has_successor", [False, True])
    async def test_is_not_waited_for_longer_than_graceful_timeout(
        self, has_successor: bool
    ) -> None:
        async with connected(hello, graceful_timeout=SOON) as (server, client):
            await until_read(server.addresses[0])
            await soon(server.shutdown(has_successor=has_successor))
            assert await asyncio.to_thread(client.is_closed)

    async def test_a_response_that_promised_to_keep_the_connection_is_not_its_last(self) -> None:
        # The client may send its next request before it can know of the stop.
        app = TwoBlocks()
        async with connected(app, graceful_timeout=FOREVER) as (server, client):
            client.request()
            assert await asyncio.to_thread(client.read_line) == b"HTTP/1.1 200 OK\r\n"
            stopping = asyncio.create_task(server.shutdown(has_successor=True))
            await soon(server.stop_accepting())
            app.release()
            while await asyncio.to_thread(client.read_line) != b"second\r\n":
                pass
            assert await asyncio.to_thread(client.read, 5) == b"0\r\n\r\n"
            reply = await asyncio.to_thread(client.get)
            assert reply.header("Connection") == "close"
            await soon(stopping)


class TestStopAccepting:
    async def test_the_listeners_close_and_what_is_connected_stays_served(
        self, tmp_path: Path
    ) -> None:
        bind = ("127.0.0.1:0", f"unix:{tmp_path}/socket")
        async with connected(hello, bind=bind) as (server, client):
            await until_read(server.addresses[0])
            await server.stop_accepting()
            assert all(refuses(address) for address in server.addresses)
            for _ in range(2):
                reply = await asyncio.to_thread(client.get)
                assert (reply.status, reply.header("Connection")) == (200, None)

    async def test_it_may_be_asked_for_again(self, tmp_path: Path) -> None:
        path = f"unix:{tmp_path}/socket"
        async with connected(hello, bind=path) as (server, _):
            await asyncio.gather(server.stop_accepting(), server.stop_accepting())
            async with Server(hello, bind=path) as next_server:
                await server.stop_accepting()
                assert (await aget(next_server.addresses[0])).status == 200

    async def test_before_the_start_there_is_nothing_to_stop(self) -> None:
        server = Server(hello, port=0)
        await server.stop_accepting()
        async with server:
            assert (await aget(server.addresses[0])).status == 200


class TestGracefulTimeout:
    """What has not ended when it has passed is cut."""

    async def test_a_hung_application_does_not_hold_up_the_stop(self) -> None:
        async with request_in_flight(graceful_timeout=SOON) as held:
            await soon(held.server.shutdown())
            assert await asyncio.to_thread(held.client.is_closed)

    async def test_zero_cuts_at_once(self) -> None:
        async with request_in_flight(graceful_timeout=0) as held:
            await soon(held.server.shutdown())
            assert await asyncio.to_thread(held.client.is_closed)

    async def test_a_warning_names_what_was_cut(self, caplog: pytest.LogCaptureFixture) -> None:
        async with request_in_flight(graceful_timeout=SOON) as held:
            await soon(held.server.shutdown())
        (warning,) = warnings_of(caplog)
        assert "graceful_timeout of 0.05 s" in warning
        assert warning.endswith("in flight: GET /")

    async def test_the_warning_names_five_at_most(self, caplog: pytest.LogCaptureFixture) -> None:
        async with request_in_flight(graceful_timeout=SOON) as held:
            clients = [connect(held.address) for _ in range(7)]
            for client in clients:
                client.request()
            await asyncio.to_thread(held.application.wait_until_entered, 7)
            await soon(held.server.shutdown())
            for client in clients:
                client.close()
        (warning,) = warnings_of(caplog)
        assert warning.count("GET /") == 5

    async def test_no_warning_is_given_when_all_have_ended(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with request_in_flight() as held:
            stopping = await held.begin_shutdown()
            held.application.release()
            await held.reply()
            await soon(stopping)
        assert warnings_of(caplog) == []

    async def test_the_client_of_a_cut_response_sees_that_it_is_not_whole(self) -> None:
        async with connected(Endless(), graceful_timeout=SOON) as (server, client):
            client.request()
            assert await asyncio.to_thread(client.read_line) == b"HTTP/1.1 200 OK\r\n"
            await soon(server.shutdown())
            # RFC 9112 8: a chunked body without its last chunk is incomplete. And the end is an
            # end: after a reset the client could not have what had been sent before.
            assert not (await asyncio.to_thread(client.read_all)).endswith(b"0\r\n\r\n")

    async def test_the_iterable_of_a_cut_response_is_closed(self) -> None:
        app = Endless()
        async with connected(app, graceful_timeout=SOON) as (server, client):
            client.request()
            assert await asyncio.to_thread(client.read_line) == b"HTTP/1.1 200 OK\r\n"
            await soon(server.shutdown())
            assert await asyncio.to_thread(app.was_closed.wait, 10)
        assert app.closings == 1

    async def test_an_application_that_waits_for_a_body_hears_of_the_cut(self) -> None:
        app = Reading()
        async with connected(app, graceful_timeout=SOON) as (server, client):
            client.send(
                b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n"
                b"Expect: 100-continue\r\n\r\n"
            )
            assert await asyncio.to_thread(client.read_line) == b"HTTP/1.1 100 Continue\r\n"
            await soon(server.shutdown())
        assert await asyncio.to_thread(app.failed.wait, 10)


class TestAbort:
    async def test_it_cuts_connections_and_the_server_goes_on(self) -> None:
        async with request_in_flight() as held:
            held.server.abort()
            assert await asyncio.to_thread(held.idle.is_closed)
            assert await asyncio.to_thread(held.client.is_closed)
            held.application.release()
            assert (await aget(held.address)).status == 200

    async def test_a_shutdown_that_waits_for_a_request_then_ends(self) -> None:
        async with request_in_flight(graceful_timeout=FOREVER) as held:
            stopping = await held.begin_shutdown()
            held.server.abort()
            # The application hangs on: a thread cannot be killed, only left behind.
            await soon(stopping)
            assert await asyncio.to_thread(held.client.is_closed)

    async def test_a_later_shutdown_still_lets_requests_end(self) -> None:
        app = TwoBlocks()
        async with connected(app, graceful_timeout=FOREVER) as (server, idle):
            await until_read(server.addresses[0])
            server.abort()
            assert await asyncio.to_thread(idle.is_closed)
            with connect(server.addresses[0]) as client:
                client.request()
                assert await asyncio.to_thread(client.read_line) == b"HTTP/1.1 200 OK\r\n"
                stopping = await begin_shutdown(server)
                assert not stopping.done()
                app.release()
                received = await asyncio.to_thread(client.read_all)
                assert received.endswith(b"second\r\n0\r\n\r\n")
                await soon(stopping)

    async def test_a_shutdown_that_waits_for_a_slow_client_then_ends(self) -> None:
        app = Endless()
        async with connected(app, graceful_timeout=FOREVER, send_timeout=FOREVER) as (
            server,
            client,
        ):
            client.request()
            assert await asyncio.to_thread(client.read_line) == b"HTTP/1.1 200 OK\r\n"
            stopping = await begin_shutdown(server)
            server.abort()
            await soon(stopping)
        assert await asyncio.to_thread(app.was_closed.wait, 10)


class Reading:
    """Reads the request body; `failed` is set when that fails."""

    def __init__(self) -> None:
        self.failed = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        try:
            environ["wsgi.input"].read()
        except OSError:
            self.failed.set()
            raise
        return hello(environ, start_response)


class EventStream:
    """Sends `events`, waits for the test, sends another one; keeps what that raised."""

    def __init__(self, events: int = 1) -> None:
        self._events = events
        self._release = threading.Event()
        self.was_called = threading.Event()
        self.was_closed = threading.Event()
        self.raised: BaseException | None = None

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", [("Content-Type", "text/event-stream; charset=utf-8")])
        self.was_called.set()
        for _ in range(self._events):
            write(b"data: an event\n\n")
        assert self._release.wait(10), "the test never asked for another event"
        try:
            write(b"data: another one\n\n")
        except BaseException as error:
            self.raised = error
            raise
        finally:
            self.was_closed.set()
        return []

    def release(self) -> None:
        self._release.set()


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
