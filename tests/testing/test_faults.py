"""Servers that misbehave on purpose, and what clients see of it."""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest

from asyncwsgi import ConfigError, stream
from asyncwsgi.config import Loop
from asyncwsgi.requests.mailbox import Mailbox
from asyncwsgi.testing import Fault, Faults, LiveServer
from tests.apps import Endless, Held, echo, hello
from tests.client import TIMEOUT, Client, connect
from tests.loops import LOOPS
from tests.server.helpers import FOREVER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from wsgiref.types import StartResponse, WSGIApplication

MIB = 1024 * 1024


class Calls:
    """Answers with ``Hello, world!``, and remembers the paths that it was called for."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
        self.paths.append(environ["PATH_INFO"])
        return cast("list[bytes]", hello(environ, start_response))


class Staged:
    """A server and connections to it, over TLS or not."""

    def __init__(self, stack: ExitStack, loop: Loop, tls: bool) -> None:
        self._stack = stack
        self.options: dict[str, Any] = {"loop": loop, "tls": tls, "graceful_timeout": FOREVER}

    def serve(self, application: WSGIApplication, **options: Any) -> LiveServer:
        return self._stack.enter_context(LiveServer(application, **self.options | options))

    def connect(self, server: LiveServer) -> Client:
        sock = socket.create_connection(("127.0.0.1", server.port), TIMEOUT)
        if self.options["tls"]:
            # RFC 8446 6.1: an end without close_notify is a cut; here it is an error.
            sock = server.authority.client_context().wrap_socket(
                sock, server_hostname="localhost", suppress_ragged_eofs=False
            )
        return self._stack.enter_context(Client(sock))

    @property
    def resets(self) -> set[type[OSError]]:
        """What a client may hear of a reset; over TLS it depends on Python's version."""
        reset: set[type[OSError]] = {ConnectionResetError}
        return reset | {ssl.SSLEOFError} if self.options["tls"] else reset

    def in_background(self, call: Callable[[], Any]) -> Any:
        """Begin a call whose result is waited for."""
        pool = self._stack.enter_context(ThreadPoolExecutor(1))
        return pool.submit(call)


@pytest.fixture(
    params=[(loop, tls) for loop in LOOPS for tls in (False, True)],
    ids=lambda p: f"{p[0]} {'tls' if p[1] else 'tcp'}",
)
def staged(request: pytest.FixtureRequest) -> Iterator[Staged]:
    with ExitStack() as stack:
        yield Staged(stack, *request.param)


@pytest.fixture(params=LOOPS)
def plain(request: pytest.FixtureRequest) -> Iterator[Staged]:
    """The same for what TLS cannot change."""
    with ExitStack() as stack:
        yield Staged(stack, request.param, tls=False)


