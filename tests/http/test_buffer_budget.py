"""What all clients together make the server hold: who waits for room, who does not, how it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asyncwsgi import Server
from asyncwsgi.frontends.buffer_budget import UNCLAIMED_SIZE
from asyncwsgi.requests.worker_threads import Job, WorkerThreads
from asyncwsgi.testing import LiveServer
from tests.apps import echo, hello
from tests.client import Client, connect
from tests.conftest import Serve
from tests.http.helpers import (
    MIB,
    Blocks,
    ClientOf,
    Clock,
    Environ,
    Gate,
    answer,
    come_round,
    counting_submissions,
    fill,
    listen,
    messages,
    nothing_came,
    take,
    until,
)
from tests.http.wire import CHUNKED, LAST_CHUNK, chunk
from tests.server.certificates import Certificates

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

AMPLE = 10.0
"""For deadlines that pass on the test's clock."""
SIZE = 40_000
"""Of a body for which there is room if no other one is there."""
MAX = 50_000
BODY = bytes(range(250)) * (SIZE // 250)


def buffered(server: LiveServer) -> int:
    return server.server.snapshot().buffered_size


def waiting(server: LiveServer) -> int:
    return server.server.snapshot().waiting_body_count


def begin(client: Client) -> None:
    """Send all but the last byte of a body."""
    client.request("POST", Content_Length=str(SIZE))
    client.send(BODY[:-1])


def end(client: Client) -> bytes:
    """Send the last byte; the answer."""
    client.send(BODY[-1:])
    return client.reply().body


def hold_all(server: LiveServer, client: Client) -> None:
    """Have `client` hold all the room that there is."""
    client.request("POST", Content_Length=str(SIZE))
    client.send(BODY[:1])
    until(server, lambda: buffered(server) == SIZE)


def share_room(server: LiveServer, first: Client, second: Client) -> None:
    """Have `second` send all of a body while `first` holds the room; both are answered."""
    hold_all(server, first)
    second.request("POST", "/", BODY)
    until(server, lambda: waiting(server) == 1)
    come_round(server)
    assert buffered(server) - SIZE <= UNCLAIMED_SIZE
    first.send(BODY[1:])
    assert first.reply().body == BODY
    assert second.reply().body == BODY


def let_wait(server: LiveServer, *clients: Client, size: int = SIZE) -> None:
    """Have each of `clients` wait for room, in this order."""
    for client in clients:
        before = waiting(server)
        client.request("POST", Content_Length=str(size))
        until(server, lambda: waiting(server) == before + 1)  # noqa: B023 - waited for in here


def tick_until_nobody_waits(server: LiveServer, clock: Clock) -> None:
    """Have the server look at its connections until none waits for room."""

    def tick() -> bool:
        clock.pass_time(server, 0.1)
        return not waiting(server)

    until(server, tick)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


class TicklessServer(Server):
    """Looks at no deadline, and at nothing else that it could see then."""

    def _tick(self, now: float) -> None:
        pass


class TestWhoWaits:
    def test_a_body_for_which_there_is_no_room_is_not_read_until_there_is(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        server = serve(echo, max_buffered_size=MAX)
        first, second, other = (client_of(server) for _ in range(3))
        hold_all(server, first)
        total = 24 * MIB
        let_wait(server, second, size=total)
        part = BODY * 25
        sent = fill(second, part, other.get, limit=total)
        assert buffered(server) == SIZE
        first.send(BODY[1:])
        assert first.reply().body == BODY
        body = part * (total // len(part) + 1)
        second.send(body[sent:total])
        assert second.reply().body == body[:total]

    def test_what_comes_with_the_head_is_no_more_than_what_claims_nothing(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        server = serve(echo, max_buffered_size=MAX)
        first, second = client_of(server), client_of(server)
        share_room(server, first, second)

    def test_tls_clients_are_served_while_little_is_read(
        self, serve: Serve, certificates: Certificates
    ) -> None:
        server = serve(echo, max_buffered_size=MAX, certfile=certificates.files.both)
        address, context = ("127.0.0.1", server.port), certificates.client_context()
        with connect(address, context) as first, connect(address, context) as second:
            share_room(server, first, second)

    def test_clients_are_served_in_the_order_in_which_they_have_come(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        server = serve(echo, max_buffered_size=MAX)
        clients = [client_of(server) for _ in range(4)]
        hold_all(server, clients[0])
        let_wait(server, *clients[1:])
        clients[0].send(BODY[1:])
        assert clients[0].reply().body == BODY
        for count, client in zip((2, 1, 0), clients[1:], strict=True):
            until(server, lambda: waiting(server) == count)  # noqa: B023 - waited for in here
            client.send(BODY)
            assert client.reply().body == BODY

    def test_bodies_that_wait_for_a_thread_hold_room(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        gate = Gate(echo)
        server_class, submitted = counting_submissions()
        server = serve(gate, server_class=server_class, threads=1, max_buffered_size=MAX)
        held, queued, late = (client_of(server) for _ in range(3))
        held.request(target="/held")
        gate.wait_until_entered()
        queued.request("POST", "/", BODY)
        take(submitted, 2)
        assert buffered(server) == SIZE
        let_wait(server, late)
        gate.open()
        assert queued.reply().body == BODY
        late.send(BODY)
        assert late.reply().body == BODY

    @pytest.mark.parametrize("reads", [True, False], ids=["who reads on", "who leaves"])
    def test_unsent_responses_hold_room_until_their_client_has_gone_on(
        self, serve: Serve, client_of: ClientOf, reads: bool
    ) -> None:
        total = 16 * MIB
        blocks = Blocks(total)

        def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            return (blocks if environ["PATH_INFO"] == "/blocks" else echo)(environ, start_response)

        server = serve(app, server_class=TicklessServer, max_buffered_size=100_000)
        reader, first, second = (client_of(server) for _ in range(3))
        reader.send(b"GET /blocks HTTP/1.0\r\n\r\n")
        until(server, lambda: buffered(server) >= 100_000)
        first.request("POST", Content_Length=str(SIZE))  # one is always read
        until(server, lambda: buffered(server) >= 100_000 + SIZE)
        let_wait(server, second)
        if reads:
            assert len(reader.read_all()) > total
        else:
            reader.reset()
        until(server, lambda: not waiting(server))
        assert buffered(server) == 2 * SIZE
        second.send(BODY)
        assert second.reply().body == BODY

    def test_responses_that_are_too_small_for_back_pressure_are_counted_at_the_next_tick(
        self, serve: Serve, client_of: ClientOf, clock: Clock
    ) -> None:
        size = 16 * MIB  # more than the sockets take
        server = serve(answer(lambda: [bytes(size)]), response_buffer_size=64 * MIB)
        reader = client_of(server)
        reader.request()
        until(server, lambda: server.server.snapshot().submitted_count == 1)
        until(server, lambda: not server.server.snapshot().requests)
        assert buffered(server) == 0
        clock.pass_time(server, 1.0)
        assert MIB < buffered(server) <= size + 1000
        reader.read(size)
        come_round(server)
        clock.pass_time(server, 1.0)
        assert buffered(server) == 0


class TestWhoDoesNot:
    def test_requests_without_bodies_and_with_small_ones_are_served(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        server = serve(echo, max_buffered_size=1)
        first, second, other = (client_of(server) for _ in range(3))
        hold_all(server, first)
        let_wait(server, second)
        assert other.get().status == 200
        other.request("POST", Content_Length=str(UNCLAIMED_SIZE))
        other.send(bytes(UNCLAIMED_SIZE - 1))
        come_round(server)
        other.send(b"x")
        assert other.reply().body == bytes(UNCLAIMED_SIZE - 1) + b"x"
        other.send(CHUNKED + chunk(b"spam"))
        come_round(server)
        other.send(LAST_CHUNK)
        assert other.reply().body == b"spam"
        assert waiting(server) == 1

    def test_a_body_that_has_reached_the_application_holds_no_room(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        gate = Gate(echo)
        server = serve(gate, max_buffered_size=MAX)
        client, other = client_of(server), client_of(server)
        client.request("POST", "/held", BODY)
        gate.wait_until_entered()
        until(server, lambda: buffered(server) == 0)
        assert other.post(body=BODY).body == BODY
        gate.open()
        assert client.reply().body == BODY

    def test_a_thread_that_waits_for_a_body_does_not_wait_for_room(
        self, serve: Serve, client_of: ClientOf, clock: Clock
    ) -> None:
        # Else it would be for ever: the body that holds the room waits for the thread.
        gate = Gate(echo)
        server_class, submitted = counting_submissions()
        server = serve(gate, server_class=server_class, threads=1, max_buffered_size=MAX)
        held, reading, queued = (client_of(server) for _ in range(3))
        held.request(target="/held")
        gate.wait_until_entered()
        hold_all(server, queued)
        reading.request("POST", Content_Length=str(SIZE), Expect="100-continue")
        until(server, lambda: waiting(server) == 1)
        queued.send(BODY[1:])
        take(submitted, 3)
        gate.open()
        assert reading.read_line() == b"HTTP/1.1 100 Continue\r\n"
        assert reading.read_line() == b"\r\n"
        reading.send(BODY)
        tick_until_nobody_waits(server, clock)
        assert reading.reply().body == BODY
        assert queued.reply().body == BODY

    def test_no_limit_is_no_limit(self, serve: Serve, client_of: ClientOf) -> None:
        server = serve(echo, max_buffered_size=0)
        clients = [client_of(server) for _ in range(3)]
        for client in clients:
            begin(client)
        until(server, lambda: buffered(server) == 3 * SIZE)
        assert [end(client) for client in clients] == [BODY] * 3
        until(server, lambda: buffered(server) == 0)


class TestDeadlines:
    def test_who_waits_for_room_is_not_judged_and_who_holds_it_is(
        self,
        serve: Serve,
        client_of: ClientOf,
        clock: Clock,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        server = serve(echo, max_buffered_size=MAX, body_timeout=AMPLE, keep_alive_timeout=1000.0)
        silent, patient = client_of(server), client_of(server)
        listen(caplog)
        hold_all(server, silent)
        clock.pass_time(server, AMPLE / 2)
        let_wait(server, patient)
        clock.pass_time(server, AMPLE / 2)
        assert silent.reply().status == 408
        until(server, lambda: not waiting(server))
        clock.pass_time(server, AMPLE / 2)
        patient.send(BODY)
        assert patient.reply().body == BODY

    def test_who_has_waited_for_room_and_does_not_use_it_is_refused(
        self, serve: Serve, client_of: ClientOf, clock: Clock
    ) -> None:
        server = serve(echo, max_buffered_size=MAX, body_timeout=AMPLE)
        first, silent = client_of(server), client_of(server)
        hold_all(server, first)
        let_wait(server, silent)
        first.send(BODY[1:])
        assert first.reply().body == BODY
        until(server, lambda: not waiting(server))
        clock.pass_time(server, AMPLE)
        assert silent.reply().status == 408

    def test_a_wait_for_room_may_last(
        self, serve: Serve, client_of: ClientOf, clock: Clock
    ) -> None:
        gate = Gate(echo)
        server_class, submitted = counting_submissions()
        server = serve(
            gate, server_class=server_class, threads=1, max_buffered_size=MAX, body_timeout=AMPLE,
            keep_alive_timeout=1000.0,
        )  # fmt: skip
        held, queued, patient, other = (client_of(server) for _ in range(4))
        held.request(target="/held")
        gate.wait_until_entered()
        queued.request("POST", "/", BODY)
        take(submitted, 2)
        let_wait(server, patient)
        for _ in range(5):
            clock.pass_time(server, AMPLE)
        assert nothing_came(patient, lambda: come_round(server))
        gate.open()
        assert queued.reply().body == BODY
        until(server, lambda: not waiting(server))
        patient.send(BODY)
        assert patient.reply().body == BODY
        assert other.get().status == 200

    def test_single_bytes_do_not_keep_room_for_which_others_wait(
        self,
        serve: Serve,
        client_of: ClientOf,
        clock: Clock,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        server = serve(echo, max_buffered_size=MAX, body_timeout=AMPLE)
        trickling, patient = client_of(server), client_of(server)
        listen(caplog)
        hold_all(server, trickling)
        for _ in range(4):
            clock.pass_time(server, AMPLE / 2)
            trickling.send(b"x")
        come_round(server)  # nobody has waited: bytes put it off
        let_wait(server, patient)
        for _ in range(2):
            clock.pass_time(server, AMPLE / 2)
            trickling.send(b"x")
        assert trickling.reply().status == 408
        (line,) = messages(caplog.records)
        assert line.endswith(
            "refused with 408: a request body that is not there within 10 s, and others wait for "
            "its room (max_buffered_size)"
        )
        patient.send(BODY)
        assert patient.reply().body == BODY


def ignore(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Reads nothing of its body."""
    return hello(environ, start_response)


def break_off(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Reads some of its body and fails in the middle of its response."""
    environ["wsgi.input"].read(10)
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"spam"
    raise RuntimeError("of the application's own")


End = Callable[[Client], object]
HEAD = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 400000\r\n\r\n"
ENDS: dict[str, tuple[Any, bytes, End]] = {
    "served": (echo, HEAD + bytes(400_000), Client.reply),
    "reset in its body": (echo, HEAD + BODY, Client.reset),
    "shut in its body": (echo, HEAD + BODY, Client.half_close),
    "reset while it is read": (echo, HEAD + bytes(300_000), Client.reset),
    "shut while it is read": (echo, HEAD + bytes(300_000), Client.half_close),
    "too slow": (echo, HEAD + BODY, Client.reply),
    "too slow while it is read": (echo, HEAD + bytes(300_000), Client.reply),
    "not read": (ignore, HEAD + bytes(400_000), Client.reply),
    "not read, and reset behind the response": (ignore, HEAD + bytes(300_000), Client.reset),
    "cut in its response": (break_off, HEAD + bytes(400_000), Client.read_all),
    "chunked": (echo, CHUNKED + chunk(bytes(400_000)) + LAST_CHUNK, Client.reply),
    "chunked, and malformed": (echo, CHUNKED + chunk(bytes(100_000)) + b"spam\r\n", Client.reply),
    "chunked, and reset": (echo, CHUNKED + chunk(bytes(400_000)), Client.reset),
    "too large": (echo, CHUNKED + chunk(bytes(500_000)), Client.reply),
    "not served": (echo, HEAD.replace(b"/", b"/busy", 1) + bytes(400_000), Client.reply),
    "behind another": (echo, HEAD + bytes(400_000) + HEAD + BODY, Client.reset),
}
"""Ways in which a body ends: the application, what is sent, and what follows."""


class BusyServer(Server):
    """Has no thread for some requests."""

    class worker_threads_class(WorkerThreads):  # noqa: N801 - it is that attribute
        def submit(self, job: Job) -> None:
            if getattr(job, "target", "") == "/busy":
                self.limit = 0
            super().submit(job)


@pytest.mark.parametrize("end", ENDS)
def test_however_a_body_ends_its_room_comes_back(
    serve: Serve, client_of: ClientOf, end: str
) -> None:
    app, data, leave = ENDS[end]
    server = serve(
        app, max_buffered_size=300_000, max_body_size=450_000, body_timeout=0.2, validate=False,
        send_timeout=0.2,
    )  # fmt: skip
    client = client_of(server)
    client.send(data)
    come_round(server)  # so that it has begun
    leave(client)
    until(server, lambda: buffered(server) == 0)


@pytest.mark.parametrize("leave", [Client.reset, Client.half_close], ids=["reset", "shut"])
def test_who_leaves_while_it_waits_for_room_keeps_nobody_waiting(
    serve: Serve, client_of: ClientOf, clock: Clock, leave: End
) -> None:
    server = serve(echo, max_buffered_size=MAX)
    holding, leaving, patient = (client_of(server) for _ in range(3))
    hold_all(server, holding)
    let_wait(server, leaving, patient)
    leave(leaving)
    clock.pass_time(server, 1.0)
    holding.send(BODY[1:])
    assert holding.reply().body == BODY
    patient.send(BODY)
    assert patient.reply().body == BODY
    until(server, lambda: buffered(server) == 0)


def test_a_client_that_is_reset_while_it_waits_for_room_is_noticed(
    serve: Serve, client_of: ClientOf, clock: Clock
) -> None:
    server = serve(echo, max_buffered_size=MAX)
    holding, leaving = client_of(server), client_of(server)
    hold_all(server, holding)
    let_wait(server, leaving)
    leaving.reset()
    clock.pass_time(server, 1.0)
    until(server, lambda: not waiting(server))
    assert len(server.server.snapshot().connections) == 1
