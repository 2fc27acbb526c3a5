"""From start to stop, in a loop that is somebody else's."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import threading
import weakref
from collections.abc import Iterator

import pytest

from asyncwsgi import BindError, Config, ConfigError, Server, serve
from asyncwsgi.config import Loop
from asyncwsgi.running import ServerThread
from tests.apps import Held, echo, hello, show_environ
from tests.client import connect, reserved_port
from tests.server.helpers import (
    FOREVER,
    LOOPS,
    aget,
    descriptors,
    get,
    in_threads,
    refuses,
    request_in_flight,
    soon,
    turns,
)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A listening socket of the test's own on 127.0.0.1."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock


@pytest.fixture
def taken(listener: socket.socket) -> int:
    """A port of 127.0.0.1 on which another program listens."""
    port: int = listener.getsockname()[1]
    return port


class TestStart:
    async def test_clients_are_served_when_start_returns(self) -> None:
        server = Server(hello, port=0)
        await server.start()
        assert (await aget(server.addresses[0])).body == b"Hello, world!"
        await server.shutdown()

    async def test_clients_are_served_inside_the_block_and_refused_behind_it(self) -> None:
        async with Server(hello, port=0) as server:
            address = server.addresses[0]
            assert (await aget(address)).status == 200
        assert refuses(address)

    async def test_options_come_as_a_config_too(self) -> None:
        async with Server(show_environ, Config(port=0, root_path="/api")) as server:
            assert b'"SCRIPT_NAME": "/api"' in (await aget(server.addresses[0])).body

    async def test_starting_a_running_server_again_raises(self) -> None:
        async with Server(hello, port=0) as server:
            with pytest.raises(RuntimeError, match="make a new Server"):
                await server.start()
            assert (await aget(server.addresses[0])).status == 200

    async def test_starting_a_stopped_server_again_raises(self) -> None:
        async with Server(hello, port=0) as server:
            pass
        with pytest.raises(RuntimeError, match="make a new Server"):
            await server.start()

    async def test_a_listener_that_cannot_be_had_leaves_none_open(self, taken: int) -> None:
        before = descriptors()
        with pytest.raises(BindError):
            await Server(hello, bind=("127.0.0.1:0", f"127.0.0.1:{taken}")).start()
        assert descriptors() == before

    @pytest.mark.parametrize("loop_turns", range(1, 5))
    async def test_a_start_that_is_cancelled_leaves_nothing_open(self, loop_turns: int) -> None:
        server = Server(hello, bind=("127.0.0.1:0", "[::1]:0"))
        starting = asyncio.create_task(server.start())
        await turns(loop_turns)
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting
            await server.shutdown()  # it was ready before
        assert all(refuses(address) for address in server.addresses)

    @pytest.mark.parametrize("loop_turns", range(1, 5))
    async def test_a_shutdown_during_the_start_stops_the_server(self, loop_turns: int) -> None:
        server = Server(hello, bind=("127.0.0.1:0", "[::1]:0"))
        starting = asyncio.create_task(server.start())
        await turns(loop_turns)
        await soon(server.shutdown())
        await starting
        await soon(server.serve_forever())
        try:
            assert all(refuses(address) for address in server.addresses)
        finally:
            await server.shutdown()

    async def test_a_failing_block_still_stops_the_server(self) -> None:
        server = Server(hello, port=0)
        with pytest.raises(ZeroDivisionError):
            async with server:
                _ = 1 // 0
        assert refuses(server.addresses[0])

    async def test_a_start_that_failed_can_be_shut_down(self, taken: int) -> None:
        server = Server(hello, port=taken)
        with pytest.raises(BindError):
            await server.start()
        await server.shutdown()
        await server.serve_forever()


class TestConstruction:
    def test_config_and_options_together_are_refused(self) -> None:
        with pytest.raises(ConfigError, match="not both"):
            Server(hello, Config(), port=0)

    def test_an_application_that_is_no_callable_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="'app' is not callable; expected a WSGI app"):
            Server("app")  # type: ignore[arg-type]

    def test_an_unknown_option_is_refused_with_the_nearest_one(self) -> None:
        with pytest.raises(ConfigError, match=r"no option 'thread'; did you mean 'threads'\?"):
            Server(hello, thread=4)


class TestShutdown:
    async def test_serve_forever_returns_after_it(self) -> None:
        server = Server(hello, port=0)
        await server.start()
        waiting = [asyncio.create_task(server.serve_forever()) for _ in range(3)]
        await server.shutdown()
        await asyncio.gather(*waiting)

    async def test_serve_forever_returns_at_once_behind_it(self) -> None:
        async with Server(hello, port=0) as server:
            pass
        await server.serve_forever()

    async def test_it_may_be_asked_for_again(self) -> None:
        async with Server(hello, port=0) as server:
            await server.shutdown()
            await server.shutdown()

    async def test_all_that_ask_for_it_at_the_same_time_wait_for_its_end(self) -> None:
        async with request_in_flight() as held:
            first = await held.begin_shutdown()
            others = [asyncio.create_task(held.server.shutdown()) for _ in range(3)]
            held.application.release()
            assert (await held.reply()).status == 200
            await asyncio.gather(first, *others)

    async def test_it_goes_on_without_the_one_who_asked_for_it(self) -> None:
        async with request_in_flight() as held:
            task = await held.begin_shutdown()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            held.application.release()
            assert (await held.reply()).status == 200
            await held.server.serve_forever()

    async def test_it_may_be_asked_for_before_the_start(self) -> None:
        server = Server(hello, port=0)
        server.abort()
        await server.shutdown()
        await server.serve_forever()

    async def test_a_stopped_server_may_be_aborted(self) -> None:
        async with Server(hello, port=0) as server:
            pass
        server.abort()

    async def test_the_port_can_be_had_again_at_once(self) -> None:
        # The server closes first, so that the connection is remembered (TIME_WAIT) on its port.
        with reserved_port() as port:
            async with Server(hello, port=port) as server:
                with connect(server.addresses[0]) as client:
                    client.request(Connection="close")
                    assert (await asyncio.to_thread(client.reply)).status == 200
                    await asyncio.to_thread(client.is_closed)
            async with Server(hello, port=port) as again:
                assert (await aget(again.addresses[0])).status == 200


class TestSeveralServersInOneLoop:
    async def test_each_serves_its_own_application(self) -> None:
        async with Server(hello, port=0) as first, Server(show_environ, port=0) as second:
            assert (await aget(first.addresses[0])).body == b"Hello, world!"
            assert b"REQUEST_METHOD" in (await aget(second.addresses[0])).body

    async def test_stopping_one_leaves_the_others(self) -> None:
        async with Server(hello, port=0) as stays:
            async with Server(hello, port=0) as leaves:
                with connect(stays.addresses[0]) as client:
                    client.request()
                    await asyncio.to_thread(client.reply)
                    await leaves.shutdown()
                    client.request()
                    assert (await asyncio.to_thread(client.reply)).status == 200
            assert refuses(leaves.addresses[0])
            assert (await aget(stays.addresses[0])).status == 200


class TestServe:
    """`asyncwsgi.serve`, which serves until it is cancelled."""

    # An inherited listener takes connections before the server has started.

    async def test_cancelling_it_stops_the_server(self, listener: socket.socket) -> None:
        task = asyncio.create_task(serve(hello, bind=f"fd://{listener.fileno()}"))
        address = listener.getsockname()
        assert (await aget(address)).status == 200
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        listener.close()
        assert refuses(address)

    async def test_cancelling_it_lets_requests_in_flight_end(self, listener: socket.socket) -> None:
        held = Held()
        task = asyncio.create_task(serve(held, bind=f"fd://{listener.fileno()}"))
        with connect(listener.getsockname()) as idle, connect(listener.getsockname()) as client:
            client.request()
            await asyncio.to_thread(held.wait_until_entered)
            task.cancel()
            await asyncio.to_thread(idle.is_closed)
            held.release()
            assert (await asyncio.to_thread(client.reply)).status == 200
        with pytest.raises(asyncio.CancelledError):
            await task

    async def test_it_raises_what_prevents_the_start(self, taken: int) -> None:
        with pytest.raises(BindError):
            await serve(hello, port=taken)


class TestNothingIsLeft:
    """After a stop the process is as it was before the start."""

    @pytest.mark.parametrize("loop", LOOPS)
    def test_no_thread_and_no_descriptor(self, loop: Loop) -> None:
        def serve_some() -> None:
            server = ServerThread(Server(echo, bind=("localhost:0", "[::1]:0"), loop=loop))
            with server, connect(server.addresses[0]) as kept:
                assert kept.post("/", b"x").body == b"x"
                in_threads(*[lambda: get(server.addresses[1])] * 8)
                server.close()
                assert kept.is_closed()

        serve_some()  # a loop's library may open something once and for all
        threads, files = set(threading.enumerate()), descriptors()
        serve_some()
        assert set(threading.enumerate()) <= threads
        assert descriptors().items() <= files.items()

    @pytest.mark.parametrize("loop_turns", [2, 20], ids=["in mid start", "in operation"])
    async def test_the_loop_keeps_no_hold_of_it(self, loop_turns: int) -> None:
        # A program that starts one server after the other would grow.
        server = Server(hello, bind=("127.0.0.1:0", "[::1]:0"))
        starting = asyncio.create_task(server.start())
        await turns(loop_turns)
        await server.shutdown()
        await starting
        del starting
        last = weakref.ref(server)
        del server
        await turns()
        gc.collect()
        assert last() is None

    async def test_no_task(self) -> None:
        before = asyncio.all_tasks()
        async with Server(hello, port=0, graceful_timeout=FOREVER) as server:
            with connect(server.addresses[0]) as client:
                client.request()
                await asyncio.to_thread(client.reply)
        assert asyncio.all_tasks() == before
