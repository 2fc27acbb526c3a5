"""`asyncwsgi.from_thread`: a view's way into the loop of its server."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest

import asyncwsgi
from asyncwsgi import ServerThread, from_thread, serve_in_thread
from asyncwsgi.testing import HungApplication
from tests.client import TIMEOUT, connect
from tests.conftest import Serve

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication

NAME: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="unset")
FOREVER = 3600.0


def app_of(view: Callable[[], object]) -> WSGIApplication:
    """An application that answers with what `view` returns, or with the exception it raises."""

    def app(_environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        try:
            body = str(view()).encode()
        except Exception as error:
            body = f"{type(error).__name__}: {error}".encode()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    return app


def get(server: ServerThread) -> str:
    with connect(server.addresses[0]) as client:
        return client.get("/").body.decode()


def answer(serve: Serve, view: Callable[[], object], **options: Any) -> str:
    return get(serve(app_of(view), validate=False, **options))


async def for_ever() -> None:
    await asyncio.Event().wait()


class Cancelled:
    """A coroutine function that does not end; knows when it was entered and cancelled."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.cancelled = threading.Event()

    async def __call__(self) -> None:
        self.entered.set()
        try:
            await for_ever()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


class TestRun:
    def test_runs_on_the_loop_of_the_server(self, serve: Serve) -> None:
        async def loop() -> asyncio.AbstractEventLoop:
            return asyncio.get_running_loop()

        server = serve(app_of(lambda: id(from_thread.run(loop))), validate=False)
        assert get(server) == str(id(server.started.result()))

    def test_passes_arguments_and_returns_the_result(self, serve: Serve) -> None:
        async def add(a: int, b: int) -> int:
            return a + b

        assert answer(serve, lambda: from_thread.run(add, 2, 3)) == "5"

    def test_raises_what_the_coroutine_raises_with_its_traceback(self, serve: Serve) -> None:
        async def fail() -> None:
            raise LookupError("in the coroutine")

        def view() -> str:
            try:
                from_thread.run(fail)
            except LookupError as error:
                return f"{error}, {traceback.extract_tb(error.__traceback__)[-1].name}"
            return "nothing was raised"

        assert answer(serve, view) == "in the coroutine, fail"

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, StopIteration])
    def test_what_would_end_the_loop_ends_only_the_call(
        self, serve: Serve, error: type[BaseException]
    ) -> None:
        async def fail() -> None:
            raise error

        async def fine() -> str:
            return "fine"

        def view() -> str:
            try:
                from_thread.run(fail)
            except BaseException as raised:
                return f"{type(raised).__name__}, {from_thread.run(fine)}"
            return "nothing was raised"

        name = "RuntimeError" if error is StopIteration else error.__name__  # PEP 479
        assert answer(serve, view) == f"{name}, fine"

    def test_carries_context_variables_both_ways(self, serve: Serve) -> None:
        async def swap() -> str:
            before = NAME.get()
            NAME.set("set on the loop")
            return before

        def view() -> str:
            NAME.set("set in the view")
            return f"{from_thread.run(swap)}, {NAME.get()}"

        assert answer(serve, view) == "set in the view, set on the loop"

    def test_runs_in_a_copy_so_that_tasks_left_behind_change_nothing(self, serve: Serve) -> None:
        tasks: list[asyncio.Task[None]] = []

        async def later() -> None:
            NAME.set("set later")

        async def begin() -> None:
            tasks.append(asyncio.create_task(later()))

        async def finish() -> None:
            await tasks[0]

        def view() -> str:
            from_thread.run(begin)
            from_thread.run(finish)
            return NAME.get()

        assert answer(serve, view) == "unset"

    @pytest.mark.parametrize("timeout", [0.01, 0.0, -1.0])
    def test_cancels_what_takes_too_long(self, serve: Serve, timeout: float) -> None:
        coroutine = Cancelled()
        reply = answer(serve, lambda: from_thread.run(coroutine, timeout=timeout))
        assert reply == (
            f"TimeoutError: the coroutine took longer than its timeout of {timeout:g} s; "
            "it is cancelled"
        )
        # It may have been cancelled before it began.
        assert not coroutine.entered.is_set() or coroutine.cancelled.wait(TIMEOUT)

    def test_passes_the_coroutines_own_timeout_error_on(self, serve: Serve) -> None:
        async def fail() -> None:
            raise TimeoutError("its own")

        reply = answer(serve, lambda: from_thread.run(fail, timeout=FOREVER))
        assert reply == "TimeoutError: its own"

    def test_refuses_to_wait_on_the_loops_own_thread(self, serve: Serve) -> None:
        async def outer() -> None:
            from_thread.run(for_ever)

        reply = answer(serve, lambda: from_thread.run(outer))
        assert reply.startswith("RuntimeError: this is the thread of the loop")
        assert "await the coroutine function instead" in reply

    def test_outside_of_a_request_names_the_cure(self) -> None:
        with pytest.raises(RuntimeError, match=r"outside of a request.*copy_context\(\)"):
            from_thread.run(for_ever)

    def test_works_in_a_thread_with_a_copy_of_the_context(self, serve: Serve) -> None:
        async def hello() -> str:
            return "hello"

        def view() -> str:
            run = contextvars.copy_context().run
            with ThreadPoolExecutor(1) as executor:
                return executor.submit(run, lambda: from_thread.run(hello)).result(TIMEOUT)

        assert answer(serve, view) == "hello"

    def test_says_so_if_the_function_returns_nothing_to_await(self, serve: Serve) -> None:
        function: Any = lambda: 5  # noqa: E731
        reply = answer(serve, lambda: from_thread.run(function))
        assert reply.startswith("TypeError: the function returned int, which cannot be awaited")

    def test_after_the_server_has_stopped_it_is_an_error(self, serve: Serve) -> None:
        contexts: list[contextvars.Context] = []
        server = serve(app_of(lambda: contexts.append(contextvars.copy_context())), validate=False)
        get(server)
        server.close()
        with pytest.raises(RuntimeError, match="the server that ran this request has stopped"):
            contexts[0].run(from_thread.run, for_ever)
        coroutine = for_ever()
        with pytest.raises(RuntimeError, match="the server that ran this request has stopped"):
            contexts[0].run(from_thread.create_task, coroutine)

    def test_is_cancelled_when_the_shutdown_has_waited_long_enough(self, serve: Serve) -> None:
        coroutine = Cancelled()
        ended: Future[str] = Future()

        def view() -> None:
            try:
                from_thread.run(coroutine)
            except BaseException as error:
                ended.set_result(type(error).__name__)

        server = serve(app_of(view), validate=False, graceful_timeout=0.01)
        with connect(server.addresses[0]) as client:
            client.request()
            assert coroutine.entered.wait(TIMEOUT)
            with pytest.raises(HungApplication):
                server.close()
            assert coroutine.cancelled.wait(TIMEOUT)
            assert ended.result(TIMEOUT) == "CancelledError"

    def test_one_pool_of_connections_serves_all_requests(self, serve: Serve) -> None:
        upstream = serve(app_of(lambda: "from upstream"), validate=False)
        clients: list[httpx.AsyncClient] = []

        async def fetch() -> str:
            if not clients:
                clients.append(httpx.AsyncClient(trust_env=False, timeout=TIMEOUT))
            return (await clients[0].get(upstream.url)).text

        async def close() -> str:
            await clients[0].aclose()
            return "closed"

        functions: list[Callable[[], Awaitable[str]]] = [close, fetch, fetch, fetch]
        server = serve(app_of(lambda: from_thread.run(functions.pop())), validate=False)
        assert [get(server) for _ in range(3)] == ["from upstream"] * 3
        assert get(server) == "closed"


