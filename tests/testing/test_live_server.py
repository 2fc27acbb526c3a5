"""A live server's life: begun and ended from a test, whether that is a coroutine or not."""

from __future__ import annotations

import asyncio
import concurrent.futures
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any, cast

import pytest

from asyncwsgi import BindError, ConfigError, Server
from asyncwsgi.config import Loop
from asyncwsgi.requests.exchange import Exchange
from asyncwsgi.requests.mailbox import Mailbox
from asyncwsgi.testing import LiveServer
from tests.apps import Held, hello
from tests.client import Client, connect
from tests.conftest import Serve
from tests.loops import LOOPS
from tests.server.certificates import Certificates
from tests.server.helpers import FOREVER, aget, get, soon, until_read

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication

ClientOf = Callable[[LiveServer], Client]


class HeldLifespan:
    """A lifespan that is entered when the test says so."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.release = threading.Event()
        self.was_left = threading.Event()

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[None]:
        self.began.set()
        assert await asyncio.to_thread(self.release.wait, 10)
        yield
        self.was_left.set()


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


def tls_server(app: WSGIApplication, certificates: Certificates, loop: Loop) -> LiveServer:
    """A server that waits for ever for whatever it waits for."""
    files = certificates.files
    patience = dict.fromkeys(("graceful_timeout", "drain_timeout"), FOREVER)
    return LiveServer(
        app, certfile=files.chain, keyfile=files.key, loop=loop, **cast("Any", patience)
    )


def test_it_serves_on_a_free_port_of_this_machine() -> None:
    with LiveServer(hello) as server:
        assert server.url == f"http://127.0.0.1:{server.port}"
        assert get(server.addresses[0]).body == b"Hello, world!"
        assert server.app is hello


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        ("/", {}, "/"),
        ("/a b/é", {}, "/a%20b/%C3%A9"),
        ("/a%20b", {}, "/a%20b"),
        ("/a", {"b": "c d", "e": ["f", "g"]}, "/a?b=c+d&e=f&e=g"),
    ],
)
def test_it_makes_urls(path: str, query: dict[str, object], expected: str, serve: Serve) -> None:
    server = serve(hello)
    assert server.url_for(path, **query) == server.url + expected


@pytest.mark.parametrize(
    ("path", "problem"),
    [("", "slash"), ("a", "slash"), ("http://a/", "slash"), ("/a?b=1", "url_for('/a', b=1)")],
)
def test_what_is_no_path_makes_no_url(path: str, problem: str, serve: Serve) -> None:
    with pytest.raises(ConfigError, match=re.escape(problem)):
        serve(hello).url_for(path)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"recorded_body_size": -1}, "must be 0 bytes or more, got -1"),
        ({"tls": "adhoc"}, "must be True or an Authority, got 'adhoc'"),
        ({"tls": True, "ssl_context": None}, "tls and ssl_context exclude each other"),
        ({"unix_socket": True, "bind": "unix:a"}, "unix_socket and bind exclude each other"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        LiveServer(hello, **options)


class TestClosing:
    @pytest.fixture(autouse=True)
    def patience(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Server, "arrival_timeout", FOREVER)

    def test_does_not_wait_for_a_connection_that_was_never_used(self) -> None:
        with LiveServer(hello, graceful_timeout=FOREVER) as server:
            unused = connect(server.addresses[0])
            # Accepted in order: the unused one is known.
            assert get(server.addresses[0]).status == 200
        with unused:
            assert unused.is_closed()

    def test_does_not_wait_for_a_connection_that_is_kept(self) -> None:
        with LiveServer(hello, graceful_timeout=FOREVER) as server:
            kept = connect(server.addresses[0])
            assert kept.get().status == 200
        with kept:
            assert kept.is_closed()

    @pytest.mark.parametrize("loop", LOOPS)
    def test_does_not_wait_for_a_tls_connection_that_is_kept(
        self, loop: Loop, certificates: Certificates
    ) -> None:
        with tls_server(hello, certificates, loop) as server:
            kept = connect(server.addresses[0], certificates.client_context())
            assert kept.get().status == 200
            server.wait_for_request()
        with kept:
            assert kept.is_closed()

    @pytest.mark.parametrize("loop", LOOPS)
    def test_does_not_wait_for_a_tls_connection_that_was_to_be_kept(
        self, loop: Loop, certificates: Certificates
    ) -> None:
        release = threading.Event()

        class Body(list[bytes]):
            def close(self) -> None:
                assert release.wait(10)

        def app(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
            start_response("200 OK", [("Content-Length", "4")])
            return Body([b"spam"])

        server = tls_server(app, certificates, loop)
        server.start()
        context = certificates.client_context()
        with connect(server.addresses[0], context) as kept:
            assert kept.get().body == b"spam"
            server.shutdown()
            server.stop_accepting()  # behind the shutdown: that is under way
            release.set()
            server.close()
            assert kept.is_closed()

    def test_does_not_wait_for_half_a_request(self) -> None:
        with LiveServer(hello, graceful_timeout=FOREVER) as server:
            half = connect(server.addresses[0])
            half.send(b"GET / HT")
            asyncio.run(until_read(server.addresses[0]))
        with half:
            assert half.is_closed()

    def test_lets_a_request_in_flight_end(self) -> None:
        held = Held()
        server = LiveServer(held, graceful_timeout=FOREVER)
        server.start()
        with connect(server.addresses[0]) as client:
            client.request()
            held.wait_until_entered()
            server.shutdown()
            held.release()
            server.close()
            assert client.reply().status == 200
        assert server.wait_for_request().status == 200

    async def test_who_closes_it_second_waits_for_the_first(self) -> None:
        held = Held()
        server = LiveServer(held, graceful_timeout=FOREVER)
        server.start()
        with connect(server.addresses[0]) as client:
            client.request()
            await asyncio.to_thread(held.wait_until_entered)
            closing = asyncio.create_task(server.aclose())
            await asyncio.sleep(0)  # it waits
            server.stop_accepting()  # meanwhile the thread that closes has begun
            closing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await closing
            held.release()
            server.close()
            assert not server.thread.is_alive()

    def test_cannot_be_done_on_its_own_loop(self) -> None:
        with LiveServer(hello, graceful_timeout=FOREVER) as server:
            outcome: concurrent.futures.Future[None] = concurrent.futures.Future()

            def close(_: None) -> None:
                try:
                    server.close()
                except RuntimeError as error:
                    outcome.set_exception(error)

            Mailbox(server.started.result()).post(close, None)
            with pytest.raises(RuntimeError, match=r"cannot be called on it; call it in another"):
                outcome.result(10)
            assert get(server.addresses[0]).status == 200


class TestStarting:
    def test_a_second_start_says_that_there_was_a_first(self) -> None:
        with LiveServer(hello) as server:
            with pytest.raises(RuntimeError, match="was started before; if it still serves"):
                server.start()
            with pytest.raises(RuntimeError, match="was started before"), server:
                pass
            assert get(server.addresses[0]).status == 200

    async def test_so_does_a_second_start_in_a_coroutine(self) -> None:
        async with LiveServer(hello) as server:
            with pytest.raises(RuntimeError, match="was started before"):
                await server.__aenter__()

    @pytest.mark.parametrize(
        "use",
        [
            lambda server: server.url,
            lambda server: server.url_for("/"),
            lambda server: server.port,
            lambda server: server.socket_path,
            LiveServer.stop_accepting,
            LiveServer.shutdown,
            LiveServer.abort,
        ],
    )
    def test_what_needs_a_start_says_so(self, use: Callable[[LiveServer], object]) -> None:
        with pytest.raises(RuntimeError, match=r"was not started; enter it by `with`"):
            use(LiveServer(hello))


class TestInACoroutine:
    async def test_async_with_starts_and_closes_it(self) -> None:
        async with LiveServer(hello) as server:
            assert (await aget(server.addresses[0])).status == 200
        assert server.ended.done()
        assert not server.thread.is_alive()

    async def test_starting_leaves_the_loop_to_the_test(self) -> None:
        lifespan = HeldLifespan()

        async def release() -> None:
            lifespan.release.set()

        async with asyncio.timeout(10):
            releasing = asyncio.create_task(release())
            async with LiveServer(hello, lifespan=lifespan) as server:
                assert (await aget(server.addresses[0])).status == 200
            await releasing

    async def test_what_prevents_a_start_is_raised(self) -> None:
        async with LiveServer(hello) as server:
            another = LiveServer(hello, port=server.port)
            with pytest.raises(BindError):
                await another.__aenter__()
            assert not another.thread.is_alive()
            assert server.addresses

    async def test_a_start_that_is_cancelled_ends_at_once(self) -> None:
        began = threading.Event()

        @asynccontextmanager
        async def endless() -> AsyncIterator[None]:
            began.set()
            await asyncio.Event().wait()
            yield

        server = LiveServer(hello, lifespan=endless)
        starting = asyncio.create_task(server.__aenter__())
        assert await asyncio.to_thread(began.wait, 10)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        await asyncio.to_thread(server.ended.result, 10)
        server.close()

    async def test_closing_leaves_the_loop_to_the_test(self) -> None:
        held = Held()
        server = LiveServer(held, graceful_timeout=FOREVER)
        server.start()
        with connect(server.addresses[0]) as client:
            client.request()
            await asyncio.to_thread(held.wait_until_entered)
            closing = asyncio.create_task(server.aclose())
            await asyncio.sleep(0)  # it waits
            held.release()
            await soon(closing)
            assert client.reply().status == 200

    async def test_closing_goes_on_when_it_is_cancelled(self) -> None:
        held = Held()
        server = LiveServer(held, graceful_timeout=FOREVER)
        server.start()
        with connect(server.addresses[0]) as client:
            client.request()
            await asyncio.to_thread(held.wait_until_entered)
            closing = asyncio.create_task(server.aclose())
            await asyncio.sleep(0)  # it waits
            closing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await closing
            held.release()
            await asyncio.to_thread(server.ended.result, 10)
            assert client.reply().status == 200
        server.close()

    async def test_it_may_be_closed_again_and_again(self) -> None:
        server = LiveServer(hello)
        await server.aclose()
        server.start()
        await soon(server.aclose())
        await soon(server.aclose())
        server.close()
        await soon(asyncio.gather(server.aclose(), server.aclose()))

    async def test_several_may_close_it_at_once(self) -> None:
        server = LiveServer(hello)
        server.start()
        closings = (server.aclose(), server.aclose(), asyncio.to_thread(server.close))
        await soon(asyncio.gather(*closings))
        assert not server.thread.is_alive()


class TestServerClass:
    def test_it_is_kept_and_records(self, client_of: ClientOf) -> None:
        heads: list[str] = []

        class OwnExchange(Exchange):
            def run(self) -> None:
                heads.append(self.target)
                super().run()

        class OwnServer(Server):
            exchange_class = OwnExchange

        with LiveServer(hello, server_class=OwnServer) as server:
            assert type(server.server) is OwnServer
            client_of(server).get("/seen")
            assert server.wait_for_request().path == "/seen"
        assert heads == ["/seen"]
        assert OwnServer.exchange_class is OwnExchange

    def test_one_that_is_built_from_factories_is_refused(self) -> None:
        class OddServer(Server):
            exchange_class = staticmethod(partial(Exchange))

        with pytest.raises(ConfigError, match=r"is none; name a class"):
            LiveServer(hello, server_class=OddServer)


def test_names_of_spared_threads_are_a_list() -> None:
    with pytest.raises(ConfigError, match="spared_threads must be a list of names, got the text"):
        LiveServer(hello, spared_threads="telemetry")


def test_a_fork_that_closes_it_leaves_it_to_its_parent() -> None:
    program = """
        import os
        from urllib.request import urlopen
        from asyncwsgi.testing import LiveServer
        from tests.apps import hello

        with LiveServer(hello) as server:
            child = os.fork()
            if not child:
                server.close()
                os._exit(0)
            print(os.waitpid(child, 0)[1], urlopen(server.url).status)
    """
    command = [sys.executable, "-c", dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert done.stdout == "0 200\n", done.stderr
