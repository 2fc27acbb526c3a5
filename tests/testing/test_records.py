"""What a live server remembers of the requests that it was sent, and how a test waits for one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError
from typing import TYPE_CHECKING, Any

import pytest

from asyncwsgi import ClientDisconnected
from asyncwsgi.testing import LiveServer, RecordedRequest
from asyncwsgi.testing.live import records
from tests.apps import Held, echo, hello
from tests.client import Client, connect
from tests.http.wire import CHUNKED, chunk, read_head
from tests.server.helpers import TwoBlocks

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

    from tests.conftest import Serve

ClientOf = Callable[[LiveServer], Client]


def test_all_that_a_request_said_is_recorded(serve: Serve, client_of: ClientOf) -> None:
    server = serve(echo)
    client_of(server).send(
        b"POST /caf%C3%A9/a%20b?x=1&y=%20 HTTP/1.1\r\nHost: test\r\nX-Word: spam\r\n"
        b"x-word: eggs\r\nContent-Length: 5\r\n\r\nhello"
    )
    request = server.wait_for_request()
    assert (request.method, request.target) == ("POST", "/caf%C3%A9/a%20b?x=1&y=%20")
    assert (request.path, request.query) == ("/café/a b", "x=1&y=%20")
    assert request.header("HOST") == "test"
    assert request.header("X-Word") == "spam, eggs"
    assert request.header("X-Other") is None
    assert [value for name, value in request.headers if name.lower() == "x-word"] == [
        "spam",
        "eggs",
    ]
    assert (request.body, request.is_body_cut) == (b"hello", False)
    assert request.client == "127.0.0.1"
    assert str(request) == "POST /caf%C3%A9/a%20b?x=1&y=%20"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("http://other.test/a/b?c=d", ("/a/b", "c=d")),
        ("http://other.test?c=/d", ("/", "c=/d")),
        ("http://other.test", ("/", "")),
        ("//a?b?c", ("//a", "b?c")),
        ("/to?url=http://x/y", ("/to", "url=http://x/y")),
    ],
)
def test_path_and_query_are_those_of_the_target(
    target: str, expected: tuple[str, str], serve: Serve, client_of: ClientOf
) -> None:
    server = serve(hello)
    client_of(server).get(target)
    request = server.wait_for_request()
    assert (request.path, request.query) == expected


def test_all_that_became_of_a_request_is_recorded(serve: Serve, client_of: ClientOf) -> None:
    server = serve(hello)
    client_of(server).get()
    request = server.wait_for_request()
    assert request.status == 200
    assert request.duration is not None
    assert request.duration >= 0
    assert request.error is None
    assert request.is_finished


def test_a_record_does_not_change(serve: Serve, client_of: ClientOf) -> None:
    held = Held()
    server = serve(held)
    client_of(server).request()
    held.wait_until_entered()
    (early,) = server.requests
    held.release()
    server.wait_for_request()
    assert not early.is_finished
    with pytest.raises(FrozenInstanceError):
        early.status = 200  # type: ignore[misc]


def test_requests_are_kept_in_the_order_of_their_arrival(serve: Serve, client_of: ClientOf) -> None:
    held = Held()
    server = serve(held)
    for target in ("/first", "/second", "/third"):
        client_of(server).request("GET", target)
        held.wait_until_entered()
    assert [request.path for request in server.requests] == ["/first", "/second", "/third"]
    held.release()


def test_a_request_in_flight_has_a_status_as_soon_as_its_response_has(
    serve: Serve, client_of: ClientOf
) -> None:
    app = TwoBlocks()
    server = serve(app)
    client = client_of(server)
    client.request()
    read_head(client)
    (request,) = server.requests
    assert (request.status, request.duration, request.is_finished) == (200, None, False)
    app.release()
    assert server.wait_for_request().duration is not None


def test_what_is_recorded_is_there_when_the_server_has_stopped(
    serve: Serve, client_of: ClientOf
) -> None:
    server = serve(hello)
    client_of(server).get("/last")
    server.close()
    assert [(r.path, r.is_finished) for r in server.requests] == [("/last", True)]
    assert server.wait_for_request("/last").status == 200


class TestBodies:
    def test_the_pieces_of_a_body_are_put_together(self, serve: Serve, client_of: ClientOf) -> None:
        server = serve(echo)
        client_of(server).send(CHUNKED + chunk(b"spam ") + chunk(b"eggs") + chunk(b""))
        request = server.wait_for_request()
        assert (request.body, request.is_body_cut) == (b"spam eggs", False)

    @pytest.mark.parametrize("size", [0, 1, 999, 1000])
    def test_a_body_within_the_bound_is_whole(
        self, size: int, serve: Serve, client_of: ClientOf
    ) -> None:
        server = serve(echo, recorded_body_size=1000)
        client_of(server).post("/", b"x" * size)
        request = server.wait_for_request()
        assert (request.body, request.is_body_cut) == (b"x" * size, False)

    def test_a_body_beyond_the_bound_is_cut(self, serve: Serve, client_of: ClientOf) -> None:
        server = serve(echo, recorded_body_size=1000)
        body = b"x" * 300_000
        assert client_of(server).post("/", body).body == body
        request = server.wait_for_request()
        assert (request.body, request.is_body_cut) == (b"x" * 1000, True)

    def test_a_body_that_the_application_leaves_is_cut(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        server = serve(hello, body_buffer_size=4)
        client = client_of(server)
        client.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 8\r\n\r\nspam")
        assert client.reply().status == 200
        request = server.wait_for_request()
        assert (request.body, request.is_body_cut) == (b"spam", True)

    def test_the_body_of_a_request_in_flight_is_recorded_as_it_comes(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        read = threading.Semaphore(0)

        def reads(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
            while environ["wsgi.input"].read(4):
                read.release()
            start_response("204 No Content", [])
            return []

        server = serve(reads, body_buffer_size=4, stream_chunked_bodies=True)
        client = client_of(server)
        client.send(CHUNKED + chunk(b"spam"))
        assert read.acquire(timeout=30)
        (request,) = server.requests
        assert (request.body, request.is_body_cut) == (b"spam", True)
        client.send(chunk(b"eggs") + chunk(b""))
        request = server.wait_for_request()
        assert (request.body, request.is_body_cut) == (b"spameggs", False)


class TestWithoutAnAnswerOfTheApplication:
    @pytest.mark.parametrize(
        "request_bytes",
        [
            b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 101\r\n\r\n",
            CHUNKED + chunk(b"x" * 101),
        ],
        ids=["announced", "chunked"],
    )
    def test_a_body_that_is_refused_is_recorded_with_its_status(
        self, request_bytes: bytes, serve: Serve, client_of: ClientOf
    ) -> None:
        server = serve(echo, max_body_size=100)
        client_of(server).send(request_bytes)
        assert server.wait_for_request().status == 413
        assert server.errors == ()

    def test_a_request_for_which_there_is_no_thread_is_recorded_with_its_status(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        held = Held()
        server = serve(held, threads=1, queue_size=1)
        for _ in range(2):
            client_of(server).request("GET", "/served")
        held.wait_until_entered()
        assert client_of(server).get("/refused").status == 503
        assert server.wait_for_request("/refused").status == 503
        held.release()

    def test_a_request_that_its_executor_cancels_is_recorded_with_its_status(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        held = Held()
        with ThreadPoolExecutor(1) as threads:
            server = serve(held, executor=threads)
            client_of(server).request()
            held.wait_until_entered()
            client = client_of(server)
            client.request("GET", "/refused")
            with connect(server.addresses[0]) as another:  # read behind it
                another.send(b"no HTTP\r\n\r\n")
                assert another.reply().status == 400
            threads.shutdown(wait=False, cancel_futures=True)
            assert client.reply().status == 503
            assert server.wait_for_request("/refused").status == 503
            held.release()

    def test_what_is_refused_behind_a_request_is_not_that_requests(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        server = serve(hello)
        client = client_of(server)
        assert client.get().status == 200
        client.send(b"no HTTP\r\n\r\n")
        assert client.reply().status == 400
        assert [request.status for request in server.requests] == [200]
        with pytest.raises(TimeoutError, match=r"GET / \(200\)"):
            server.wait_for_request("/other", timeout=0)

    def test_a_client_that_leaves_in_its_body_finishes_its_request(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        server = serve(echo)
        client = client_of(server)
        client.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 8\r\n\r\nspam")
        client.close()
        request = server.wait_for_request()
        assert (request.status, request.body, request.is_body_cut) == (None, b"spam", True)

    def test_a_client_that_leaves_before_the_answer_gets_no_status(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        entered = threading.Event()

        def late(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
            entered.set()
            assert environ["asyncwsgi.disconnected"].wait(10)
            start_response("200 OK", [])
            return [b"nobody is there"]

        server = serve(late, validate=False)
        client = client_of(server)
        client.request()
        assert entered.wait(10)
        client.reset()
        request = server.wait_for_request()
        assert request.status is None
        assert isinstance(request.error, ClientDisconnected)
        assert server.errors == ()


class TestWaiting:
    def test_it_lasts_until_the_request_has_ended(self, serve: Serve, client_of: ClientOf) -> None:
        held = Held()
        server = serve(held)
        client_of(server).request()
        held.wait_until_entered()
        with pytest.raises(TimeoutError):
            server.wait_for_request(timeout=0)
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(server.wait_for_request)
            held.release()
            assert waiting.result(10).is_finished

    def test_two_waits_return_two_requests(self, serve: Serve, client_of: ClientOf) -> None:
        server = serve(hello)
        client = client_of(server)
        client.get("/one")
        client.get("/two")
        assert [server.wait_for_request().path for _ in range(2)] == ["/one", "/two"]
        with pytest.raises(TimeoutError):
            server.wait_for_request(timeout=0)

    def test_waits_at_the_same_time_return_different_requests(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        server = serve(hello)
        client = client_of(server)
        with ThreadPoolExecutor(8) as threads:
            waiting = [threads.submit(server.wait_for_request) for _ in range(8)]
            for number in range(8):
                client.get(f"/{number}")
            paths = {wait.result(10).path for wait in waiting}
        assert paths == {f"/{number}" for number in range(8)}

    @pytest.mark.parametrize(
        "wanted",
        [
            {"path": "/a b"},
            {"path": "/a%20b?c=d"},
            {"method": "post"},
            {"matching": lambda request: request.query == "c=d"},
            {"path": "/a b", "method": "POST", "matching": lambda _: True},
        ],
    )
    def test_it_is_for_what_matches_all_that_is_asked(
        self, wanted: dict[str, Any], serve: Serve, client_of: ClientOf
    ) -> None:
        server = serve(echo)
        client = client_of(server)
        client.get("/other")
        client.post("/a%20b?c=d")
        client.get("/other")
        assert server.wait_for_request(**wanted).target == "/a%20b?c=d"

    def test_a_timeout_names_what_was_wanted_and_what_came(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        held = Held()
        server = serve(held)
        client = client_of(server)
        client.request("GET", "/slow")
        held.wait_until_entered()
        with pytest.raises(TimeoutError, match=r"no POST /hook has finished within 0 s; what arr"):
            server.wait_for_request("/hook", method="POST", timeout=0)
        with pytest.raises(TimeoutError, match=r"GET /slow \(not finished\)"):
            server.wait_for_request(timeout=0)
        held.release()
        server.wait_for_request("/slow")
        with pytest.raises(TimeoutError, match=r"GET /slow \(200, returned by an earlier wait\)"):
            server.wait_for_request("/slow", timeout=0)

    def test_a_timeout_says_that_nothing_came(self, serve: Serve) -> None:
        with pytest.raises(TimeoutError, match=r"no request has finished .* no request has arri"):
            serve(hello).wait_for_request(timeout=0)

    def test_a_timeout_names_the_last_of_many(self, serve: Serve, client_of: ClientOf) -> None:
        server = serve(hello)
        client = client_of(server)
        for number in range(12):
            client.get(f"/{number}")
        # Read when the last request has ended, and no request itself.
        client.send(b"no HTTP\r\n\r\n")
        assert client.reply().status == 400
        with pytest.raises(TimeoutError, match=r"2 more, then GET /2 \(200\), .*GET /11 \(200\)$"):
            server.wait_for_request("/12", timeout=0)

    def test_it_ends_with_the_server(self, serve: Serve, client_of: ClientOf) -> None:
        server = serve(hello)
        client_of(server).get("/other")
        looking = threading.Event()

        def is_it(_: RecordedRequest) -> bool:
            looking.set()
            return False

        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(server.wait_for_request, matching=is_it)
            assert looking.wait(10)
            server.close()
            with pytest.raises(RuntimeError, match=r"the server has stopped, and no request match"):
                waiting.result(10)

    def test_an_error_of_the_matching_function_is_the_tests(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        server = serve(hello)
        client = client_of(server)
        client.get()
        with pytest.raises(ZeroDivisionError):
            server.wait_for_request(matching=lambda _: bool(1 / 0))
        assert server.wait_for_request().path == "/"
        assert client.get().status == 200

    def test_the_matching_function_is_not_asked_of_what_was_returned(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        server = serve(hello)
        client = client_of(server)
        client.get("/one")
        client.get("/two")
        server.wait_for_request("/one")
        asked: list[RecordedRequest] = []

        def ask(request: RecordedRequest) -> bool:
            asked.append(request)
            return True

        server.wait_for_request(matching=ask)
        assert [request.path for request in asked] == ["/two"]

    def test_what_another_wait_has_just_taken_is_not_returned(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        server = serve(hello)
        client_of(server).get()

        def take_it(_: RecordedRequest) -> bool:
            return server.wait_for_request() is not None

        with pytest.raises(TimeoutError):
            server.wait_for_request(matching=take_it, timeout=0)

    def test_a_matching_function_may_ask_the_server(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        server = serve(hello)
        client_of(server).get()
        assert server.wait_for_request(matching=lambda r: r in server.requests)


class TestAwaiting:
    async def test_it_leaves_the_loop_to_the_test(self, serve: Serve, client_of: ClientOf) -> None:
        server = serve(hello)
        client = client_of(server)
        async with asyncio.timeout(10):
            waiting = asyncio.create_task(server.await_request("/hook", timeout=float("inf")))
            await asyncio.to_thread(client.get, "/other")
            await asyncio.to_thread(client.get, "/hook")
            assert (await waiting).path == "/hook"

    async def test_it_finds_what_came_before(self, serve: Serve, client_of: ClientOf) -> None:
        server = serve(hello)
        client_of(server).get("/before")
        assert (await server.await_request(timeout=30)).path == "/before"

    async def test_a_wait_that_is_cancelled_takes_nothing(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        held = Held()
        server = serve(held)
        client_of(server).request()
        held.wait_until_entered()
        waiting = asyncio.create_task(server.await_request())
        await asyncio.sleep(0)  # it waits
        waiting.cancel()
        held.release()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (await server.await_request()).path == "/"
        assert not server._journal.lock._listeners

    async def test_a_timeout_names_what_was_wanted(self, serve: Serve) -> None:
        with pytest.raises(TimeoutError, match=r"no /hook has finished within 0 s; no request has"):
            await serve(hello).await_request("/hook", timeout=0)

    async def test_an_error_of_the_matching_function_is_the_tests(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        server = serve(hello)
        client_of(server).get()

        def is_it(_: RecordedRequest) -> bool:
            raise TimeoutError("of the test")

        with pytest.raises(TimeoutError, match=r"^of the test$"):
            await server.await_request(matching=is_it)

    async def test_it_ends_with_the_server(self, serve: Serve) -> None:
        server = serve(hello)
        waiting = asyncio.create_task(server.await_request(timeout=float("inf")))
        await asyncio.sleep(0)  # it waits
        await server.aclose()
        async with asyncio.timeout(10):
            with pytest.raises(RuntimeError, match=r"the server has stopped"):
                await waiting


class TestBound:
    @pytest.fixture(autouse=True)
    def two_are_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(records, "MOST_REQUESTS", 2)

    def test_the_newest_requests_are_kept(self, serve: Serve, client_of: ClientOf) -> None:
        server = serve(hello)
        client = client_of(server)
        for path in ("/a", "/b", "/c"):
            client.get(path)
        assert [request.path for request in server.requests] == ["/b", "/c"]

    def test_what_is_in_flight_is_kept(self, serve: Serve, client_of: ClientOf) -> None:
        held = Held()
        server = serve(lambda e, s: (held if e["PATH_INFO"] == "/held" else hello)(e, s))
        first, other = client_of(server), client_of(server)
        first.request(target="/held")
        held.wait_until_entered()
        other.get("/a")
        other.get("/b")
        assert [request.path for request in server.requests] == ["/held", "/b"]
        held.release()
        assert server.wait_for_request("/held").status == 200


class TestForgetting:
    def test_nothing_is_left_of_what_came_before(self, serve: Serve, client_of: ClientOf) -> None:
        def fails(_environ: dict[str, Any], _: StartResponse) -> Iterator[bytes]:
            raise LookupError("spam")

        server = serve(fails, validate=False)
        assert client_of(server).get("/before").status == 500
        server.wait_for_request()
        server.forget()
        assert (server.requests, server.errors) == ((), ())
        client_of(server).get("/after")
        assert server.wait_for_request().path == "/after"

    def test_what_is_in_flight_does_not_come_back(self, serve: Serve, client_of: ClientOf) -> None:
        def fails(_environ: dict[str, Any], _: StartResponse) -> Iterator[bytes]:
            raise LookupError("spam")

        held = Held(fails)
        server = serve(held, validate=False)
        client = client_of(server)
        client.request("GET", "/before")
        held.wait_until_entered()
        server.forget()
        held.release()
        assert client.reply().status == 500
        server.close()
        assert (server.requests, server.errors) == ((), ())
