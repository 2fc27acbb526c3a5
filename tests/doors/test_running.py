"""The doors for programs: `serve_in_thread`, `run`, and the choice of a loop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from textwrap import dedent
from typing import Any

import pytest

from asyncwsgi import BindError, Config, ConfigError, Server, ServerThread, serve_in_thread
from asyncwsgi.config import Loop
from asyncwsgi.event_loops import loop_factory
from tests.apps import Held, hello
from tests.client import TIMEOUT, Reply, connect, reserved_port
from tests.doors.conftest import Start
from tests.doors.processes import address_of
from tests.loops import LOOPS

OwnThreads = Callable[[], list[str]]
each_loop = pytest.mark.parametrize("loop", LOOPS)


def get(server: ServerThread) -> Reply:
    with connect(server.addresses[0]) as client:
        return client.get()


@pytest.fixture
def own_threads() -> OwnThreads:
    """Tells the names of this package's threads, but for those that tests before have left."""
    before = set(threading.enumerate())
    return lambda: [
        thread.name
        for thread in threading.enumerate()
        if thread.name.startswith("asyncwsgi") and thread not in before
    ]


@each_loop
class TestServeInThread:
    def test_clients_are_served_inside_the_block_and_refused_behind_it(
        self, loop: Loop, own_threads: OwnThreads
    ) -> None:
        with reserved_port() as port:
            with serve_in_thread(hello, port=port, loop=loop) as server:
                assert get(server).body == b"Hello, world!"
            with pytest.raises(ConnectionRefusedError):
                get(server)
        assert own_threads() == []

    def test_it_knows_where_it_listens(self, loop: Loop) -> None:
        with serve_in_thread(hello, port=0, loop=loop) as server:
            assert server.addresses == (("127.0.0.1", server.port),)
            assert server.url == f"http://127.0.0.1:{server.port}"

    def test_options_come_as_a_config_too(self, loop: Loop) -> None:
        with serve_in_thread(hello, config=Config(port=0, loop=loop)) as server:
            assert get(server).status == 200

    def test_what_prevents_the_start_is_raised_on_entry(
        self, loop: Loop, taken: int, own_threads: OwnThreads
    ) -> None:
        with (
            pytest.raises(BindError, match="in use"),
            serve_in_thread(hello, port=taken, loop=loop),
        ):
            raise AssertionError("entered")
        assert own_threads() == []

    def test_bad_tls_files_are_raised_on_entry(self, loop: Loop) -> None:
        with (
            pytest.raises(ConfigError, match=r"missing\.pem"),
            serve_in_thread(hello, port=0, loop=loop, certfile="missing.pem"),
        ):
            raise AssertionError("entered")

    def test_bad_options_are_raised_at_once(self, loop: Loop) -> None:
        with pytest.raises(ConfigError, match="did you mean 'threads'"):
            serve_in_thread(hello, loop=loop, thread=1)

    def test_closing_it_again_does_nothing(self, loop: Loop) -> None:
        server = serve_in_thread(hello, port=0, loop=loop)
        server.close()
        with server:
            server.close()
            server.close()
        server.close()

    def test_closing_it_at_the_same_time_from_several_threads(
        self, loop: Loop, own_threads: OwnThreads
    ) -> None:
        held = Held()
        server = serve_in_thread(held, port=0, loop=loop)
        server.start()
        with connect(server.addresses[0]) as idle, connect(server.addresses[0]) as client:
            client.request()
            held.wait_until_entered()
            closing = [threading.Thread(target=server.close) for _ in range(4)]
            for thread in closing:
                thread.start()
            assert idle.is_closed()
            held.release()
            assert client.reply().status == 200
            for thread in closing:
                thread.join()
        assert own_threads() == []

    def test_a_loop_that_is_about_to_end_gets_no_tasks_that_it_would_not_run(
        self, loop: Loop
    ) -> None:
        ending, end = threading.Event(), threading.Event()
        begun: list[str] = []

        class Noting(Server):
            async def stop_accepting(self, **more: Any) -> None:
                begun.append("stop_accepting")
                await super().stop_accepting(**more)

        async def held() -> AsyncGenerator[None]:
            try:
                yield
            finally:
                ending.set()
                await asyncio.to_thread(end.wait, TIMEOUT)

        generator = held()

        @contextlib.asynccontextmanager
        async def lifespan() -> AsyncIterator[None]:
            await anext(generator)  # a loop that ends closes those that were begun
            yield

        thread = ServerThread(Noting(hello, port=0, loop=loop, lifespan=lifespan))
        thread.start()
        thread.shutdown()
        assert ending.wait(TIMEOUT)
        thread.shutdown()
        with ThreadPoolExecutor(1) as other:
            stopping = other.submit(thread.stop_accepting)
            end.set()
            stopping.result(TIMEOUT)
        thread.close()
        # By the end of the block in which it serves.
        assert begun == ["stop_accepting"]

    def test_leaving_the_block_lets_requests_in_flight_end(self, loop: Loop) -> None:
        held = Held()
        server = serve_in_thread(held, port=0, loop=loop)
        server.start()
        with connect(server.addresses[0]) as idle, connect(server.addresses[0]) as client:
            client.request()
            held.wait_until_entered()
            closing = threading.Thread(target=server.close)
            closing.start()
            assert idle.is_closed()
            assert closing.is_alive()
            held.release()
            assert client.reply().body == b"Hello, world!"
            closing.join()

    def test_a_shutdown_does_not_wait_until_its_lifespan_is_entered(self, loop: Loop) -> None:
        entering, left = threading.Event(), threading.Event()

        @contextlib.asynccontextmanager
        async def endless() -> AsyncIterator[None]:
            entering.set()
            try:
                await asyncio.Event().wait()
                yield
            finally:
                left.set()

        server = serve_in_thread(hello, port=0, loop=loop, lifespan=endless)
        with ThreadPoolExecutor(1) as other:
            starting = other.submit(server.start)
            assert entering.wait(TIMEOUT)
            server.shutdown()
            starting.result(TIMEOUT)
        assert left.is_set()
        server.close()

    def test_a_shutdown_and_an_abort_at_once_cut(self, loop: Loop) -> None:
        leaving, left = threading.Event(), threading.Event()

        @contextlib.asynccontextmanager
        async def endless() -> AsyncIterator[None]:
            yield
            leaving.set()
            try:
                await asyncio.Event().wait()
            finally:
                left.set()

        server = serve_in_thread(hello, port=0, loop=loop, lifespan=endless)
        server.start()

        async def both() -> None:
            server.shutdown()
            server.abort()

        asyncio.run_coroutine_threadsafe(both(), server.server._loop)
        server.ended.result(TIMEOUT)
        assert left.is_set()
        server.close()

    def test_a_failing_block_closes_it(self, loop: Loop, own_threads: OwnThreads) -> None:
        with pytest.raises(ZeroDivisionError), serve_in_thread(hello, port=0, loop=loop):
            _ = 1 // 0
        assert own_threads() == []

    def test_starting_it_again_raises(self, loop: Loop) -> None:
        with serve_in_thread(hello, port=0, loop=loop) as server:
            with pytest.raises(RuntimeError):
                server.start()
            assert get(server).status == 200

    def test_what_ends_its_loop_is_raised_when_it_is_closed(
        self, loop: Loop, own_threads: OwnThreads
    ) -> None:
        class Failing(Server):
            async def serve_forever(self) -> None:
                raise ZeroDivisionError

        server = ServerThread(Failing(hello, port=0, loop=loop))
        server.start()
        with pytest.raises(ZeroDivisionError):
            server.close()
        assert own_threads() == []

    async def test_it_serves_beside_a_loop_in_the_main_thread(self, loop: Loop) -> None:
        with serve_in_thread(hello, port=0, loop=loop) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            assert (await reader.read()).endswith(b"\r\n\r\nHello, world!")
            writer.close()
            await writer.wait_closed()

    def test_several_serve_side_by_side(self, loop: Loop) -> None:
        with (
            serve_in_thread(hello, port=0, loop=loop) as first,
            serve_in_thread(hello, port=0, loop=loop) as second,
        ):
            assert (get(first).status, get(second).status) == (200, 200)
            assert first.port != second.port


