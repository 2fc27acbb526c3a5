"""The messages between an ASGI server and a mount, in their order, by a server made by hand."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

from asyncwsgi import ClientDisconnected, RequestBodyError, RequestRefused, ResponseCut
from asyncwsgi.asgi import WSGIApp
from tests.apps import Endless, Held, echo, hello
from tests.client import TIMEOUT
from tests.mounts.conftest import Mounting
from tests.mounts.protocol import (
    CHUNKED,
    DISCONNECT,
    HandMade,
    Message,
    length,
    scope,
    service_of,
    turn,
    until_a_thread_waits_for_its_client,
)

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

Environ = dict[str, Any]
TEXT = ("Content-Type", "text/plain")


async def in_thread(function: Any, *args: Any) -> Any:
    return await asyncio.to_thread(function, *args)


class TestResponses:
    async def test_a_response_of_one_block_is_a_head_and_its_whole_body(
        self, mount: Mounting
    ) -> None:
        call = await HandMade(mount(hello), scope())()
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"13")]
        assert call.sent == [
            {"type": "http.response.start", "status": 200, "headers": headers},
            {"type": "http.response.body", "body": b"Hello, world!", "more_body": False},
        ]

    async def test_blocks_keep_their_order_and_the_last_message_ends_the_body(
        self, mount: Mounting
    ) -> None:
        def blocks(_: Environ, start_response: StartResponse) -> Iterator[bytes]:
            start_response("200 OK", [TEXT])
            for number in range(1000):
                yield b"%d," % number

        call = await HandMade(mount(blocks), scope())()
        assert call.body == b"".join(b"%d," % number for number in range(1000))
        assert [message["more_body"] for message in call.sent[1:]].count(False) == 1
        assert call.is_complete

    async def test_a_large_block_arrives_whole(self, mount: Mounting) -> None:
        data = bytes(range(256)) * 4096

        def large(_: Environ, start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", [TEXT, ("Content-Length", str(len(data)))])
            return [data]

        call = await HandMade(mount(large), scope())()
        assert call.body == data
        assert {type(message["body"]) for message in call.sent[1:]} == {bytes}

    @pytest.mark.parametrize(
        ("method", "status", "headers"),
        [
            pytest.param("HEAD", "200 OK", [TEXT, ("Content-Length", "13")], id="HEAD"),
            pytest.param("GET", "204 No Content", [], id="204"),
            pytest.param("GET", "304 Not Modified", [("ETag", '"x"')], id="304"),
        ],
    )
    async def test_a_response_without_a_body_has_none(
        self, mount: Mounting, method: str, status: str, headers: list[tuple[str, str]]
    ) -> None:
        def app(_: Environ, start_response: StartResponse) -> Iterable[bytes]:
            start_response(status, headers)
            return [b"Hello, world!"]

        call = await HandMade(mount(app, validate=False), scope(method))()
        raw = [(name.lower().encode(), value.encode()) for name, value in headers]
        assert call.sent == [
            {"type": "http.response.start", "status": int(status[:3]), "headers": raw},
            {"type": "http.response.body", "body": b"", "more_body": False},
        ]

    async def test_what_is_written_comes_before_what_is_returned(self, mount: Mounting) -> None:
        def writes(_: Environ, start_response: StartResponse) -> Iterable[bytes]:
            write = start_response("200 OK", [TEXT])
            write(b"first ")
            return [b"second"]

        assert (await HandMade(mount(writes), scope())()).body == b"first second"

    @pytest.mark.parametrize(
        ("version", "expected"), [("1.1", b"close"), ("2", None)], ids=["HTTP/1.1", "HTTP/2"]
    )
    async def test_only_an_end_of_the_connection_is_said_and_not_to_http_2(
        self, mount: Mounting, version: str, expected: bytes | None
    ) -> None:
        def app(_: Environ, start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", [TEXT, ("Connection", "close"), ("Keep-Alive", "5")])
            return [b""]

        call = await HandMade(mount(app, validate=False), scope(http_version=version))()
        assert call.header(b"connection") == expected
        assert call.header(b"keep-alive") is None

    async def test_a_file_is_sent_in_blocks(self, mount: Mounting) -> None:
        data = bytes(range(256)) * 1024

        def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            file = tempfile.TemporaryFile()  # noqa: SIM115 - the wrapper closes it
            file.write(data)
            file.seek(0)
            start_response("200 OK", [TEXT])
            wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](file)
            return wrapped

        call = await HandMade(mount(app, validate=False), scope())()
        assert (call.body, call.is_complete) == (data, True)

    async def test_while_send_waits_the_worker_thread_waits(self, mount: Mounting) -> None:
        endless = Endless(block_size=1024)
        app = mount(endless, response_buffer_size=8 * 1024)
        call = HandMade(app, scope())
        call.hold()
        task = call.begin()
        await until_a_thread_waits_for_its_client(app)
        # Half of the buffer is posted ahead, and a block that did not fit.
        assert endless.produced <= 6
        before = endless.produced
        call.let_go()
        await call.until_sent(before + 2)  # the head, and one block more than there were
        assert endless.produced > before
        call.give(DISCONNECT)
        await task
        assert endless.closings == 1


@pytest.mark.usefixtures("nobody_looks")
class TestRequestBodies:
    async def test_a_small_body_is_complete_before_the_application_is_called(
        self, mount: Mounting
    ) -> None:
        call = HandMade(mount(echo), scope("POST", headers=[length(6)]))
        call.give_body(b"abc", b"def")
        await call()
        assert (call.body, call.received) == (b"abcdef", 3)

    async def test_a_get_without_a_body_asks_for_none(self, mount: Mounting) -> None:
        assert (await HandMade(mount(hello), scope())()).received == 0

    async def test_a_body_is_read_only_while_it_has_room(self, mount: Mounting) -> None:
        held = Held(echo)
        call = HandMade(mount(held, body_buffer_size=1000), scope("POST", headers=[length(5000)]))
        call.give_body(*[bytes(500)] * 10)
        task = call.begin()
        await in_thread(held.wait_until_entered)
        await turn()
        assert call.received == 2
        held.release()
        await task
        assert call.body == bytes(5000)

    @pytest.mark.parametrize(
        "request_scope",
        [
            pytest.param(scope("POST", headers=[CHUNKED]), id="chunked"),
            pytest.param(scope("POST", http_version="2"), id="HTTP/2 without a length"),
        ],
    )
    async def test_a_body_of_unknown_size_is_collected_and_its_size_told(
        self, mount: Mounting, request_scope: Environ
    ) -> None:
        seen: list[str] = []

        def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            seen.append(environ["CONTENT_LENGTH"])
            assert "HTTP_TRANSFER_ENCODING" not in environ
            return echo(environ, start_response)

        call = HandMade(mount(app, body_buffer_size=1000), request_scope)
        call.give_body(*[bytes(300)] * 10)
        await call()
        assert (call.body, seen) == (bytes(3000), ["3000"])

    async def test_a_body_can_be_streamed_while_it_arrives(self, mount: Mounting) -> None:
        def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
            start_response("200 OK", [TEXT])
            while piece := environ["wsgi.input"].read(3):
                yield piece

        call = HandMade(mount(app, body_buffer_size=3), scope("POST", headers=[length(6)]))
        call.give_body(b"abc", more=True)
        task = call.begin()
        await call.until_sent(2)
        assert call.body == b"abc"
        call.give_body(b"def")
        await task
        assert call.body == b"abcdef"

    async def test_a_body_that_is_expected_is_asked_for_when_it_is_read(
        self, mount: Mounting
    ) -> None:
        held = Held(echo)
        headers = [length(3), (b"expect", b"100-continue")]
        call = HandMade(mount(held), scope("POST", headers=headers))
        call.give_body(b"abc")
        task = call.begin()
        await in_thread(held.wait_until_entered)
        # Nobody looks whether the client has left, either: the server would ask it for its body.
        await asyncio.sleep(0)
        service_of(call._app)._look()
        await turn()
        assert call.received == 0
        held.release()
        await task
        assert call.body == b"abc"

    async def test_a_body_that_says_that_it_is_too_large_is_not_read(self, mount: Mounting) -> None:
        app = mount(hello, max_body_size=5)
        call = await HandMade(app, scope("POST", headers=[length(6)]))()
        assert (call.status, call.received) == (413, 0)

    async def test_a_body_that_turns_out_too_large_is_refused(self, mount: Mounting) -> None:
        call = HandMade(mount(hello, max_body_size=5), scope("POST", headers=[CHUNKED]))
        call.give_body(b"abc", b"def")
        await call()
        assert call.status == 413

    async def test_a_body_that_turns_out_too_large_later_fails_its_reader(
        self, mount: Mounting
    ) -> None:
        app = mount(echo, max_body_size=5, body_buffer_size=3)
        call = HandMade(app, scope("POST", headers=[CHUNKED]))
        call.give_body(b"abc", b"def")
        await call()
        assert (call.status, call.body) == (413, b"413 Request Entity Too Large\n")

    async def test_a_content_length_that_is_none_is_refused(self, mount: Mounting) -> None:
        headers = [(b"content-length", b"five")]
        assert (await HandMade(mount(hello), scope("POST", headers=headers))()).status == 400


class TestClientsThatLeave:
    async def test_before_the_body_is_complete_the_application_is_not_called(
        self, mount: Mounting
    ) -> None:
        app = mount(hello)
        call = HandMade(app, scope("POST", headers=[length(6)]))
        call.give_body(b"abc", more=True)
        call.give(DISCONNECT)
        await call()
        assert call.sent == []
        assert service_of(app).dispatcher.submitted_count == 0

    async def test_while_the_application_works_it_can_ask(self, mount: Mounting) -> None:
        heard: list[bool] = []

        def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            heard.append(environ["asyncwsgi.disconnected"].wait(TIMEOUT))
            return hello(environ, start_response)

        await HandMade(mount(app), scope(), DISCONNECT)()
        assert heard == [True]

    async def test_while_the_application_reads_the_read_ends(self, mount: Mounting) -> None:
        raised: list[BaseException] = []

        def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            try:
                environ["wsgi.input"].read(6)
            except ClientDisconnected as error:
                raised.append(error)
                raise
            return []

        call = HandMade(mount(app, body_buffer_size=3), scope("POST", headers=[length(6)]))
        call.give_body(b"abc", more=True)
        call.give(DISCONNECT)
        await call()
        assert len(raised) == 1
        assert call.sent == []

    async def test_while_the_application_waits_to_write_the_wait_ends(
        self, mount: Mounting
    ) -> None:
        endless = Endless()
        app = mount(endless, response_buffer_size=8 * 1024)
        call = HandMade(app, scope())
        call.hold()
        task = call.begin()
        await until_a_thread_waits_for_its_client(app)
        call.give(DISCONNECT)
        await in_thread(endless.was_closed.wait, TIMEOUT)
        call.let_go()
        await task
        assert endless.closings == 1

    async def test_a_server_may_say_so_by_an_oserror_of_send(self, mount: Mounting) -> None:
        endless = Endless()
        call = HandMade(mount(endless), scope())
        call.send_error = BrokenPipeError()
        await call()
        assert endless.closings == 1

    async def test_a_task_that_is_cancelled_is_a_client_that_has_left(
        self, mount: Mounting
    ) -> None:
        heard = threading.Event()
        entered = threading.Event()

        def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            entered.set()
            if environ["asyncwsgi.disconnected"].wait(TIMEOUT):
                heard.set()
            return hello(environ, start_response)

        task = HandMade(mount(app), scope()).begin()
        await in_thread(entered.wait, TIMEOUT)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await in_thread(heard.wait, TIMEOUT)

    async def test_a_task_that_is_cancelled_before_the_body_is_there_leaves_nothing(
        self, mount: Mounting
    ) -> None:
        app = mount(hello)
        task = HandMade(app, scope("POST", headers=[length(6)])).begin()
        await turn()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not service_of(app).dispatcher.exchanges

    @pytest.mark.usefixtures("nobody_looks")
    async def test_behind_a_complete_response_nobody_has_left(self, mount: Mounting) -> None:
        heard: list[bool] = []
        is_sent = threading.Event()

        class Blocks:
            def __init__(self, environ: Environ) -> None:
                self._has_left = environ["asyncwsgi.disconnected"]

            def __iter__(self) -> Iterator[bytes]:
                return iter([b"whole"])

            def close(self) -> None:
                assert is_sent.wait(TIMEOUT)
                heard.append(self._has_left())

        def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", [TEXT, ("Content-Length", "5")])
            return Blocks(environ)

        mounted = mount(app, validate=False)
        call = HandMade(mounted, scope())
        task = call.begin()
        await call.until_sent(2)
        call.give(DISCONNECT)  # as uvicorn says it then
        service_of(mounted)._look()
        await turn()
        assert call.received == 1
        is_sent.set()
        await task
        assert heard == [False]


class TestErrors:
    async def test_an_error_before_the_head_is_the_servers_to_answer(self, mount: Mounting) -> None:
        def app(_: Environ, start_response: StartResponse) -> Iterable[bytes]:
            raise LookupError("of the application")

        call = HandMade(mount(app), scope())
        with pytest.raises(LookupError, match="of the application"):
            await call()
        assert call.sent == []

    @pytest.mark.parametrize("error", [RequestRefused(400, "no"), ClientDisconnected("of another")])
    async def test_an_error_of_ours_that_the_application_raises_is_its_own(
        self, mount: Mounting, error: Exception
    ) -> None:
        def app(_: Environ, start_response: StartResponse) -> Iterable[bytes]:
            raise error

        call = HandMade(mount(app), scope())
        with pytest.raises(type(error)):
            await call()
        assert call.sent == []

    async def test_an_error_that_the_application_answers_itself_is_none(
        self, mount: Mounting
    ) -> None:
        def app(_: Environ, start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", [TEXT])
            try:
                raise LookupError("of the application")
            except LookupError:
                start_response("500 Sorry", [TEXT], sys.exc_info())
            return [b"Sorry"]

        call = await HandMade(mount(app), scope())()
        assert (call.status, call.body) == (500, b"Sorry")

    async def test_an_error_behind_the_head_is_raised_and_the_body_does_not_end(
        self, mount: Mounting, caplog: pytest.LogCaptureFixture
    ) -> None:
        def app(_: Environ, start_response: StartResponse) -> Iterator[bytes]:
            start_response("200 OK", [TEXT])
            yield b"first"
            raise LookupError("of the body")

        call = HandMade(mount(app), scope())
        with pytest.raises(LookupError, match="of the body"):
            await call()
        assert (call.body, call.is_complete) == (b"first", False)
        assert caplog.records == [], "the server logs it"

    async def test_an_error_of_close_is_raised_behind_a_complete_response(
        self, mount: Mounting
    ) -> None:
        class Blocks:
            def __iter__(self) -> Iterator[bytes]:
                return iter([b"whole"])

            def close(self) -> None:
                raise LookupError("of close")

        def app(_: Environ, start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", [TEXT])
            return Blocks()

        call = HandMade(mount(app, validate=False), scope())
        with pytest.raises(LookupError, match="of close"):
            await call()
        assert (call.body, call.is_complete) == (b"whole", True)

    async def test_less_than_the_content_length_cuts_the_response(
        self, mount: Mounting, caplog: pytest.LogCaptureFixture
    ) -> None:
        def app(_: Environ, start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", [TEXT, ("Content-Length", "9")])
            return [b"short"]

        call = HandMade(mount(app, validate=False), scope())
        with pytest.raises(ResponseCut, match="GET /: the response is not whole"):
            await call()
        assert not call.is_complete
        assert "sent 4 bytes less than its Content-Length" in caplog.text

    async def test_more_than_the_content_length_is_cut_off(self, mount: Mounting) -> None:
        def app(_: Environ, start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", [TEXT, ("Content-Length", "5")])
            return [b"whole and more"]

        call = await HandMade(mount(app, validate=False), scope())()
        assert (call.body, call.is_complete) == (b"whole", True)

    async def test_sys_exit_is_an_error_and_no_end_of_the_loop(
        self, mount: Mounting, caplog: pytest.LogCaptureFixture
    ) -> None:
        def app(_: Environ, start_response: StartResponse) -> Iterable[bytes]:
            sys.exit(3)

        call = await HandMade(mount(app), scope())()
        assert (call.status, call.is_complete) == (500, True)
        assert "GET / failed" in caplog.text

    async def test_an_error_of_the_request_body_is_answered_with_its_status(
        self, mount: Mounting
    ) -> None:
        def app(_: Environ, start_response: StartResponse) -> Iterable[bytes]:
            raise RequestBodyError(408, "too slow")

        assert (await HandMade(mount(app), scope())()).status == 408

    async def test_an_error_of_send_reaches_the_server_and_ends_the_request(
        self, mount: Mounting
    ) -> None:
        endless = Endless()
        call = HandMade(mount(endless), scope())
        call.send_error = RuntimeError("of the server")
        with pytest.raises(RuntimeError, match="of the server"):
            await call()
        assert await in_thread(endless.was_closed.wait, TIMEOUT)

    async def test_an_error_of_receive_reaches_the_server(self, mount: Mounting) -> None:
        call = HandMade(mount(echo, body_buffer_size=3), scope("POST", headers=[length(6)]))
        call.give_body(b"abc", more=True)
        call.give({"type": "http.request", "body": None, "more_body": True})  # no bytes
        with pytest.raises(TypeError):
            await call()

    async def test_requests_beyond_the_queue_are_refused(self, mount: Mounting) -> None:
        held = Held()
        app = mount(held, threads=1, queue_size=1)
        running, waiting = HandMade(app, scope()).begin(), HandMade(app, scope()).begin()
        await turn()
        refused = await HandMade(app, scope())()
        assert (refused.status, refused.header(b"retry-after")) == (503, b"1")
        held.release()
        assert [(await task).status for task in (running, waiting)] == [200, 200]

    async def test_a_request_that_its_executor_cancels_is_refused(self, mount: Mounting) -> None:
        held = Held()
        with ThreadPoolExecutor(1) as executor:
            app = mount(held, executor=executor)
            running, waiting = HandMade(app, scope()).begin(), HandMade(app, scope()).begin()
            await in_thread(held.wait_until_entered)
            executor.shutdown(wait=False, cancel_futures=True)
            assert (await waiting).status == 503
            held.release()
            assert (await running).status == 200


class TestOtherScopes:
    async def test_a_websocket_is_refused_before_it_is_accepted(self, mount: Mounting) -> None:
        request = {"type": "websocket", "path": "/", "headers": []}
        call = HandMade(mount(hello), request, {"type": "websocket.connect"})
        assert (await call()).sent == [{"type": "websocket.close", "code": 1000}]

    async def test_a_websocket_is_refused_with_a_reason_where_the_server_can(
        self, mount: Mounting
    ) -> None:
        request = {"type": "websocket", "extensions": {"websocket.http.response": {}}}
        call = await HandMade(mount(hello), request, {"type": "websocket.connect"})()
        start, body = call.sent
        assert (start["type"], start["status"]) == ("websocket.http.response.start", 501)
        assert body["type"] == "websocket.http.response.body"
        assert b"no WebSockets" in body["body"]

    async def test_what_is_not_known_is_told(self, mount: Mounting) -> None:
        with pytest.raises(ValueError, match="a scope of the type 'gopher'"):
            await HandMade(mount(hello), {"type": "gopher"})()

    def test_a_loop_that_is_not_asyncios_is_told(self) -> None:
        step = WSGIApp(hello)(scope(), None, None)  # type: ignore[arg-type]
        with pytest.raises(RuntimeError, match="use asyncio or uvloop, not trio"):
            step.send(None)


class TestMemory:
    """What a request has held is free when it ends, and not when the collector comes round."""

    @pytest.fixture(autouse=True)
    def _without_collector(self) -> Iterator[None]:
        gc.collect()
        gc.disable()
        yield
        gc.enable()

    async def test_of_a_request(self, mount: Mounting) -> None:
        class Probe:
            """Something of the application's."""

        probes: list[weakref.ref[Probe]] = []

        def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            environ["probe"] = probe = Probe()
            probes.append(weakref.ref(probe))
            return echo(environ, start_response)

        mounted = mount(app, validate=False, body_buffer_size=3)
        call = HandMade(mounted, scope("POST", headers=[length(6)]))
        call.give_body(b"abc", b"def")
        await call()
        await turn()
        assert [probe() for probe in probes] == [None]

    async def test_of_an_error(self, mount: Mounting) -> None:
        class Failure(Exception):
            """Of the application."""

        failures: list[weakref.ref[Failure]] = []

        def app(_: Environ, start_response: StartResponse) -> Iterable[bytes]:
            failure = Failure()
            failures.append(weakref.ref(failure))
            try:
                raise failure
            finally:
                del failure

        call = HandMade(mount(app, validate=False), scope())
        with contextlib.suppress(Failure):
            await call()
        await turn()
        assert [failure() for failure in failures] == [None]