class TestCreateTask:
    def test_outlives_the_request(self, serve: Serve) -> None:
        go: list[asyncio.Event] = []
        handles: list[Future[str]] = []

        async def work() -> str:
            go.append(asyncio.Event())
            await go[0].wait()
            return f"done with {NAME.get()}"

        async def proceed() -> None:
            go[0].set()

        def view() -> str:
            if not handles:
                NAME.set("a copy of the context")
                handles.append(from_thread.create_task(work()))
                return "begun"
            from_thread.run(proceed)
            return handles[0].result(TIMEOUT)

        server = serve(app_of(view), validate=False)
        assert get(server) == "begun"
        assert not handles[0].done()
        assert get(server) == "done with a copy of the context"

    def test_can_be_called_on_the_loop(self, serve: Serve) -> None:
        async def work() -> str:
            return "done"

        async def begin() -> Future[str]:
            return from_thread.create_task(work())

        assert answer(serve, lambda: from_thread.run(begin).result(TIMEOUT)) == "done"

    @pytest.mark.parametrize(("name", "logged"), [("the mail", "the mail"), (None, "send_mail")])
    def test_logs_a_failure_with_its_traceback(
        self, serve: Serve, caplog: pytest.LogCaptureFixture, name: str | None, logged: str
    ) -> None:
        async def send_mail() -> None:
            raise LookupError("no such address")

        def view() -> object:
            handle = from_thread.create_task(send_mail(), name=name)
            return repr(handle.exception(TIMEOUT))

        assert answer(serve, view) == "LookupError('no such address')"
        (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
        message = record.getMessage()
        assert message.startswith("the background task ")
        assert message.endswith(f"{logged} failed")
        assert record.exc_text is not None
        assert "in send_mail" in record.exc_text

    def test_is_cancelled_by_its_handle(self, serve: Serve) -> None:
        coroutine = Cancelled()

        def view() -> bool:
            handle = from_thread.create_task(coroutine())
            assert coroutine.entered.wait(TIMEOUT)
            return handle.cancel() and coroutine.cancelled.wait(TIMEOUT)

        assert answer(serve, view) == "True"

    def test_is_closed_if_it_is_cancelled_before_it_begins(self, serve: Serve) -> None:
        async def nothing() -> None:
            pass

        async def on_loop() -> str:
            coroutine = nothing()
            assert from_thread.create_task(coroutine).cancel()
            await asyncio.wrap_future(from_thread.create_task(nothing()))  # behind it
            return inspect.getcoroutinestate(coroutine)

        assert answer(serve, lambda: from_thread.run(on_loop)) == inspect.CORO_CLOSED

    def test_is_waited_for_at_shutdown(self, serve: Serve) -> None:
        go: list[Callable[[], object]] = []
        begun, stopping = threading.Event(), threading.Event()
        done: list[str] = []

        async def work() -> None:
            event = asyncio.Event()
            loop = asyncio.get_running_loop()
            go.append(lambda: loop.call_soon_threadsafe(event.set))
            begun.set()
            await event.wait()
            done.append("before the server had stopped")

        server = serve(
            app_of(lambda: from_thread.create_task(work())),
            validate=False,
            graceful_timeout=FOREVER,
        )
        get(server)
        assert begun.wait(TIMEOUT)

        def close() -> None:
            stopping.set()
            server.close()
            done.append("the server had stopped")

        closing = threading.Thread(target=close)
        closing.start()
        assert stopping.wait(TIMEOUT)
        go[0]()
        closing.join(TIMEOUT)
        assert done == ["before the server had stopped", "the server had stopped"]

    def test_is_cancelled_after_graceful_timeout(self, caplog: pytest.LogCaptureFixture) -> None:
        coroutine = Cancelled()

        def view() -> None:
            from_thread.create_task(coroutine(), name="the endless")
            assert coroutine.entered.wait(TIMEOUT)

        # Not a live server: in so short a time the request itself may not be over, and it says so.
        with serve_in_thread(app_of(view), port=0, graceful_timeout=0.01) as server:
            get(server)
        assert coroutine.cancelled.is_set()
        assert "are cancelled: the endless" in caplog.text

    def test_outside_of_a_request_names_the_cure(self) -> None:
        coroutine = for_ever()
        with pytest.raises(RuntimeError, match=r"outside of a request.*copy_context\(\)"):
            from_thread.create_task(coroutine)

    def test_wants_a_coroutine(self) -> None:
        function: Any = for_ever
        with pytest.raises(TypeError, match="wants a coroutine, got function"):
            from_thread.create_task(function)


class TestAsyncToSync:
    def test_outside_of_a_request_has_a_loop_of_its_own(self) -> None:
        async def swap(value: str, *, suffix: str) -> str:
            before = NAME.get()
            NAME.set(value + suffix)
            return before

        def call() -> tuple[str, str]:
            NAME.set("before")
            return asyncwsgi.async_to_sync(swap)("after", suffix="wards"), NAME.get()

        assert contextvars.copy_context().run(call) == ("before", "afterwards")

    async def test_where_a_loop_runs_it_is_an_error(self) -> None:
        with pytest.raises(RuntimeError, match="await the coroutine function instead"):
            asyncwsgi.async_to_sync(for_ever)()

    def test_keeps_the_functions_name(self) -> None:
        assert asyncwsgi.async_to_sync(for_ever).__name__ == "for_ever"