class TestLoopFactory:
    def test_asyncio_is_asyncio(self) -> None:
        loop = loop_factory("asyncio")()
        assert type(loop).__module__.startswith("asyncio.")
        loop.close()

    @pytest.mark.parametrize("name", ["auto", "uvloop"])
    def test_uvloop_is_taken_where_it_is_installed(self, name: Loop) -> None:
        loop = loop_factory(name)()
        assert type(loop).__module__.startswith("uvloop")
        loop.close()

    def test_auto_is_asyncio_where_uvloop_is_not_installed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "uvloop", None)  # importing it raises ImportError
        loop = loop_factory("auto")()
        assert type(loop).__module__.startswith("asyncio.")
        loop.close()

    def test_uvloop_is_refused_where_it_is_not_installed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "uvloop", None)
        with pytest.raises(ConfigError, match="'uvloop', which is not installed; install it or"):
            loop_factory("uvloop")

    @pytest.fixture
    def patched(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def get_ident() -> int:
            return plain()

        plain = threading.get_ident
        get_ident.__module__ = "gevent.thread"
        monkeypatch.setattr(threading, "get_ident", get_ident)

    @pytest.mark.usefixtures("patched")
    def test_auto_is_asyncio_where_threads_are_greenlets(self) -> None:
        # uvloop waits in C, and no other greenlet would ever run.
        loop = loop_factory("auto")()
        assert type(loop).__module__.startswith("asyncio.")
        loop.close()

    @pytest.mark.usefixtures("patched")
    def test_uvloop_is_refused_where_threads_are_greenlets(self) -> None:
        with pytest.raises(ConfigError, match=r"gevent has patched this process.*take loop 'asy"):
            loop_factory("uvloop")

    def test_a_server_in_a_thread_raises_that_on_entry(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "uvloop", None)
        with (
            pytest.raises(ConfigError, match="not installed"),
            serve_in_thread(hello, port=0, loop="uvloop"),
        ):
            raise AssertionError("entered")


APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "0")])
    return []
