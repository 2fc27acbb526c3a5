"""One thread and one Context per request, nothing shared between requests, over real sockets."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from werkzeug.local import Local

from tests.apps import Held, hello
from tests.client import TIMEOUT
from tests.conftest import Serve
from tests.http.helpers import ClientOf, Environ, counting_submissions, take
from tests.http.wire import PLAIN

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")


class Steps:
    """Calls `step` in the application's call, in each iteration and in close(); keeps results."""

    def __init__(self, step: Callable[[str], object]) -> None:
        self._step = step
        self.results: list[object] = []
        self.has_closed = threading.Semaphore(0)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", PLAIN)
        self.results.append(self._step(f"call {environ['PATH_INFO']}"))
        return self

    def __iter__(self) -> Iterator[bytes]:
        for number in range(3):
            self.results.append(self._step(f"block {number}"))
            yield b"spam"

    def close(self) -> None:
        self.results.append(self._step("close"))
        self.has_closed.release()


@pytest.fixture(params=["worker threads", "executor"])
def options(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """What serves the application: the server's own threads or a given executor."""
    if request.param == "worker threads":
        yield {}
    else:
        with ThreadPoolExecutor(4) as executor:
            yield {"executor": executor}


def test_call_iteration_and_close_run_in_one_thread_and_one_context(
    options: dict[str, Any], serve: Serve, client_of: ClientOf
) -> None:
    # Flask resets in close() the token it got in the call; another Context would refuse it.
    local = threading.local()
    tokens: list[contextvars.Token[str]] = []

    def step(name: str) -> object:
        if name.startswith("call"):
            local.name = name
            tokens.append(variable.set(name))
        values = (local.name, variable.get())
        if name == "close":
            variable.reset(tokens.pop())
        return values

    application = Steps(step)
    client = client_of(serve(application, **options))
    for path in ("/first", "/second"):
        client.get(path)
        take(application.has_closed)
    first, second = ("call /first",) * 2, ("call /second",) * 2
    assert application.results == [first] * 5 + [second] * 5


@pytest.mark.parametrize("is_same_connection", [True, False], ids=["keep-alive", "reconnected"])
def test_nothing_set_in_one_request_is_there_in_the_next(
    is_same_connection: bool, serve: Serve, client_of: ClientOf
) -> None:
    # One thread serves both; Local is what Werkzeug keeps the state of a request in.
    local = Local()
    seen: list[tuple[str, str]] = []

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        seen.append((variable.get("unset"), getattr(local, "name", "unset")))
        variable.set("left behind")
        local.name = "left behind"
        return hello(environ, start_response)

    server = serve(application, threads=1)
    client = client_of(server)
    client.get()
    (client if is_same_connection else client_of(server)).get()
    assert seen == [("unset", "unset")] * 2


def test_nothing_set_by_a_request_that_failed_is_there_in_the_next(
    serve: Serve, client_of: ClientOf
) -> None:
    seen: list[str] = []

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        seen.append(variable.get("unset"))
        variable.set("left behind")
        raise LookupError("spam")

    server = serve(application, threads=1)
    assert [client_of(server).get().status for _ in range(2)] == [500, 500]
    assert seen == ["unset"] * 2


def test_nothing_set_by_whoever_started_the_server_is_there(
    serve: Serve, client_of: ClientOf
) -> None:
    seen: list[str] = []

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        seen.append(variable.get("unset"))
        return hello(environ, start_response)

    token = variable.set("the program's own")
    try:
        server = serve(application)
    finally:
        variable.reset(token)
    client_of(server).get()
    assert seen == ["unset"]


def test_requests_that_run_at_a_time_see_nothing_of_each_other(
    serve: Serve, client_of: ClientOf
) -> None:
    all_inside = threading.Barrier(4)
    seen: list[tuple[str, str]] = []

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        variable.set(environ["PATH_INFO"])
        all_inside.wait(TIMEOUT)
        seen.append((environ["PATH_INFO"], variable.get()))
        return hello(environ, start_response)

    server = serve(application)
    clients = [client_of(server) for _ in range(4)]
    for number, client in enumerate(clients):
        client.request(target=f"/{number}")
    assert [client.reply().status for client in clients] == [200] * 4
    assert sorted(seen) == [(f"/{number}", f"/{number}") for number in range(4)]


class Inside:
    """A body that tells when its request has left the application."""

    def __init__(self, blocks: Iterable[bytes], leave: Callable[[], None]) -> None:
        self._blocks = blocks
        self._leave = leave

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._blocks)

    def close(self) -> None:
        self._leave()


class Counted:
    """Counts how many requests are inside the application at most."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application
        self._lock = threading.Lock()
        self._inside = 0
        self.most_inside = 0

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        with self._lock:
            self._inside += 1
            self.most_inside = max(self.most_inside, self._inside)
        return Inside(self._application(environ, start_response), self._leave)

    def _leave(self) -> None:
        with self._lock:
            self._inside -= 1


def test_one_thread_serves_one_request_at_a_time(serve: Serve, client_of: ClientOf) -> None:
    counting_server, submitted = counting_submissions()
    held = Held()
    counted = Counted(held)
    server = serve(counted, threads=1, server_class=counting_server)
    clients = [client_of(server) for _ in range(8)]
    for client in clients:
        client.request()
    take(submitted, len(clients))
    held.wait_until_entered()
    held.release()
    assert [client.reply().status for client in clients] == [200] * 8
    assert counted.most_inside == 1