class TestContexts:
    async def test_the_application_finds_what_middleware_has_set_and_leaves_nothing(
        self, mount: Mounting
    ) -> None:
        number: ContextVar[int] = ContextVar("number")

        def app(_: Environ, start_response: StartResponse) -> Iterable[bytes]:
            body = b"%d" % number.get()
            number.set(0)
            start_response("200 OK", [TEXT])
            return [body]

        mounted = mount(app, threads=1)
        for expected in (1, 2):
            number.set(expected)
            assert (await HandMade(mounted, scope())()).body == b"%d" % expected
            assert number.get() == expected

    async def test_the_server_is_asked_in_the_context_of_its_task(self, mount: Mounting) -> None:
        number: ContextVar[int] = ContextVar("number", default=0)
        asked: list[int] = []
        held = Held()
        app = mount(held)

        class Asked(HandMade):
            async def receive(self) -> Message:
                asked.append(number.get())
                return await super().receive()

        async def ask(value: int) -> None:
            number.set(value)
            await Asked(app, scope())()

        running = [asyncio.ensure_future(ask(value)) for value in (1, 2)]
        await in_thread(held.wait_until_entered, 2)
        service_of(app)._look()
        await turn()
        assert sorted(asked) == [1, 2]
        held.release()
        await asyncio.gather(*running)

    async def test_the_first_context_is_not_kept(self, mount: Mounting) -> None:
        class Probe:
            """Something of middleware's."""

        variable: ContextVar[Probe] = ContextVar("variable")
        probes: list[weakref.ref[Probe]] = []
        held = Held()
        app = mount(held)

        async def ask() -> None:
            probe = Probe()
            probes.append(weakref.ref(probe))
            variable.set(probe)
            await HandMade(app, scope())()

        asked = asyncio.ensure_future(ask())
        await in_thread(held.wait_until_entered)
        held.release()
        await asked
        del asked
        await turn()
        gc.collect()
        assert probes[0]() is None

    async def test_the_scope_is_in_the_environ(self, mount: Mounting) -> None:
        def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", [TEXT])
            return [environ["asgi.scope"]["state"]["name"].encode()]

        assert (await HandMade(mount(app), scope(state={"name": "shared"}))()).body == b"shared"
