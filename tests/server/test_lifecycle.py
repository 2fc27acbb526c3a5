"""From start to stop, in a loop that is somebody else's."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from asyncwsgi import BindError, Config, ConfigError, Server, from_thread, serve
from asyncwsgi.access_log import AccessLogger
from asyncwsgi.config import Loop
from asyncwsgi.event_loops import loop_factory
from asyncwsgi.running import ServerThread
from asyncwsgi.server.ticker import Ticker
from tests.apps import Held, echo, hello, show_environ
from tests.client import TIMEOUT, Client, connect, reserved_port
from tests.loops import LOOPS
from tests.requests.test_worker_threads import SlowToLetGo
from tests.server.helpers import (
    FOREVER,
    aget,
    begin_shutdown,
    descriptors,
    get,
    in_threads,
    refuses,
    request_in_flight,
    soon,
    turns,
)

if TYPE_CHECKING:
    from wsgiref.types import StartResponse


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

    @pytest.mark.parametrize("step", ["the first parts", "the clock"])
    async def test_a_start_that_fails_leaves_nothing(
        self, step: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class NoParts(AccessLogger):
            def __init__(self, line_format: str) -> None:
                raise ZeroDivisionError

        def no_clock(_: Ticker) -> None:
            raise ZeroDivisionError

        async with Server(hello, port=0):
            pass  # a loop opens some things once and for all
        await turns()
        tasks, files = asyncio.all_tasks(), descriptors()
        server = Server(hello, port=0)
        if step == "the first parts":
            monkeypatch.setattr(server, "access_logger_class", NoParts)
        else:
            monkeypatch.setattr(Ticker, "start", no_clock)
        with pytest.raises(ZeroDivisionError):
            await server.start()
        monkeypatch.undo()
        await turns()  # uvloop closes what it is told to when it comes round
        assert (asyncio.all_tasks(), descriptors()) == (tasks, files)
        last = weakref.ref(server)
        del server
        gc.collect()
        assert last() is None

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
        with pytest.raises(ConfigError, match="'app' is a str, no WSGI application; expected"):
            Server("app")  # type: ignore[arg-type]

    def test_an_asgi_application_is_refused(self) -> None:
        async def asgi(scope: Any, receive: Any, send: Any) -> None: ...

        with pytest.raises(ConfigError, match=r"the application .* is asynchronous, as ASGI"):
            Server(asgi)  # type: ignore[arg-type]

    def test_an_unknown_option_is_refused_with_the_nearest_one(self) -> None:
        with pytest.raises(ConfigError, match=r"no option 'thread'; did you mean 'threads'\?"):
            Server(hello, thread=4)

    @pytest.mark.parametrize("name", ["url", "port"])
    def test_where_it_listens_is_not_known_before_the_start(self, name: str) -> None:
        with pytest.raises(RuntimeError, match=r"has not started.*`async with`, or await start"):
            getattr(Server(hello, port=8000), name)


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

    async def test_who_asked_for_it_need_not_wait(self) -> None:
        async with request_in_flight() as held:
            held.server.begin_shutdown()
            await asyncio.to_thread(held.idle.is_closed)
            held.application.release()
            assert (await held.reply()).status == 200
            await soon(held.server.serve_forever())

    async def test_a_shielded_one_goes_on_without_the_one_who_asked_for_it(self) -> None:
        async with request_in_flight() as held:
            task = asyncio.ensure_future(asyncio.shield(held.server.shutdown()))
            await asyncio.to_thread(held.idle.is_closed)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            held.application.release()
            assert (await held.reply()).status == 200
            await soon(held.server.serve_forever())

    @pytest.mark.parametrize("call", [Server.shutdown, Server.stop_accepting, Server.serve_forever])
    async def test_another_loop_is_told_that_it_cannot_have_it(
        self, call: Callable[[Server], Coroutine[Any, Any, None]]
    ) -> None:
        async with Server(hello, port=0) as server:
            with pytest.raises(RuntimeError, match=r"another event loop.*run_coroutine_threadsafe"):
                await asyncio.to_thread(lambda: asyncio.run(call(server)))
            assert (await aget(server.addresses[0])).status == 200

    @pytest.mark.parametrize("call", [Server.abort, Server.begin_shutdown])
    async def test_another_thread_is_told_that_it_cannot_have_it(
        self, call: Callable[[Server], None]
    ) -> None:
        async with request_in_flight() as held:
            with pytest.raises(RuntimeError, match=r"another event loop.*run_coroutine_threadsafe"):
                await asyncio.to_thread(call, held.server)
            held.application.release()
            assert (await held.reply()).header("Connection") is None

    async def test_it_may_be_asked_for_before_the_start(self) -> None:
        server = Server(hello, port=0)
        server.abort()
        await server.shutdown()
        await server.serve_forever()

    async def test_behind_it_a_start_leaves_nothing_open(self) -> None:
        server = Server(hello, port=0)
        await server.shutdown()
        await server.start()
        assert refuses(server.addresses[0])

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


class TestACut:
    """A shutdown that is not let wait ends, too, and all see it."""

    async def test_who_cancels_a_shutdown_cuts_what_is_in_flight(self) -> None:
        async with request_in_flight(graceful_timeout=FOREVER) as held:
            stopping = await held.begin_shutdown()
            stopping.cancel()
            with pytest.raises(asyncio.CancelledError):
                await stopping
            assert await asyncio.to_thread(held.client.is_closed)
            held.application.release()
            await soon(held.server.serve_forever())

    async def test_who_cancels_a_shutdown_cancels_background_work(self) -> None:
        began = asyncio.Event()
        work = BackgroundWork(began)
        server = Server(work, port=0, graceful_timeout=FOREVER)
        await server.start()
        await aget(server.addresses[0])
        await soon(began.wait())
        stopping = await begin_shutdown(server)
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping
        await soon(server.serve_forever())
        assert work.was_cancelled

    async def test_a_cancelled_scope_of_anyio_leaves_no_client_waiting(self) -> None:
        # anyio cancels again at each await, also in the end of the block.
        held = Held()
        with anyio.CancelScope() as scope:
            async with Server(held, port=0, graceful_timeout=FOREVER) as server:
                client = connect(server.addresses[0])
                client.request()
                await asyncio.to_thread(held.wait_until_entered)
                scope.cancel()
        with client:
            assert await asyncio.to_thread(client.is_closed)
        held.release()
        await soon(server.serve_forever())
        assert refuses(server.addresses[0])

    async def test_a_shielded_scope_of_anyio_drains(self) -> None:
        async with request_in_flight() as held:
            with anyio.CancelScope() as scope:
                scope.cancel()
                with anyio.CancelScope(shield=True):
                    stopping = asyncio.create_task(asyncio.to_thread(held.idle.is_closed))
                    stopping.add_done_callback(lambda _: held.application.release())
                    await held.server.shutdown()
            assert (await held.reply()).status == 200

    @pytest.mark.parametrize("loop", LOOPS)
    def test_the_end_of_the_loop_is_one(self, loop: Loop) -> None:
        held = Held()
        before = set(threading.enumerate())

        async def serve_and_leave() -> tuple[Server, Client]:
            server = Server(held, port=0)
            await server.start()
            client = connect(server.addresses[0])
            client.request()
            await asyncio.to_thread(held.wait_until_entered)
            return server, client

        with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
            server, client = runner.run(serve_and_leave())
        with client:
            assert client.is_closed()
        assert refuses(server.addresses[0])
        held.release()
        for thread in set(threading.enumerate()) - before:
            thread.join(TIMEOUT)
            assert not thread.is_alive()

    async def test_cancelling_every_task_is_one(self) -> None:
        # aiohttp and others do so when they end. The block is left in peace.
        others = asyncio.all_tasks()
        async with Server(hello, port=0) as server:
            with connect(server.addresses[0]) as client:
                await asyncio.to_thread(client.get)
                for task in asyncio.all_tasks() - others:
                    task.cancel()
                assert await asyncio.to_thread(client.is_closed)

    @pytest.mark.parametrize("loop", LOOPS)
    def test_a_loop_that_is_closed_over_it_lets_go_of_its_port(self, loop: str) -> None:
        program = f"""
