"""stream(): bodies that the loop iterates, and the worker threads that are free meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from asyncwsgi import Server, from_thread, serve_in_thread, stream
from asyncwsgi.access_log import AccessEntry, AccessLogger
from asyncwsgi.clock import clock as server_clock
from asyncwsgi.config import Loop
from asyncwsgi.coroutines.current import current_request
from asyncwsgi.requests.exchange import Exchange
from asyncwsgi.testing import HungApplication
from tests.client import TIMEOUT, Client
from tests.conftest import Serve
from tests.coroutines.streams import EVENTS, PLAIN, Feed, app_of, open_stream
from tests.coroutines.test_watch import Warned
from tests.coroutines.test_watch import warned as warned
from tests.http.helpers import MIB, ClientOf, Gate, leavings, messages
from tests.loops import LOOPS
from tests.requests.helpers import worker_threads

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication


def sized(size: int) -> list[tuple[str, str]]:
    return [*PLAIN, ("Content-Length", str(size))]


async def spam() -> AsyncIterator[bytes | str]:
    yield b"sp"
    await asyncio.sleep(0)
    yield ""
    yield "äm"


SPAM = "späm".encode()


async def broken() -> AsyncIterator[Any]:
    yield b"first\n"
    yield 42


def one_behind(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Pass a block on when the next is known, as who marks the last one does."""
    iterator = iter(blocks)
    before = next(iterator)
    for block in iterator:
        yield before
        before = block
    yield before


class Closing:
    """Blocks whose `close` is `close`."""

    def __init__(self, blocks: Iterable[bytes], close: Callable[[], object]) -> None:
        self._blocks = blocks
        self.close = close

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._blocks)


