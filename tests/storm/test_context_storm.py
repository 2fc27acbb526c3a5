"""Thousands of requests at the same time through one server: no two of them are mixed up.

`make storm` sends more of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from contextvars import Context
from typing import Any

import greenlet
import pytest
from werkzeug.serving import WSGIRequestHandler

import asyncwsgi
from asyncwsgi.serving import make_server
from tests.server.helpers import FOREVER
from tests.storm.application import BLOCKS, KINDS, STREAMS, Storm
from tests.storm.bodies import body_of
from tests.storm.clients import FRAMINGS, Load

REQUESTS = int(os.environ.get("STORM_REQUESTS", "1700"))
CLIENTS = min(2000, REQUESTS // 5)
THREADS = 40
BUFFERED = 4 * 1024
"""Bytes of a body that arrive before a thread has to be there; the larger bodies have more."""
SEED = int(os.environ.get("STORM_SEED", "1"))

Teardowns = dict[str, int]


def in_process(kind: str, *, leaves: bool = False) -> Teardowns:
    """What Flask's own test client sees torn down after one request of this kind."""
    return Context().run(ask_in_process, kind, leaves=leaves)


def ask_in_process(kind: str, *, leaves: bool) -> Teardowns:
    storm = Storm()
    storm.crossing.open()
    request = f"{kind}/0/0"
    client = storm.app.test_client()
    response = client.get(
        f"/{kind}?id={request}&client=0", headers={"X-Id": request}, buffered=False
    )
    if leaves:
        assert next(iter(response.response)) in (request.encode() + b"\n", request + "\n")
    else:
        assert response.get_data(as_text=True) == f"{request}\n" * BLOCKS
    response.close()
    assert storm.mix_ups == []
    return torn_down(storm, request)


def torn_down(storm: Storm, request: str) -> Teardowns:
    functions = ("teardown_request", "teardown_appcontext")
    return {function: storm.teardowns[request, function] for function in functions}


@pytest.mark.parametrize("kind", KINDS)
def test_flask_itself_tears_down_once_unless_it_streams_with_context(kind: str) -> None:
    # Since Flask 3.1.2 stream_with_context() pushes both contexts again, when the view's are popped
    # already: they are torn down behind the view and behind the stream.
    times = 2 if kind == "sync-stream" else 1
    expected = {"teardown_request": times, "teardown_appcontext": times}
    assert in_process(kind) == expected
    if kind in STREAMS:
        assert in_process(kind, leaves=True) == expected


class GreenletLocal:
    """What the docs advise where requests that share a thread are parked: greenlets keep it apart.

    One greenlet runs one request at a time, as threads do.
    """

    def __init__(self) -> None:
        vars(self)["_owners"] = weakref.WeakKeyDictionary()

    def __getattr__(self, name: str) -> Any:
        try:
            return self._owners[greenlet.getcurrent()][name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self._owners.setdefault(greenlet.getcurrent(), {})[name] = value


@contextlib.contextmanager
def served(storm: Storm, **more: Any) -> Iterator[int]:
    """A server; its port."""
    options = {"port": 0, "threads": THREADS, "body_buffer_size": BUFFERED, "access_log": False}
    with asyncwsgi.serve_in_thread(storm.app, **options, **more) as server:
        yield server.port


@contextlib.contextmanager
def served_parked(storm: Storm) -> Iterator[int]:
    """A server that parks requests which wait."""
    with served(storm, park_async_views=True) as port:
        yield port


@contextlib.contextmanager
def served_parked_with_override(storm: Storm) -> Iterator[int]:
    """The same, without asgiref; some find no place, and keep their thread."""
    storm.app.async_to_sync = asyncwsgi.async_to_sync  # type: ignore[assignment,method-assign]
    with served(storm, park_async_views=True, max_parked=THREADS) as port:
        yield port


@contextlib.contextmanager
def served_with_override(storm: Storm) -> Iterator[int]:
    """A server whose async views run by Flask's documented override."""
    storm.app.async_to_sync = asyncwsgi.async_to_sync  # type: ignore[assignment,method-assign]
    with served(storm) as port:
        yield port


@contextlib.contextmanager
def served_by_drop_in(storm: Storm) -> Iterator[int]:
    """The drop-in for Werkzeug's server."""
    server = make_server("127.0.0.1", 0, storm.app, threaded=True, request_handler=SilentHandler)
    server.graceful_timeout = FOREVER  # type: ignore[attr-defined]
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        yield server.port
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


class SilentHandler(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Thousands of lines say nothing."""


PARKED = (served_parked, served_parked_with_override)


@pytest.mark.parametrize("serve", [served, served_with_override, served_by_drop_in, *PARKED])
def test_no_request_sees_anything_of_another(
    serve: Callable[[Storm], AbstractContextManager[int]], caplog: pytest.LogCaptureFixture
) -> None:
    is_parked = serve in PARKED
    storm = Storm(GreenletLocal() if is_parked else None)
    with caplog.at_level(logging.WARNING), serve(storm) as port:
        load = Load(port, REQUESTS, CLIENTS, SEED, storm.crossing.open)
        if is_parked:
            # Threads that wait for their group hold up what they have parked, which may be all
            # that is left.
            load.few = CLIENTS // 3
        asyncio.run(load.run())
    # The server has stopped: every request is over.
    assert storm.mix_ups + load.mix_ups == []
    requests = load.answered | load.left
    assert len(requests) == REQUESTS // CLIENTS * CLIENTS
    assert load.left, "nobody left"
    assert set(load.framings) == set(FRAMINGS)
    assert len(storm.loop_threads) == 1, "coroutines ran elsewhere than on the server's loop"
    assert storm.closings == Counter(dict.fromkeys(requests, 1))
    expected = {kind: in_process(kind) for kind in KINDS}
    wrong = [r for r in requests if torn_down(storm, r) != expected[r.partition("/")[0]]]
    assert wrong == []
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == []


class NoContextVar:
    """A variable that all requests share."""

    def __init__(self) -> None:
        self._value: str | None = None

    def get(self, _default: None) -> str | None:
        return self._value

    def set(self, value: str) -> None:
        self._value = value


def test_the_storm_sees_what_is_mixed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.storm.application.OWNER", NoContextVar())
    storm = Storm()
    with asyncwsgi.serve_in_thread(storm.app, port=0, access_log=False) as server:
        load = Load(server.port, 200, 40, SEED, storm.crossing.open)
        asyncio.run(load.run())
    steps = {mix_up.partition(":")[0] for mix_up in storm.mix_ups}
    assert steps >= {
        "before", "sync view 1", "sync stream, after block 1", "async view, before await 1",
        "async stream, after await 1", "after", "teardown_request", "teardown_appcontext", "close",
    }  # fmt: skip


def test_the_storm_sees_another_requests_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.storm.clients.body_of", lambda _, size: body_of("another", size))
    storm = Storm()
    with asyncwsgi.serve_in_thread(storm.app, port=0, access_log=False) as server:
        load = Load(server.port, 200, 40, SEED, storm.crossing.open)
        asyncio.run(load.run())
    steps = {mix_up.partition(":")[0] for mix_up in storm.mix_ups}
    assert steps == {
        "sync view, body 0", "sync view, body 1", "sync view, body 2", "coroutine, body",
        "sync stream, body", "async view, body 0", "async view, body 1", "async view, body 2",
        "async stream, body", "async view of a stream, body",
    }  # fmt: skip