import asyncio, gc, logging
from asyncwsgi import Server
from asyncwsgi.event_loops import loop_factory
from tests.server.helpers import refuses

logging.getLogger("asyncio").disabled = True  # it says of each task that it was thrown away
loop = loop_factory({loop!r})()
server = Server(print, port=0)
loop.run_until_complete(server.start())
address = server.addresses[0]
loop.close()
del server, loop
gc.collect()
print(refuses(address))
"""
        ended = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=250
        )
        assert (ended.stdout, ended.stderr) == ("True\n", "")


class BackgroundWork:
    """An application whose background task never ends by itself."""

    def __init__(self, began: asyncio.Event) -> None:
        self._began = began
        self.was_cancelled = False

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        from_thread.create_task(self._work())
        return hello(environ, start_response)

    async def _work(self) -> None:
        self._began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise


class TestAFrozenClock:
    """Tests that freeze the time of their application (freezegun) have a server beside it."""

    @pytest.fixture(autouse=True)
    def frozen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now)

    @pytest.mark.parametrize("loop", LOOPS)
    def test_a_server_in_a_thread_has_timeouts(self, loop: Loop) -> None:
        server = ServerThread(Server(hello, port=0, loop=loop))
        server.server.arrival_timeout = 0.01  # for the client that has sent nothing
        with server, connect(server.addresses[0]) as silent, connect(server.addresses[0]) as kept:
            assert kept.get().status == 200
            server.close()
            assert kept.is_closed()
            assert silent.is_closed()

    def test_on_a_loop_of_the_program_neither_start_nor_stop_waits_for_it(self) -> None:
        slow = SlowToLetGo()  # so that the thread is looked at more than once

        def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
            slow.keep()
            return hello(environ, start_response)

        async def serve_once() -> None:
            server = Server(app, port=0)
            await server.start()
            assert (await aget(server.addresses[0])).status == 200
            server.begin_shutdown()
            await asyncio.to_thread(slow.is_let_go.wait, TIMEOUT)
            await turns()
            slow.may_end.set()
            await server.serve_forever()

        asyncio.run(serve_once())


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

    async def test_cancelling_it_again_cuts_them(self, listener: socket.socket) -> None:
        held = Held()
        before = set(threading.enumerate())
        options: dict[str, Any] = {"bind": f"fd://{listener.fileno()}"}
        task = asyncio.create_task(serve(held, graceful_timeout=FOREVER, **options))
        with connect(listener.getsockname()) as idle, connect(listener.getsockname()) as client:
            client.request()
            await asyncio.to_thread(held.wait_until_entered)
            task.cancel()
            await asyncio.to_thread(idle.is_closed)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(client.is_closed)
        held.release()
        workers = {t for t in threading.enumerate() if t.name.startswith("asyncwsgi-worker")}
        for thread in workers - before:
            await asyncio.to_thread(thread.join, TIMEOUT)
            assert not thread.is_alive()

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
