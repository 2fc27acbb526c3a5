"""environ["asyncwsgi.disconnected"]: views learn that their client has left."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from asyncwsgi.coroutines.current import current_request
from tests.client import TIMEOUT, Client
from tests.conftest import Serve
from tests.http.helpers import ClientOf, Gate, leavings, messages

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

    import pytest


class Waiting:
    """At ``/wait``, waits for its client to leave; else tells whether it has left."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.done = threading.Event()
        self.answers: list[bool] = []

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        disconnected = environ["asyncwsgi.disconnected"]
        self.answers.append(disconnected())
        if environ["PATH_INFO"] == "/wait":
            self.entered.set()
            self.answers.append(disconnected(TIMEOUT))
            self.answers.append(disconnected.wait())
            self.answers.append(disconnected())
            self.done.set()
        else:
            self.answers.append(disconnected(0.001))
        start_response("200 OK", [("Content-Type", "text/plain")])
        return []


@leavings
def test_a_view_waits_for_its_client_to_leave(
    serve: Serve,
    client_of: ClientOf,
    caplog: pytest.LogCaptureFixture,
    leave: Callable[[Client], None],
) -> None:
    waiting = Waiting()
    server = serve(waiting)
    client = client_of(server)
    client.request(target="/wait")
    assert waiting.entered.wait(TIMEOUT)
    leave(client)
    assert waiting.done.wait(TIMEOUT)
    assert waiting.answers == [False, True, True, True]
    server.close()
    assert messages(caplog.records) == []


def test_a_client_that_stays_has_not_left(serve: Serve, client_of: ClientOf) -> None:
    waiting = Waiting()
    client = client_of(serve(waiting))
    for _ in range(2):
        assert client.get().status == 200
    assert waiting.answers == [False] * 4


def test_waitress_has_a_name_for_it(serve: Serve, client_of: ClientOf) -> None:
    keys: list[object] = []

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        keys.extend([environ["waitress.client_disconnected"], environ["asyncwsgi.disconnected"]])
        start_response("200 OK", [("Content-Type", "text/plain")])
        return []

    client_of(serve(app)).get()
    assert keys[0] is keys[1]


def test_who_asks_again_and_again_leaves_nothing_behind(serve: Serve, client_of: ClientOf) -> None:
    left: list[object] = []

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        disconnected = environ["asyncwsgi.disconnected"]
        for timeout in (0.0, 0.001, 0.0):
            assert not disconnected(timeout)
        left.extend([*disconnected._callbacks, *disconnected._waiting])
        start_response("200 OK", [("Content-Type", "text/plain")])
        return []

    assert client_of(serve(app)).get().status == 200
    assert left == []


def test_the_end_of_a_request_ends_the_wait_of_a_thread_that_outlives_it(
    serve: Serve, client_of: ClientOf
) -> None:
    answers: list[bool] = []
    waiting: list[threading.Thread] = []

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        disconnected = environ["asyncwsgi.disconnected"]
        waiting.append(threading.Thread(target=lambda: answers.append(disconnected.wait())))
        waiting[0].start()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return []

    assert client_of(serve(app)).get().status == 200
    waiting[0].join(TIMEOUT)
    assert answers == [False]


def test_callbacks_are_called_once_on_the_loop(serve: Serve, client_of: ClientOf) -> None:
    called: list[str] = []
    early, other, late = threading.Event(), threading.Event(), threading.Event()

    def view(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        exchange = current_request()
        assert exchange is not None

        def note(event: threading.Event) -> None:
            called.append(threading.current_thread().name)
            event.set()

        exchange.disconnect.call(lambda: note(early))
        exchange.disconnect.call(lambda: note(other))
        entered.set()
        assert early.wait(TIMEOUT)
        assert other.wait(TIMEOUT)
        exchange.disconnect.call(lambda: note(late))
        assert late.wait(TIMEOUT)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return []

    entered = threading.Event()
    server = serve(view)
    client = client_of(server)
    client.request()
    assert entered.wait(TIMEOUT)
    client.reset()
    server.close()
    assert called == ["asyncwsgi-server"] * 3


def test_a_generator_of_events_ends_at_its_next_block(serve: Serve, client_of: ClientOf) -> None:
    closed = threading.Event()
    gate = Gate()

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        try:
            yield b"data: spam\n\n"
            gate.entered.release()
            assert environ["asyncwsgi.disconnected"](TIMEOUT)
            while True:
                yield b"data: eggs\n\n"
        finally:
            closed.set()

    client = client_of(serve(app))
    client.request()
    gate.wait_until_entered()
    client.close()
    assert closed.wait(TIMEOUT)