def large(_environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    """Answers with 1 MiB of which no two pieces are alike."""
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return [b"".join(n.to_bytes(4) for n in range(MIB // 4))]


LARGE = large({}, lambda *_: print)[0]


def blocks(_environ: dict[str, Any], start_response: StartResponse) -> Iterator[bytes]:
    """Answers in chunks."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"one "
    yield b"two "
    yield b"three"


def read_to_the_end(client: Client) -> tuple[bytes, type[Exception] | None]:
    """What comes until the connection ends, and the error it ends with."""
    received = b""
    while True:
        try:
            data = client.sock.recv(65536)
        except OSError as error:
            return received, type(error)
        if not data:
            return received, None
        received += data


class TestStall:
    def test_a_stalled_request_is_answered_when_it_is_released(self, staged: Staged) -> None:
        app = Calls()
        server = staged.serve(app)
        stall = server.faults.stall("/slow")
        client = staged.connect(server)
        client.request("GET", "/slow")
        stall.wait()
        assert staged.connect(server).get("/quick").status == 200
        assert app.paths == ["/quick"]
        stall.release()
        assert client.reply().body == b"Hello, world!"
        stall.release()  # there is nothing left to be released
        assert client.get("/again").status == 200
        assert app.paths == ["/quick", "/slow", "/again"]

    def test_its_body_arrives_whole(self, staged: Staged) -> None:
        server = staged.serve(echo)
        stall = server.faults.stall()
        client = staged.connect(server)
        sent = staged.in_background(partial(client.request, "POST", "/", LARGE))
        stall.wait()
        stall.release()
        assert client.reply().body == LARGE
        sent.result(TIMEOUT)

    def test_its_body_is_asked_for_when_it_is_released(self, plain: Staged) -> None:
        server = plain.serve(echo)
        stall = server.faults.stall()
        client = plain.connect(server)
        client.request("POST", "/", None, Content_Length="4", Expect="100-continue")
        stall.wait()
        stall.release()
        assert client.read_line() == b"HTTP/1.1 100 Continue\r\n"
        assert client.read_line() == b"\r\n"
        client.send(b"body")
        assert client.reply().body == b"body"

    def test_what_is_pipelined_behind_it_waits_its_turn(self, plain: Staged) -> None:
        app = Calls()
        server = plain.serve(app)
        stall = server.faults.stall("/a")
        client = plain.connect(server)
        client.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n")
        stall.wait()
        client.request("GET", "/c")
        assert plain.connect(server).get("/other").status == 200
        assert app.paths == ["/other"]
        stall.release()
        assert [client.reply().status for _ in "abc"] == [200, 200, 200]
        assert app.paths == ["/other", "/a", "/b", "/c"]

    def test_it_outlives_the_timeouts_of_clients_that_say_nothing(self, plain: Staged) -> None:
        server = plain.serve(hello)
        stall = server.faults.stall()
        client = plain.connect(server)
        client.request()
        stall.wait()
        silent = plain.connect(server)
        assert plain.connect(server).get().status == 200  # the silent one was accepted before
        # The server's clock is put on: a short timeout might pass before the request is sent.
        tick = server.server._registry.tick
        Mailbox(server.started.result()).post(tick, time.monotonic() + FOREVER)
        assert silent.is_closed()
        stall.release()
        assert client.reply().status == 200

    def test_closing_the_server_cuts_it_at_once(self, staged: Staged) -> None:
        app = Calls()
        server = staged.serve(app)  # its graceful_timeout is longer than any test
        stall = server.faults.stall()
        client = staged.connect(server)
        client.request()
        stall.wait()
        server.close()
        assert read_to_the_end(client)[0] == b""
        assert app.paths == []

    @pytest.mark.parametrize("leave", [Client.close, Client.reset, Client.half_close])
    def test_the_application_is_not_called_for_a_client_that_has_left(
        self, plain: Staged, leave: Callable[[Client], None]
    ) -> None:
        app = Calls()
        server = plain.serve(app, threads=1)
        stall = server.faults.stall("/left")
        client = connect(server.addresses[0])
        client.request("GET", "/left")
        stall.wait()
        leave(client)
        # The loop has read what came before, and so knows of it.
        assert plain.connect(server).get("/before").status == 200
        stall.release()
        assert plain.connect(server).get("/after").status == 200
        assert app.paths == ["/before", "/after"]
        client.close()

    def test_a_release_that_comes_before_the_request_lets_it_pass(self, plain: Staged) -> None:
        server = plain.serve(hello)
        with server.faults.stall(times=None):
            pass
        assert plain.connect(server).get().status == 200

    def test_a_cancelled_fault_goes_on_holding_what_it_holds(self, plain: Staged) -> None:
        app = Calls()
        server = plain.serve(app)
        stall = server.faults.stall(times=None)
        client = plain.connect(server)
        client.request("GET", "/held")
        stall.wait()
        stall.cancel()
        assert plain.connect(server).get("/free").status == 200
        assert app.paths == ["/free"]
        stall.release()
        assert client.reply().status == 200

    def test_httpx_sees_a_read_timeout(self, plain: Staged) -> None:
        server = plain.serve(hello)
        server.faults.stall()
        with httpx.Client(trust_env=False) as client:
            with pytest.raises(httpx.ReadTimeout):
                client.get(server.url, timeout=0.05)
            assert client.get(server.url).text == "Hello, world!"


class TestTrickle:
    def test_the_response_arrives_piece_by_piece_and_whole(self, staged: Staged) -> None:
        server = staged.serve(hello)
        server.faults.trickle("/slow", size=50, interval=0.01)
        client = staged.connect(server)
        began = time.monotonic()
        client.request("GET", "/slow")
        pieces: list[bytes] = []
        while b"Hello, world!" not in b"".join(pieces):
            pieces.append(client.sock.recv(65536))
        # A reader that is held up may find several pieces at once, but never a part of one.
        assert {len(piece) % 50 for piece in pieces[:-1]} <= {0}
        assert time.monotonic() - began >= 0.01 * (len(b"".join(pieces)) // 50)
        assert client.get("/quick").body == b"Hello, world!"

    def test_a_large_response_arrives_whole_and_the_next_one_behind_it(
        self, staged: Staged
    ) -> None:
        server = staged.serve(large)
        server.faults.trickle(size=30_000, interval=0.0)
        client = staged.connect(server)
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
        assert [client.reply().body == LARGE for _ in range(2)] == [True, True]

    def test_the_application_is_held_up_by_it(self, plain: Staged) -> None:
        endless = Endless(block_size=1024)

        def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
            application = endless if environ["PATH_INFO"] == "/endless" else hello
            return application(environ, start_response)

        server = plain.serve(app, response_buffer_size=4096)
        server.faults.trickle("/endless", interval=FOREVER)
        client = plain.connect(server)
        client.request("GET", "/endless")
        assert client.read(1) == b"H"
        other = plain.connect(server)
        assert {other.get().status for _ in range(50)} == {200}
        assert endless.produced < 20
        client.reset()
        assert endless.was_closed.wait(TIMEOUT)

    def test_a_client_that_reads_nothing_holds_it_up(self, plain: Staged) -> None:
        body = LARGE * 16  # more than the kernel keeps for it

        def app(_environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
            start_response("200 OK", [("Content-Length", str(len(body)))])
            return [body]

        server = plain.serve(app)
        trickle = server.faults.trickle(size=20_000, interval=0.0)
        client = plain.connect(server)
        client.request()
        trickle.wait()
        assert plain.connect(server).get().body == body
        assert client.reply().body == body

    def test_a_body_that_the_loop_iterates_trickles_too(self, staged: Staged) -> None:
        async def count() -> AsyncIterator[bytes]:
            for number in range(1000):
                yield b"%05d" % number

        def app(_environ: dict[str, Any], start_response: StartResponse) -> Any:
            start_response("200 OK", [("Content-Type", "text/plain")])
            return stream(count())

        server = staged.serve(app, response_buffer_size=1024)
        server.faults.trickle(size=200, interval=0.0)
        body = b"".join(b"%05d" % number for number in range(1000))
        client = staged.connect(server)
        assert client.get().body == body
        assert client.get().body == body

    @pytest.mark.parametrize("application", [hello, large])
    def test_the_rest_leaves_at_once_when_it_is_released(
        self, staged: Staged, application: WSGIApplication
    ) -> None:
        server = staged.serve(application)
        trickle = server.faults.trickle(interval=FOREVER)
        client = staged.connect(server)
        client.request()
        trickle.wait()
        assert client.sock.recv(1, socket.MSG_PEEK if not staged.options["tls"] else 0) == b"H"
        trickle.release()
        received = b"H" if staged.options["tls"] else b""
        client.request(Connection="close")
        received += client.read_all()
        assert received.count(b"HTTP/1.1 200 OK") == 2
        assert received.count(b"Hello, world!" if application is hello else LARGE) == 2

    def test_the_rest_leaves_at_once_when_the_server_closes(self, plain: Staged) -> None:
        server = plain.serve(hello)
        server.faults.trickle(interval=FOREVER)
        client = plain.connect(server)
        client.request()
        assert client.sock.recv(1, socket.MSG_PEEK) == b"H"
        server.close()
        assert client.reply().body == b"Hello, world!"
        assert client.is_closed()

    @pytest.mark.usefixtures("patience")
    def test_an_event_stream_that_trickles_does_not_hold_up_the_close(self, plain: Staged) -> None:
        app = Endless(media_type="text/event-stream")
        server = plain.serve(app)
        server.faults.trickle(interval=FOREVER)
        client = plain.connect(server)
        client.request()
        assert client.read(1) == b"H"
        server.close()
        assert app.was_closed.is_set()


class TestCutHead:
    @pytest.mark.parametrize("after", [0, 1, 10])
    def test_exactly_so_many_bytes_arrive(self, staged: Staged, after: int) -> None:
        server = staged.serve(hello)
        server.faults.cut_head("/cut", after=after)
        client = staged.connect(server)
        assert client.get("/whole").status == 200
        client.request("GET", "/cut")
        assert read_to_the_end(client) == (b"HTTP/1.1 200 OK"[:after], None)
        assert staged.connect(server).get("/cut").status == 200

    def test_at_most_the_head_arrives(self, plain: Staged) -> None:
        server = plain.serve(hello)
        server.faults.cut_head(after=MIB)
        client = plain.connect(server)
        client.request()
        received, error = read_to_the_end(client)
        assert received.endswith(b"\r\n\r\n")
        assert (received.count(b"\r\n\r\n"), error) == (1, None)

    def test_a_continue_is_no_part_of_it(self, plain: Staged) -> None:
        server = plain.serve(echo)
        server.faults.cut_head(after=10)
        client = plain.connect(server)
        client.request("POST", "/", None, Content_Length="4", Expect="100-continue")
        assert client.read(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"body")
        assert client.read_all() == b"HTTP/1.1 2"

    def test_http_client_sees_no_status_line(self, plain: Staged) -> None:
        server = plain.serve(hello)
        server.faults.cut_head(after=4)
        with pytest.raises(http.client.BadStatusLine, match="HTTP"):
            fetch(server)

    def test_httpx_sees_a_protocol_error(self, plain: Staged) -> None:
        server = plain.serve(hello)
        server.faults.cut_head()
        with httpx.Client(trust_env=False) as client:
            with pytest.raises(httpx.RemoteProtocolError):
                client.get(server.url)
            assert client.get(server.url).status_code == 200


class TestCutBody:
    @pytest.mark.parametrize("after", [0, 1, 12])
    def test_exactly_so_many_bytes_arrive(self, staged: Staged, after: int) -> None:
        server = staged.serve(hello)
        server.faults.cut_body("/cut", after=after)
        client = staged.connect(server)
        assert client.get("/whole").status == 200
        client.request("GET", "/cut")
        received, error = read_to_the_end(client)
        assert (received.partition(b"\r\n\r\n")[2], error) == (b"Hello, world!"[:after], None)
        assert staged.connect(server).get("/cut").status == 200

    def test_exactly_so_many_bytes_of_a_large_body_arrive(self, staged: Staged) -> None:
        server = staged.serve(large)
        server.faults.cut_body(after=700_001)
        client = staged.connect(server)
        client.request()
        received, error = read_to_the_end(client)
        assert received.partition(b"\r\n\r\n")[2] == LARGE[:700_001]
        assert error is None

    def test_a_head_that_leaves_in_several_blocks_is_found(self, plain: Staged) -> None:
        def app(_environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
            start_response("200 OK", [("Content-Length", "4"), ("X-Long", "x" * 10_000)])
            return [b"body"]

        server = plain.serve(app, response_buffer_size=600)
        server.faults.cut_body(after=2)
        client = plain.connect(server)
        client.request()
        received, _ = read_to_the_end(client)
        assert received.endswith(b"x" * 10_000 + received.partition(b"x" * 10_000)[2])
        assert received.endswith(b"\r\n\r\nbo")

    def test_the_framing_counts(self, plain: Staged) -> None:
        server = plain.serve(blocks)
        server.faults.cut_body(after=5)
        client = plain.connect(server)
        client.request()
        assert client.read_all().endswith(b"\r\n\r\n4\r\non")

    def test_a_body_that_is_shorter_leaves_whole_and_ends_the_connection(
        self, staged: Staged
    ) -> None:
        app = Calls()
        server = staged.serve(app)
        server.faults.cut_body(after=100)
        client = staged.connect(server)
        client.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.reply().body == b"Hello, world!"
        assert client.is_closed()
        assert app.paths == ["/a"]

    def test_the_application_is_told_that_its_client_has_left(self, plain: Staged) -> None:
        app = Endless()
        server = plain.serve(app)
        server.faults.cut_body(after=10)
        client = plain.connect(server)
        client.request()
        client.read_all()
        assert app.was_closed.wait(TIMEOUT)

    def test_a_cut_may_be_a_reset(self, staged: Staged) -> None:
        server = staged.serve(hello)
        server.faults.cut_body(after=5, reset=True)
        client = staged.connect(server)
        client.request()
        received, error = read_to_the_end(client)
        assert received.endswith(b"\r\n\r\nHello")
        assert error in staged.resets

    def test_a_client_that_does_not_close_holds_up_no_close(self, staged: Staged) -> None:
        server = staged.serve(hello, drain_timeout=FOREVER)
        server.faults.cut_body(after=5)
        client = staged.connect(server)
        client.request()
        assert client.read(17) == b"HTTP/1.1 200 OK\r\n"
        server.close()

    def test_http_client_sees_an_incomplete_body(self, plain: Staged) -> None:
        server = plain.serve(hello)
        server.faults.cut_body(after=5)
        with pytest.raises(http.client.IncompleteRead) as caught:
            fetch(server)
        assert (caught.value.partial, caught.value.expected) == (b"Hello", 8)

    @pytest.mark.parametrize("application", [hello, blocks], ids=["sized", "chunked"])
    def test_httpx_sees_a_protocol_error(
        self, staged: Staged, application: WSGIApplication
    ) -> None:
        server = staged.serve(application)
        server.faults.cut_body(after=5)
        missing = r"without sending complete|incomplete chunked"
        with httpx_client(server) as client:
            with pytest.raises(httpx.RemoteProtocolError, match=missing):
                client.get(server.url)
            assert client.get(server.url).status_code == 200


class TestRefuse:
    def test_the_connection_is_reset(self, staged: Staged) -> None:
        app = Calls()
        server = staged.serve(app)
        server.faults.refuse("/refused")
        client = staged.connect(server)
        assert client.get("/first").status == 200
        client.request("GET", "/refused")
        received, error = read_to_the_end(client)
        assert received == b""
        assert error in staged.resets
        assert app.paths == ["/first"]

    def test_a_body_that_is_still_to_come_changes_nothing(self, plain: Staged) -> None:
        app = Calls()
        server = plain.serve(app)
        server.faults.refuse()
        client = plain.connect(server)
        client.request("POST", "/", b"body", Expect="100-continue")
        assert read_to_the_end(client) == (b"", ConnectionResetError)
        assert plain.connect(server).get("/after").status == 200
        assert app.paths == ["/after"]

    def test_http_client_sees_a_reset(self, plain: Staged) -> None:
        server = plain.serve(hello)
        server.faults.refuse()
        with pytest.raises(ConnectionResetError):
            fetch(server)

    def test_httpx_sees_a_read_error(self, plain: Staged) -> None:
        server = plain.serve(hello)
        server.faults.refuse()
        with httpx.Client(trust_env=False) as client:
            with pytest.raises(httpx.ReadError):
                client.get(server.url)
            assert client.get(server.url).status_code == 200

    def test_httpx_retries_and_succeeds(self, plain: Staged) -> None:
        server = plain.serve(hello)
        fault = server.faults.refuse(times=2)
        with httpx.Client(trust_env=False) as client:
            for _ in range(2):
                with pytest.raises(httpx.ReadError):
                    client.get(server.url)
            assert client.get(server.url).status_code == 200
        assert (fault.hits, fault.remaining) == (2, 0)


class TestAnswer:
    def test_it_is_in_the_applications_place(self, staged: Staged) -> None:
        app = Calls()
        server = staged.serve(app)
        server.faults.answer(
            "/busy", status=429, headers={"Retry-After": "7", "content-type": "a/b"}, body=b"busy"
        )
        client = staged.connect(server)
        reply = client.get("/busy")
        assert (reply.status, reply.reason, reply.body) == (429, "Too Many Requests", b"busy")
        assert (reply.header("Retry-After"), reply.header("Content-Type")) == ("7", "a/b")
        assert client.get("/busy").body == b"Hello, world!"
        assert app.paths == ["/busy"]

    def test_a_body_that_was_sent_to_it_is_no_part_of_the_next_request(self, plain: Staged) -> None:
        server = plain.serve(echo)
        server.faults.answer(method="post")
        client = plain.connect(server)
        assert client.post("/", b"lost").status == 503
        assert client.post("/", b"kept").body == b"kept"

    def test_a_status_nobody_knows_can_be_sent(self, plain: Staged) -> None:
        server = plain.serve(hello)
        server.faults.answer(status=599)
        assert plain.connect(server).get().status == 599


class TestWhichRequests:
    def test_only_those_of_the_path(self, plain: Staged) -> None:
        server = plain.serve(hello, root_path="/shop")
        server.faults.answer("/shop/a b/ü", times=None)
        client = plain.connect(server)
        targets = ["/shop/a%20b/%C3%BC?q", "/shop/a%20b", "/shop/a%20b/%C3%BC/", "/shop"]
        assert [client.get(target).status for target in targets] == [503, 200, 200, 200]

    def test_only_those_of_the_method(self, plain: Staged) -> None:
        server = plain.serve(hello)
        server.faults.answer(method="post")
        client = plain.connect(server)
        assert [client.get().status, client.post().status] == [200, 503]

    def test_as_many_as_were_asked_for(self, plain: Staged) -> None:
        server = plain.serve(hello)
        fault = server.faults.answer(times=2)
        client = plain.connect(server)
        assert fault.remaining == 2
        assert [client.get().status for _ in range(3)] == [503, 503, 200]
        assert (fault.remaining, fault.hits) == (0, 2)

    def test_all_until_it_is_cancelled(self, plain: Staged) -> None:
        server = plain.serve(hello)
        fault = server.faults.answer(times=None)
        client = plain.connect(server)
        assert [client.get().status for _ in range(3)] == [503, 503, 503]
        assert fault.remaining is None
        fault.cancel()
        assert client.get().status == 200
        assert fault.hits == 3

    def test_a_request_meets_one_and_they_take_turns(self, plain: Staged) -> None:
        server = plain.serve(hello)
        server.faults.answer(status=502)
        server.faults.answer("/b", status=503)
        server.faults.answer(status=504)
        client = plain.connect(server)
        assert [client.get(f"/{name}").status for name in "abcd"] == [502, 503, 504, 200]

    def test_none_when_all_are_cleared(self, plain: Staged) -> None:
        server = plain.serve(hello)
        stall = server.faults.stall()
        client = plain.connect(server)
        client.request()
        stall.wait()
        server.faults.refuse(times=None)
        server.faults.clear()
        assert client.reply().status == 200
        assert client.get().status == 200

    def test_no_request_is_forgotten_by_threads_that_ask_for_faults(self, plain: Staged) -> None:
        server = plain.serve(hello)
        ready = threading.Barrier(4)

        def ask(number: int) -> Fault:
            ready.wait(TIMEOUT)
            return server.faults.answer(f"/{number}", times=5)

        with ThreadPoolExecutor(4) as pool:
            faults = list(pool.map(ask, range(4)))
        client = plain.connect(server)
        assert {client.get(f"/{n}").status for n in range(4) for _ in range(5)} == {503}
        assert [fault.hits for fault in faults] == [5, 5, 5, 5]


class TestHandles:
    def test_waiting_for_a_request_that_does_not_come_says_so(self) -> None:
        fault = Faults().stall("/a", method="get")
        with pytest.raises(TimeoutError, match=r"0 requests met <stall of GET /a> within 0.01 s"):
            fault.wait(timeout=0.01)

    async def test_a_coroutine_waits_without_blocking_its_loop(self, plain: Staged) -> None:
        server = plain.serve(hello)
        stall = server.faults.stall(times=2)
        waiting = asyncio.create_task(stall.await_hits(2, timeout=TIMEOUT))
        await asyncio.sleep(0)  # it waits
        clients = [plain.connect(server), plain.connect(server)]
        for client in clients:
            await asyncio.to_thread(client.request)
        async with asyncio.timeout(TIMEOUT):
            await waiting
            await stall.await_hits()  # of what came before, at once
        stall.release()
        assert [await asyncio.to_thread(client.reply) for client in clients]

    async def test_a_coroutine_is_told_of_a_request_that_does_not_come(self) -> None:
        fault = Faults().stall("/a", method="get")
        with pytest.raises(TimeoutError, match=r"0 requests met <stall of GET /a> within 0 s"):
            await fault.await_hits(timeout=0)

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda f: f.stall("a"), "path 'a' does not begin with a slash"),
            (lambda f: f.stall(times=0), "times must be at least 1"),
            (lambda f: f.trickle(size=0), "size must be at least 1 byte"),
            (lambda f: f.trickle(interval=-1), "interval must be 0 seconds or more"),
            (lambda f: f.cut_head(after=-1), "after must be 0 bytes or more"),
            (lambda f: f.cut_body(after=-1), "after must be 0 bytes or more"),
            (lambda f: f.answer(status=100), "status must be from 200 to 599"),
        ],
    )
    def test_what_makes_no_sense_is_refused(
        self, make: Callable[[Faults], object], message: str
    ) -> None:
        with pytest.raises(ConfigError, match=message):
            make(Faults())


def test_a_server_that_stops_lets_requests_pass(plain: Staged) -> None:
    held = Held()
    server = plain.serve(held)
    server.server.arrival_timeout = TIMEOUT  # as servers have it that are not for tests
    client = plain.connect(server)
    client.request()
    held.wait_until_entered()
    server.faults.answer("/idle")
    idle = plain.connect(server)
    assert idle.get("/idle").status == 503
    arriving = plain.connect(server)
    arriving.send(b"GET / HT")
    closing = plain.in_background(server.close)
    assert idle.is_closed()  # the server is stopping
    server.faults.stall()
    arriving.send(b"TP/1.1\r\nHost: a\r\n\r\n")
    held.wait_until_entered()
    held.release()
    assert [each.reply().status for each in (client, arriving)] == [200, 200]
    closing.result(TIMEOUT)


def fetch(server: LiveServer) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read()
    finally:
        connection.close()


def httpx_client(server: LiveServer) -> httpx.Client:
    verify = server.authority.client_context() if server.url.startswith("https") else True
    return httpx.Client(trust_env=False, verify=verify)