class TestThreads:
    def test_streams_hold_no_thread(self, serve: Serve, client_of: ClientOf) -> None:
        feed = Feed()
        others = worker_threads()
        server = serve(app_of(feed.blocks), validate=False, threads=1)
        clients = [client_of(server) for _ in range(8)]
        for client in clients:
            open_stream(client)
        assert client_of(server).get().body == b"ordinary"
        assert len(worker_threads() - others) == 1
        feed.go_on()
        for client in clients:
            assert client.read(len(b"5\r\nlast\n\r\n0\r\n\r\n")) == b"5\r\nlast\n\r\n0\r\n\r\n"
        assert {thread.name for thread in feed.threads} == {"asyncwsgi-server"}

    def test_500_at_a_time_on_two_threads(self, serve: Serve, client_of: ClientOf) -> None:
        feed = Feed()
        server = serve(app_of(feed.blocks), validate=False, threads=2)
        clients = [client_of(server) for _ in range(500)]
        for client in clients:
            open_stream(client)
        feed.go_on()
        for client in clients:
            assert client.read(len(b"5\r\nlast\n\r\n0\r\n\r\n")) == b"5\r\nlast\n\r\n0\r\n\r\n"
        assert feed.closings == 500

    def test_all_are_closed_when_more_leave_than_may_wait(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        feed = Feed()
        closings = threading.Semaphore(0)

        app = app_of(feed.blocks)
        gate = Gate(lambda environ, start: Closing(app(environ, start), closings.release))
        server = serve(gate, validate=False, threads=1, queue_size=1)
        clients = [client_of(server) for _ in range(8)]
        for client in clients:
            open_stream(client)
        held = client_of(server)
        held.request(target="/held")
        gate.wait_until_entered()
        for client in clients:
            client.reset()
        feed.wait_until_closed(8)
        gate.open()
        assert held.reply().body == b"ordinary"
        for _ in range(9):
            assert closings.acquire(timeout=TIMEOUT)

    def test_an_executor_is_freed_too(self, serve: Serve, client_of: ClientOf) -> None:
        feed = Feed()
        with ThreadPoolExecutor(1) as executor:
            server = serve(app_of(feed.blocks), validate=False, executor=executor)
            first, second = client_of(server), client_of(server)
            open_stream(first)
            open_stream(second)
            assert client_of(server).get().body == b"ordinary"
            first.reset()
            second.reset()
            feed.wait_until_closed(2)
            server.close()

    def test_what_an_executor_no_longer_takes_is_closed_all_the_same(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        feed = Feed()
        closed = threading.Event()
        app = app_of(feed.blocks)
        with ThreadPoolExecutor(1) as executor:
            server = serve(
                lambda environ, start: Closing(app(environ, start), closed.set),
                validate=False,
                executor=executor,
            )
            client = client_of(server)
            open_stream(client)
        feed.go_on()
        assert client.read(len(b"5\r\nlast\n\r\n0\r\n\r\n")) == b"5\r\nlast\n\r\n0\r\n\r\n"
        assert closed.wait(TIMEOUT)


class TestBody:
    def test_blocks_are_bytes_or_text_and_the_connection_is_kept(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        client = client_of(serve(app_of(spam), validate=False))
        for _ in range(3):
            reply = client.get("/stream")
            assert (reply.body, reply.header("Transfer-Encoding")) == (SPAM, "chunked")
        assert client.get().body == b"ordinary"

    def test_a_content_length_is_kept_to(self, serve: Serve, client_of: ClientOf) -> None:
        client = client_of(serve(app_of(spam, sized(len(SPAM))), validate=False))
        for _ in range(2):
            assert client.get("/stream").body == SPAM

    def test_what_exceeds_it_is_dropped(self, serve: Serve, client_of: ClientOf) -> None:
        feed = Feed(first=b"first")
        client = client_of(serve(app_of(feed.blocks, sized(3)), validate=False))
        assert client.get("/stream").body == b"fir"
        feed.go_on()
        feed.wait_until_closed()
        assert client.get().body == b"ordinary"

    @pytest.mark.parametrize("leaves", [False, True])
    def test_the_code_behind_the_last_byte_is_run_also_if_the_client_leaves(
        self, serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture, leaves: bool
    ) -> None:
        feed = Feed(first=b"spam", last=b"")
        ended: list[bool] = []
        disconnects: list[Any] = []

        def app(environ: dict[str, Any], start_response: StartResponse) -> Iterator[bytes]:
            disconnects.append(environ["asyncwsgi.disconnected"])
            start_response("200 OK", sized(4))
            yield from stream(feed.blocks())
            ended.append(environ["asyncwsgi.disconnected"]())

        server = serve(app, validate=False)
        client = client_of(server)
        assert client.get().body == b"spam"
        if leaves:
            client.reset()
            assert disconnects[0].wait(TIMEOUT)
        feed.go_on()
        feed.wait_until_closed()
        server.close()
        assert ended == [leaves]  # and no GeneratorExit
        assert "cut" not in caplog.text

    def test_what_falls_short_of_it_closes_the_connection(
        self, serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
    ) -> None:
        server = serve(app_of(spam, sized(9)), validate=False)
        client = client_of(server)
        client.request(target="/stream")
        assert client.read_all().endswith(b"\r\n\r\n" + SPAM)
        server.close()
        (message,) = messages(caplog.records)
        assert "4 bytes less than its Content-Length" in message

    def test_http_1_0_gets_it_until_the_end(self, serve: Serve, client_of: ClientOf) -> None:
        client = client_of(serve(app_of(spam), validate=False))
        client.send(b"GET /stream HTTP/1.0\r\n\r\n")
        assert client.read_all().endswith(b"\r\n\r\n" + SPAM)

    @pytest.mark.parametrize(
        ("method", "status"), [("HEAD", "200 OK"), ("GET", "204 No Content"), ("GET", "304 Same")]
    )
    def test_without_a_body_nothing_is_iterated(
        self, serve: Serve, client_of: ClientOf, method: str, status: str
    ) -> None:
        began = threading.Event()
        bodies = []

        async def blocks() -> AsyncIterator[bytes]:
            began.set()
            yield b"spam"

        def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
            start_response(status, [])
            bodies.append(stream(blocks()))
            return bodies[-1]

        client = client_of(serve(app, validate=False))
        for _ in range(2):
            client.request(method)
            assert client.reply(method).body == b""
        assert not began.is_set()

    def test_a_client_that_does_not_read_holds_it_back(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        total = 256 * MIB
        produced = 0
        closed = threading.Event()

        async def blocks() -> AsyncIterator[bytes]:
            nonlocal produced
            try:
                while produced < total:
                    produced += MIB
                    yield bytes(MIB)
            finally:
                closed.set()

        server = serve(app_of(blocks), validate=False)
        client, other = client_of(server), client_of(server)
        client.request(target="/stream")
        client.read(1)
        for _ in range(20):
            assert other.get().body == b"ordinary"
        client.reset()
        assert closed.wait(TIMEOUT)
        assert produced < total

    @pytest.mark.parametrize("block", ["", "spam"])
    def test_a_generator_that_never_waits_leaves_the_loop_to_others(
        self, serve: Serve, client_of: ClientOf, block: str
    ) -> None:
        is_over = False

        async def blocks() -> AsyncIterator[str]:
            yield "first\n"
            while not is_over:
                yield block

        server = serve(app_of(blocks), validate=False)
        client = client_of(server)
        open_stream(client)
        reader = threading.Thread(target=client.read_all, daemon=True)
        reader.start()  # so that back-pressure is not what stops it
        assert client_of(server).get().body == b"ordinary"
        is_over = True
        client.half_close()  # the connection would be kept
        reader.join(TIMEOUT)
        assert not reader.is_alive()

    def test_a_generator_that_blocks_is_named(
        self, serve: Serve, client_of: ClientOf, warned: Warned
    ) -> None:
        async def prices() -> AsyncIterator[bytes]:
            assert warned.event.wait(TIMEOUT), "nobody was warned"
            yield b"blocked"

        warned.awaited = "prices"
        server = serve(app_of(prices), validate=False)
        assert client_of(server).get("/stream").body == b"blocked"
        assert "prices has held the server's loop" in warned.lines[-1]
        assert not server.server._dispatcher.watch._has_work.is_set()  # it rests again

    def test_a_slow_reader_gets_all_of_it(self, serve: Serve, client_of: ClientOf) -> None:
        async def blocks() -> AsyncIterator[bytes]:
            for number in range(16):
                yield bytes([number]) * MIB

        client = client_of(serve(app_of(blocks), validate=False, response_buffer_size=1024))
        body = client.get("/stream").body
        assert body == b"".join(bytes([number]) * MIB for number in range(16))


class TestErrors:
    @pytest.mark.parametrize("sent", [b"", b"spam"], ids=["at once", "after a block"])
    @pytest.mark.parametrize("error", [ValueError("eggs"), SystemExit(3), asyncio.CancelledError()])
    def test_an_error_cuts_the_response_and_is_logged_once(
        self,
        serve: Serve,
        client_of: ClientOf,
        caplog: pytest.LogCaptureFixture,
        error: BaseException,
        sent: bytes,
    ) -> None:
        async def blocks() -> AsyncIterator[bytes]:
            yield sent
            raise error

        server = serve(app_of(blocks), validate=False)
        client = client_of(server)
        client.request(target="/stream")
        received = client.read_all()
        assert received.startswith(b"HTTP/1.1 200 OK")
        assert received.endswith(b"\r\n4\r\nspam\r\n" if sent else b"\r\n\r\n")
        assert client_of(server).get().body == b"ordinary"
        assert messages(caplog.records) == ["GET /stream failed with a traceback"]

    def test_a_block_of_another_type_is_refused(
        self, serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def blocks() -> AsyncIterator[Any]:
            yield 1

        server = serve(app_of(blocks), validate=False)
        client = client_of(server)
        client.request(target="/stream")
        client.read_all()
        server.close()
        (record,) = [r for r in caplog.records if r.exc_info]
        assert record.exc_info is not None
        assert "yielded a int; expected bytes or str" in str(record.exc_info[1])

    def test_an_error_while_it_is_closed_is_logged(
        self, serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def blocks() -> AsyncIterator[bytes]:
            try:
                yield b"first\n"
                await asyncio.Event().wait()
            finally:
                raise RuntimeError("cannot close")

        server = serve(app_of(blocks), validate=False)
        client = client_of(server)
        open_stream(client)
        client.reset()
        server.close()
        assert messages(caplog.records) == ["GET /stream failed with a traceback"]

    @pytest.mark.parametrize("in_thread", [False, True])
    def test_the_loops_own_thread_takes_no_blocks(
        self, serve: Serve, client_of: ClientOf, in_thread: bool
    ) -> None:
        async def needs_the_loop() -> AsyncIterator[bytes]:
            yield from_thread.run(asyncio.sleep, 0, b"spam")

        async def collected() -> bytes:
            blocks = stream(needs_the_loop())
            if in_thread:
                return await asyncio.to_thread(b"".join, blocks)
            with pytest.raises(RuntimeError, match=r"asyncio\.to_thread"):
                next(iter(one_behind(blocks)))
            return b"refused"

        def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", PLAIN)
            return [from_thread.run(collected)]

        reply = client_of(serve(app)).get()
        assert reply.body == (b"spam" if in_thread else b"refused")

    def test_an_error_behind_the_content_length_is_logged(
        self, serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def blocks() -> AsyncIterator[bytes]:
            try:
                yield b"spam"
            finally:
                raise OSError("no space left")

        server = serve(app_of(blocks, sized(4)), validate=False)
        assert client_of(server).get(target="/stream").body == b"spam"
        server.close()
        assert messages(caplog.records) == ["GET /stream failed with a traceback"]

    @pytest.mark.parametrize(
        ("when", "reason"), [("close", "cannot close"), ("both", "cannot go on")]
    )
    def test_the_first_error_of_a_body_is_what_is_logged(
        self,
        serve: Serve,
        client_of: ClientOf,
        caplog: pytest.LogCaptureFixture,
        when: str,
        reason: str,
    ) -> None:
        class Failing:
            def __aiter__(self) -> Failing:
                return self

            async def __anext__(self) -> bytes:
                raise RuntimeError("cannot go on") if when == "both" else StopAsyncIteration

            async def aclose(self) -> None:
                raise RuntimeError("cannot close")

        server = serve(app_of(Failing), validate=False)
        client = client_of(server)
        client.request(target="/stream")
        assert client.read_all().endswith(b"\r\n\r\n")
        server.close()
        (record,) = [r for r in caplog.records if r.exc_info]
        assert record.exc_info is not None
        assert str(record.exc_info[1]) == reason

    @pytest.mark.parametrize(
        ("argument", "got"),
        [(b"spam", "bytes"), ([b"spam"], "list"), (spam, r"function \(call it first\)")],
    )
    def test_what_is_no_async_iterable_is_refused(self, argument: Any, got: str) -> None:
        with pytest.raises(TypeError, match=f"got a {got}; it wants an async iterable"):
            stream(argument)


class TestEnds:
    @leavings
    def test_it_is_closed_when_an_endless_streams_client_leaves(
        self,
        serve: Serve,
        client_of: ClientOf,
        caplog: pytest.LogCaptureFixture,
        leave: Callable[[Client], None],
    ) -> None:
        feed = Feed()
        server = serve(app_of(feed.blocks, EVENTS), validate=False)
        client = client_of(server)
        open_stream(client)
        leave(client)
        feed.wait_until_closed()
        server.close()
        assert feed.closings == 1
        assert messages(caplog.records) == []

    def test_it_is_closed_when_any_client_is_lost(
        self, serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
    ) -> None:
        feed = Feed()
        server = serve(app_of(feed.blocks), validate=False)
        client = client_of(server)
        open_stream(client)
        client.reset()
        feed.wait_until_closed()
        server.close()
        assert messages(caplog.records) == []

    def test_a_client_that_shut_its_side_only_gets_the_rest(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        feed = Feed()
        client = client_of(serve(app_of(feed.blocks), validate=False))
        open_stream(client)
        client.half_close()
        feed.go_on()
        assert client.read_all() == b"5\r\nlast\n\r\n0\r\n\r\n"

    def test_its_tidying_up_may_wait_and_is_not_interrupted(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        tidied = threading.Event()

        async def blocks() -> AsyncIterator[bytes]:
            try:
                yield b"first\n"
                await asyncio.Event().wait()
            finally:
                for _ in range(100):
                    await asyncio.sleep(0)
                tidied.set()

        server = serve(app_of(blocks, EVENTS), validate=False)
        client = client_of(server)
        open_stream(client)
        server.shutdown()  # cut, and lost thereby
        assert tidied.wait(TIMEOUT)

    @pytest.mark.parametrize("block", [b"spam", b""])
    def test_a_generator_that_holds_on_is_closed_at_its_next_block(
        self, serve: Serve, client_of: ClientOf, block: bytes
    ) -> None:
        closed = threading.Event()

        async def blocks() -> AsyncIterator[bytes]:
            try:
                yield b"first\n"
                while True:
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.Event().wait()
                    yield block
            except GeneratorExit:
                closed.set()
                raise

        client = client_of(serve(app_of(blocks), validate=False))
        open_stream(client)
        client.reset()
        assert closed.wait(TIMEOUT)

    def test_closing_it_is_not_interrupted(self, serve: Serve, client_of: ClientOf) -> None:
        closing, closed = threading.Event(), threading.Event()

        class Closing:
            def __aiter__(self) -> Closing:
                return self

            async def __anext__(self) -> bytes:
                raise StopAsyncIteration

            async def aclose(self) -> None:
                left = asyncio.Event()
                exchange = current_request()
                assert exchange is not None
                exchange.disconnect.call(left.set)
                closing.set()
                await left.wait()
                closed.set()

        client = client_of(serve(app_of(Closing), validate=False))
        client.request(target="/stream")
        assert closing.wait(TIMEOUT)
        client.reset()
        assert closed.wait(TIMEOUT)

    def test_an_iterator_of_any_kind_is_closed_once(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        closed: list[str] = []

        class Two:
            blocks: ClassVar = [b"one", b"two"]

            def __aiter__(self) -> Two:
                return self

            async def __anext__(self) -> bytes:
                if not self.blocks:
                    raise StopAsyncIteration
                return self.blocks.pop(0)

            async def aclose(self) -> None:
                closed.append(threading.current_thread().name)

        server = serve(app_of(Two), validate=False)
        assert client_of(server).get("/stream").body == b"onetwo"
        server.close()
        assert closed == ["asyncwsgi-server"]

    def test_one_whose_client_left_before_it_began_never_runs(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        ran: list[str] = []
        entered, closed = threading.Event(), threading.Event()

        class Endless:
            def __aiter__(self) -> Endless:
                return self

            async def __anext__(self) -> bytes:
                ran.append("asked")
                await asyncio.Event().wait()
                return b""

            async def aclose(self) -> None:
                closed.set()

        def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
            entered.set()
            assert environ["asyncwsgi.disconnected"](TIMEOUT)
            start_response("200 OK", EVENTS)
            return stream(Endless())

        client = client_of(serve(app, validate=False))
        client.request()
        assert entered.wait(TIMEOUT)
        client.half_close()  # its connection is cut when the head says that there is no end
        assert closed.wait(TIMEOUT)
        assert ran == []

    def test_a_drain_waits_for_it(self, serve: Serve, client_of: ClientOf) -> None:
        feed = Feed()
        server = serve(app_of(feed.blocks), validate=False, graceful_timeout=TIMEOUT)
        client = client_of(server)
        open_stream(client)
        server.shutdown()
        feed.go_on()
        assert client.read_all() == b"5\r\nlast\n\r\n0\r\n\r\n"
        server.close()

    @pytest.mark.usefixtures("patience")
    def test_a_drain_cuts_it_when_its_time_is_over(self, serve: Serve, client_of: ClientOf) -> None:
        feed = Feed()
        server = serve(app_of(feed.blocks), validate=False, graceful_timeout=0.01)
        client = client_of(server)
        open_stream(client)
        with pytest.raises(HungApplication):
            server.close()
        assert feed.closings == 1

    @pytest.mark.usefixtures("patience")
    def test_a_drain_cuts_an_event_stream_at_once(self, serve: Serve, client_of: ClientOf) -> None:
        feed = Feed()
        server = serve(app_of(feed.blocks, EVENTS), validate=False, graceful_timeout=1000.0)
        client = client_of(server)
        open_stream(client)
        server.close()
        assert feed.closings == 1
        assert server.server._dispatcher.cut_exchanges == set()

    @pytest.mark.parametrize("leaves", [True, False], ids=["client leaves", "generator fails"])
    def test_no_cycle_is_left(
        self, client_of: Any, monkeypatch: pytest.MonkeyPatch, leaves: bool
    ) -> None:
        remains: list[weakref.ref[Any]] = []
        feed = Feed()
        app = app_of(feed.blocks if leaves else broken)
        # What pytest records of the log keeps the errors.
        monkeypatch.setattr(logging.getLogger("asyncwsgi.server"), "disabled", True)

        def noting(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
            if environ["PATH_INFO"] == "/stream":
                remains.append(weakref.ref(current_request()))
            return app(environ, start_response)

        gc.disable()
        try:
            with serve_in_thread(noting, port=0, threads=1) as server:
                for _ in range(5):
                    client = client_of(server)
                    open_stream(client)
                    if leaves:
                        client.reset()
                        feed.wait_until_closed()
                    else:
                        assert client.is_closed()
            assert [remain() for remain in remains] == [None] * 5
        finally:
            gc.enable()

    def test_one_access_line_with_all_of_its_bytes(self, serve: Serve, client_of: ClientOf) -> None:
        entries: list[AccessEntry] = []

        class Noting(AccessLogger):
            def is_enabled(self) -> bool:
                return True

            def log(self, entry: AccessEntry) -> None:
                entries.append(entry)

        class NotingServer(Server):
            access_logger_class = Noting

        server = serve(app_of(spam), validate=False, server_class=NotingServer)
        client = client_of(server)
        client.request(target="/stream", Connection="close")
        received = client.read_all()
        server.close()
        assert [(e.target, e.status, e.size) for e in entries] == [("/stream", 200, len(received))]


class TestWrappers:
    """What frameworks and middleware put around it."""

    @staticmethod
    def wrapped(wrap: Callable[[Iterable[bytes]], Iterable[bytes]]) -> WSGIApplication:
        inner = app_of(spam)

        def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
            return wrap(inner(environ, start_response))

        return app

    @pytest.mark.parametrize(
        ("wrap", "body"),
        [
            pytest.param(lambda blocks: map(bytes, blocks), SPAM, id="as Django does"),
            pytest.param(lambda blocks: chain([b"<"], blocks, [b">"]), b"<" + SPAM + b">", id="in"),
            pytest.param(lambda blocks: chain(blocks, stream(spam())), SPAM + SPAM, id="two"),
            pytest.param(list, SPAM, id="read at once"),
            pytest.param(one_behind, SPAM, id="one behind"),
            pytest.param(lambda blocks: [b"".join(blocks)], SPAM, id="joined"),
            pytest.param(
                lambda blocks: (block.upper() for block in blocks), SPAM.upper(), id="changed"
            ),
        ],
    )
    def test_the_body_is_what_they_make_of_it(
        self,
        serve: Serve,
        client_of: ClientOf,
        wrap: Callable[[Iterable[bytes]], Iterable[bytes]],
        body: bytes,
    ) -> None:
        client = client_of(serve(self.wrapped(wrap), validate=False))
        for _ in range(2):
            assert client.get("/stream").body == body

    def test_they_see_its_errors(self, serve: Serve, client_of: ClientOf) -> None:
        async def failing() -> AsyncIterator[bytes]:
            yield b"spam"
            raise ValueError("eggs")

        def app(environ: dict[str, Any], start_response: StartResponse) -> Iterator[bytes]:
            start_response("200 OK", PLAIN)
            try:
                yield from stream(failing())
            except ValueError as error:
                yield f" and {error}".encode()

        assert client_of(serve(app, validate=False)).get().body == b"spam and eggs"

    def test_they_are_told_of_an_error_once(self, serve: Serve, client_of: ClientOf) -> None:
        async def failing() -> AsyncIterator[bytes]:
            yield b"spam"
            raise ValueError("eggs")

        def app(environ: dict[str, Any], start_response: StartResponse) -> Iterator[bytes]:
            start_response("200 OK", PLAIN)
            blocks = stream(failing())
            with contextlib.suppress(ValueError):
                yield from blocks
            yield from blocks  # nothing is left
            yield b" and more"

        assert client_of(serve(app, validate=False)).get().body == b"spam and more"

    def test_they_are_asked_once_more_when_the_content_length_is_reached(
        self, serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
    ) -> None:
        asked: list[str] = []

        def app(environ: dict[str, Any], start_response: StartResponse) -> Iterator[bytes]:
            start_response("200 OK", sized(len(SPAM)))
            yield from stream(spam())
            asked.append("for more")
            yield b"more"
            asked.append("for the end")
            yield b"and more"
            asked.append("for too much")

        server = serve(app, validate=False)
        assert client_of(server).get().body == SPAM
        server.close()
        assert asked == ["for more", "for the end"]
        (record,) = [r for r in caplog.records if r.name == "asyncwsgi.server"]
        assert "at least 12 bytes were cut" in record.getMessage()

    @pytest.mark.parametrize("reaction", ["none", "ends", "goes on"])
    def test_they_are_closed_and_no_more_when_the_client_leaves(
        self, serve: Serve, client_of: ClientOf, reaction: str
    ) -> None:
        seen: list[str] = []
        over = threading.Event()

        async def blocks() -> AsyncIterator[bytes]:
            yield b"first\n"
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if reaction == "none":
                    raise
            if reaction == "goes on":
                yield b"more"

        def app(environ: dict[str, Any], start_response: StartResponse) -> Iterator[bytes]:
            start_response("200 OK", PLAIN)
            try:
                yield from stream(blocks())
                seen.append("ended")
            except BaseException as error:
                seen.append(type(error).__name__)
                raise
            finally:
                over.set()

        client = client_of(serve(app, validate=False))
        open_stream(client)
        client.reset()
        assert over.wait(TIMEOUT)
        assert seen == ["GeneratorExit"]

    def test_what_they_send_behind_it_is_held_back_too(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        room = 32 * 1024
        ahead: list[int] = []
        closed = threading.Event()

        def app(environ: dict[str, Any], start_response: StartResponse) -> Iterator[bytes]:
            start_response("200 OK", PLAIN)
            exchange = current_request()
            assert isinstance(exchange, Exchange)
            yield from stream(spam())
            try:
                for _ in range(32):
                    yield bytes(MIB)
                    ahead.append(exchange._posted_size - exchange._written_size)
            finally:
                closed.set()

        client = client_of(serve(app, validate=False, response_buffer_size=2 * room))
        client.request()
        client.read(4 * MIB)
        client.reset()
        assert closed.wait(TIMEOUT)
        assert max(ahead) <= 2 * room


class Clock:
    """A clock that a test sets, in the place of `time`."""

    def __init__(self) -> None:
        self.now = 50.0

    def monotonic(self) -> float:
        return self.now


def test_silence_is_filled_when_it_was_long_enough_and_the_client_reads(
    serve: Serve, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(server_clock, "monotonic", clock.monotonic)

    class Ticking:
        """Asks the body what is due as the clock goes on."""

        def __init__(self) -> None:
            exchange = current_request()
            assert isinstance(exchange, Exchange)
            self._exchange = exchange
            self._count = 0

        def __aiter__(self) -> Ticking:
            return self

        def tick(self, now: float) -> None:
            clock.now = now
            assert self._exchange.iteration is not None
            self._exchange.iteration.tick(now)

        async def __anext__(self) -> bytes:
            self._count += 1
            if self._count == 1:
                clock.now = 100.0
                return b"first "
            if self._count == 3:
                raise StopAsyncIteration
            self.tick(109.0)  # too early
            self.tick(110.0)
            self.tick(119.0)  # too early behind the idle block
            is_writable = self._exchange.is_writable
            self._exchange.is_writable = lambda: False  # type: ignore[method-assign]
            self.tick(200.0)
            self._exchange.is_writable = is_writable  # type: ignore[method-assign]
            return b"last"

        async def aclose(self) -> None:
            self.tick(300.0)  # it is over

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", PLAIN)
        return stream(Ticking(), idle_block=b"idle ", idle_timeout=10.0)

    assert client_of(serve(app, validate=False)).get().body == b"first idle last"


@pytest.mark.parametrize("loop", LOOPS)
def test_an_idle_block_that_cannot_be_sent_is_told_and_holds_up_no_other(
    serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture, loop: Loop
) -> None:
    feed = Feed()

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", PLAIN)
        is_good = environ["PATH_INFO"] == "/good"
        idle_block: Any = b"idle\n" if is_good else bytearray(b"idle\n")
        return stream(feed.blocks(), idle_block=idle_block, idle_timeout=0.01)

    server = serve(app, validate=False, loop=loop, head_timeout=0.2)
    bad = [client_of(server) for _ in range(16)]
    for client in bad:
        open_stream(client, target="/bad")
    good, late = client_of(server), client_of(server)
    open_stream(good, target="/good")
    for _ in range(3):
        assert good.read(len(b"5\r\nidle\n\r\n")) == b"5\r\nidle\n\r\n"
    late.send(b"GET / HT")
    assert late.reply().status == 408
    feed.go_on()
    for client in bad:
        assert client.read(len(b"5\r\nlast\n\r\n")) == b"5\r\nlast\n\r\n"
    told = [record.getMessage() for record in caplog.records if record.name == "asyncio"]
    assert "asyncwsgi: an idle block could not be sent" in told[0]