"""


def program(source: str) -> str:
    """One that has `APP`, and all of this package."""
    return APP + "import signal, sys\nfrom asyncwsgi import *\n" + dedent(source)


@each_loop
class TestInterrupts:
    """`serve_in_thread` in the main thread of a program, where Ctrl+C is an exception."""

    HANGING = """
    import asyncio, contextlib
    @contextlib.asynccontextmanager
    async def hanging():
        try:
            sys.stderr.write("entering\\n")
            await asyncio.Event().wait()
            yield
        finally:
            sys.stderr.write("tidying up\\n")
            if {tidies_for_ever}:
                await asyncio.Event().wait()
    try:
        serve_in_thread(app, port=0, loop={loop!r}, lifespan=hanging).start()
    except KeyboardInterrupt:
        print("interrupted")
    """

    def test_one_while_a_lifespan_is_entered_gives_that_up(self, start: Start, loop: Loop) -> None:
        source = self.HANGING.format(loop=loop, tidies_for_ever=False)
        process = start("-c", program(source))
        process.read_until("entering")
        assert (process.interrupt(), process.output) == (0, "interrupted\n")
        assert "tidying up" in process.log

    def test_the_second_does_not_wait_for_its_tidying_up(self, start: Start, loop: Loop) -> None:
        source = self.HANGING.format(loop=loop, tidies_for_ever=True)
        process = start("-c", program(source))
        process.read_until("entering")
        process.send_signal(signal.SIGINT)
        process.read_until("tidying up")
        assert (process.interrupt(), process.output) == (0, "interrupted\n")

    def test_those_that_do_not_interrupt_its_waits_are_seen(self, start: Start, loop: Loop) -> None:
        # As one that comes in the moment in which a wait begins: the handler of C has run.
        source = f"""
        import asyncio, contextlib, threading
        def interrupt():
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        @contextlib.asynccontextmanager
        async def hanging():
            try:
                threading.Thread(target=interrupt).start()
                await asyncio.Event().wait()
                yield
            finally:
                threading.Thread(target=interrupt).start()
                await asyncio.Event().wait()
        try:
            serve_in_thread(app, port=0, loop={loop!r}, lifespan=hanging).start()
        except KeyboardInterrupt:
            print("interrupted")
        """
        process = start("-c", program(source))
        assert (process.wait(), process.output) == (0, "interrupted\n")

    def test_one_while_it_is_closed_cuts_what_is_in_flight(self, start: Start, loop: Loop) -> None:
        source = f"""
        import threading
        def held(environ, start_response):
            sys.stderr.write("held\\n")
            threading.Event().wait()
        try:
            with serve_in_thread(held, port=0, loop={loop!r}, graceful_timeout={TIMEOUT}) as server:
                sys.stderr.write(f"listening on {{server.url}}\\n")
                sys.stdin.readline()
        except KeyboardInterrupt:
            sys.stdin.read()
        """
        process = start("-c", program(source))
        address = address_of(process.urls()[0])
        with connect(address) as idle, connect(address) as client:
            client.request()
            process.read_until("held")
            process.send_signal(signal.SIGINT)
            assert idle.is_closed()
            process.send_signal(signal.SIGINT)
            assert client.is_closed()
            process.end_input()
            assert process.wait() == 0


@each_loop
class TestRun:
    """`asyncwsgi.run`, in programs of their own: it owns the signals of its process."""

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_it_returns_0_after_a_signal(
        self, start: Start, loop: Loop, number: signal.Signals
    ) -> None:
        source = f"print('returned', run(app, port=0, loop={loop!r}))"
        process = start("-c", program(source))
        with process.connect() as client:
            assert client.get().status == 200
            process.send_signal(number)
            assert client.is_closed()
        assert (process.wait(), process.output) == (0, "returned 0\n")
        assert "Traceback" not in process.log

    @pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
    def test_who_reads_that_it_listens_can_stop_it(
        self, start: Start, loop: Loop, number: str
    ) -> None:
        # A supervisor or a test takes that line for readiness; the signal comes in that moment.
        source = f"""
        import logging, os
        class Impatient(logging.StreamHandler):
            def emit(self, record):
                super().emit(record)
                if "listening on" in record.getMessage():
                    os.kill(os.getpid(), signal.{number})
        logging.basicConfig(level="INFO", handlers=[Impatient()])
        sys.exit(run(app, port=0, loop={loop!r}))
        """
        process = start("-c", program(source))
        assert process.wait() == 0, process.log
        assert "Traceback" not in process.log

    @pytest.mark.parametrize("view", ["called by from_thread", "async view of Flask"])
    def test_a_second_signal_frees_a_loop_that_a_coroutine_holds(
        self, start: Start, loop: Loop, view: str
    ) -> None:
        source = f"""
        import os, time
        import asyncwsgi.signals, flask
        asyncwsgi.signals.HELD_TIMEOUT = 0.0

        async def hold():
            heard = signal.getsignal(signal.SIGINT)
            def tell(*arguments):
                heard(*arguments)
                # Not sys.stderr: the signal may have interrupted a write to it, and it refuses
                # to begin another one inside of that.
                os.write(2, b"the first is heard\\n")
            signal.signal(signal.SIGINT, tell)
            sys.stderr.write("the loop is held\\n")
            while True:
                time.sleep(0.1)

        flask_app = flask.Flask("app")
        flask_app.add_url_rule("/", "held", hold if "Flask" in {view!r} else
                               lambda: from_thread.run(hold))
        sys.exit(run(flask_app, port=0, loop={loop!r}))
        """
        process = start("-c", program(source))
        with process.connect() as client:
            client.request()
            process.read_until("the loop is held")
            process.send_signal(signal.SIGINT)
            # While one is pending in the main thread, the system hands the next to another
            # thread, and Python does not wake the main thread for that.
            process.read_until("the first is heard")
            process.send_signal(signal.SIGTERM)
            assert process.wait() == 128 + signal.SIGTERM

    def test_it_gives_the_signal_handlers_back(self, start: Start, loop: Loop) -> None:
        source = f"""
        def mine(*_): pass
        signal.signal(signal.SIGTERM, mine)
        before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
        run(app, port=0, loop={loop!r})
        print(before == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)])
        print(signal.set_wakeup_fd(-1))
        """
        process = start("-c", program(source))
        process.urls()
        assert (process.interrupt(), process.output) == (0, "True\n-1\n")

    def test_handlers_are_given_back_after_a_start_that_failed(
        self, start: Start, loop: Loop, taken: int
    ) -> None:
        source = f"""
        before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
        try:
            run(app, port={taken}, loop={loop!r})
        except BindError:
            print(before == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)])
        """
        process = start("-c", program(source))
        assert (process.wait(), process.output) == (0, "True\n")

    def test_it_may_be_called_again(self, start: Start, loop: Loop) -> None:
        source = f"""
        run(app, port=0, loop={loop!r})
        run(app, port=0, loop={loop!r})
        """
        process = start("-c", program(source))
        process.urls()
        process.send_signal(signal.SIGINT)
        process.urls()
        assert process.interrupt() == 0

    def test_options_come_as_a_config_too(self, start: Start, loop: Loop) -> None:
        source = f"sys.exit(run(app, Config(port=0, loop={loop!r})))"
        process = start("-c", program(source))
        with process.connect() as client:
            assert client.get().status == 200
        assert process.interrupt() == 0

    def test_it_writes_the_log_if_nobody_else_does(self, start: Start, loop: Loop) -> None:
        process = start("-c", program(f"run(app, port=0, loop={loop!r}, log_format='json')"))
        assert process.read_until("listening on").startswith('{"time": ')
        process.interrupt()

    def test_it_leaves_the_log_to_whoever_configured_it(self, start: Start, loop: Loop) -> None:
        source = f"""
        import logging
        logging.basicConfig(level="INFO", format="mine: %(message)s")
        run(app, port=0, loop={loop!r})
        """
        process = start("-c", program(source))
        assert process.read_until("listening on").startswith("mine: listening on ")
        process.interrupt()
        assert all(line.startswith("mine: ") for line in process.log.splitlines())

    def test_it_serves_from_another_thread_and_leaves_the_signals_alone(
        self, start: Start, loop: Loop
    ) -> None:
        source = f"""
        import threading
        try:
            # In here, too: who reads that it listens may interrupt before this thread goes on.
            threading.Thread(target=run, args=[app], kwargs={{"port": 0, "loop": {loop!r}}},
                             daemon=True).start()
            sys.stdin.read()
        except KeyboardInterrupt:
            print("the main thread was interrupted")
        """
        process = start("-c", program(source))
        with process.connect() as client:
            assert client.get().status == 200
            process.interrupt()
        assert process.output == "the main thread was interrupted\n"
