"""While few requests are in hand, a worker thread answers its client without the loop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from asyncwsgi.frontends.socket_loan import LentOutput
from asyncwsgi.http1.encoder import CONTINUE
from asyncwsgi.requests.worker_threads import FEW_JOBS
from asyncwsgi.testing import Authority, LiveServer
from tests.client import TIMEOUT, Client, connect
from tests.conftest import Serve
from tests.http.helpers import ClientOf, Environ, Gate, nothing_came, wait_for
from tests.http.wire import PLAIN


class HeldLoop:
    """Holds the loop of a server, from within a request, until it is let go."""

    def __init__(self) -> None:
        self.server: LiveServer | None = None
        self.is_held = threading.Event()
        self.has_sent = threading.Event()
        """The application was asked for more, behind all that it has."""
        self._release = threading.Event()

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        assert self.server is not None
        self.server.started.result().call_soon_threadsafe(self._hold)
        wait_for(self.is_held)
        start_response("200 OK", PLAIN)
        return self._blocks()

    def _blocks(self) -> Iterator[bytes]:
        yield b"spam"
        self.has_sent.set()

    def _hold(self) -> None:
        self.is_held.set()
        self._release.wait(TIMEOUT)

    def let_go(self) -> None:
        self._release.set()


def assert_loop_answers(client: Client, held: HeldLoop) -> None:
    """Ask, and see that the answer comes when the loop is let go, and not before."""
    client.request()
    wait_for(held.has_sent)
    assert nothing_came(client, bool)
    held.let_go()
    assert client.reply().body == b"spam"


@pytest.fixture
def loop_held() -> Iterator[HeldLoop]:
    held = HeldLoop()
    yield held
    held.let_go()


@pytest.mark.usefixtures("lent_to_few")
def test_one_request_alone_is_answered_while_the_loop_is_held(
    serve: Serve, client_of: ClientOf, where: dict[str, Any], loop_held: HeldLoop
) -> None:
    server = loop_held.server = serve(loop_held, **where)
    client = client_of(server)
    assert client.get().body == b"spam"
    loop_held.let_go()
    assert client.get().body == b"spam"  # the connection goes on


def test_a_live_server_of_a_test_leaves_the_answer_to_the_loop(
    serve: Serve, client_of: ClientOf, loop_held: HeldLoop
) -> None:
    server = loop_held.server = serve(loop_held)
    assert_loop_answers(client_of(server), loop_held)


@pytest.mark.usefixtures("lent_to_few")
def test_below_tls_the_loop_answers(
    serve: Serve, authority: Authority, loop_held: HeldLoop
) -> None:
    server = loop_held.server = serve(loop_held, tls=authority)
    with connect(server.addresses[0], tls=authority.client_context()) as client:
        assert_loop_answers(client, loop_held)


@pytest.mark.usefixtures("lent_to_few")
def test_its_status_and_size_are_logged_as_if_the_loop_had_answered(
    serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture, loop_held: HeldLoop
) -> None:
    caplog.set_level(logging.INFO, "asyncwsgi.access")
    server = loop_held.server = serve(loop_held, access_log=True)
    client_of(server).get()
    loop_held.let_go()
    server.close()
    (record,) = [each.__dict__ for each in caplog.records if "size" in each.__dict__]
    assert record["status"] == 200
    assert record["size"] > len("HTTP/1.1 200 OK\r\n\r\nspam")


@pytest.mark.usefixtures("lent_to_few")
def test_among_many_the_loop_answers(
    serve: Serve, client_of: ClientOf, loop_held: HeldLoop
) -> None:
    gate = Gate(loop_held)
    server = loop_held.server = serve(gate)
    others = [client_of(server) for _ in range(FEW_JOBS)]
    for other in others:
        other.request(target="/held")
        gate.wait_until_entered()
    assert_loop_answers(client_of(server), loop_held)
    gate.open()
    assert [other.reply().body for other in others] == [b"spam"] * FEW_JOBS


@pytest.mark.usefixtures("lent_to_few")
def test_an_event_stream_is_the_loops_though_a_100_was_not(
    serve: Serve, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[bytes | memoryview] = []
    send = LentOutput.send

    def note(self: LentOutput, data: bytes | memoryview) -> int:
        sent.append(data)
        return send(self, data)

    monkeypatch.setattr(LentOutput, "send", note)

    def app(environ: Environ, start_response: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(4)
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        return [b"data: ", body, b"\n\n"]

    client = client_of(serve(app))
    client.request("POST", Expect="100-continue", Content_Length="4")
    assert client.read(len(CONTINUE)) == CONTINUE
    client.send(b"spam")
    assert client.reply().body == b"data: spam\n\n"
    assert sent == [CONTINUE]
