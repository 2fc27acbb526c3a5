"""How a mount begins and ends: by its server's lifespan, by a block, by its first request."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pytest

from asyncwsgi import ResponseCut
from asyncwsgi.asgi import WSGIApp
from tests.apps import Endless, Held, hello
from tests.client import TIMEOUT
from tests.mounts.conftest import Mounting
from tests.mounts.protocol import HandMade, scope, service_of, turn

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

LIFESPAN = {"type": "lifespan", "asgi": {"version": "3.0"}}
STARTUP = {"type": "lifespan.startup"}
SHUTDOWN = {"type": "lifespan.shutdown"}


def threads() -> list[str]:
    """Worker threads that are there."""
    return [t.name for t in threading.enumerate() if t.name.startswith("asyncwsgi-worker")]


@pytest.fixture
def no_threads() -> None:
    assert threads() == [], "an earlier test has left some"


async def test_a_lifespan_of_the_server_begins_and_ends_it(no_threads: None) -> None:
    app = WSGIApp(hello)
    lifespan = HandMade(app, LIFESPAN, STARTUP)
    task = lifespan.begin()
    await lifespan.until_sent(1)
    assert (await HandMade(app, scope())()).status == 200
    assert threads()
    lifespan.give(SHUTDOWN)
    await task
    kinds = [message["type"] for message in lifespan.sent]
    assert kinds == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert threads() == []


async def test_without_a_lifespan_the_first_request_begins_it(no_threads: None) -> None:
    app = WSGIApp(hello)
    assert (await HandMade(app, scope())()).status == 200
    await app.aclose()
    assert threads() == []


async def test_the_end_lets_requests_in_flight_end_and_refuses_others() -> None:
    held = Held()
    app = WSGIApp(held, graceful_timeout=TIMEOUT)
    running = HandMade(app, scope()).begin()
    await asyncio.to_thread(held.wait_until_entered)
    closing = asyncio.ensure_future(app.aclose())
    await turn()
    assert (await HandMade(app, scope())()).status == 503
    held.release()
    assert (await running).status == 200
    await closing


async def test_the_end_cuts_what_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncwsgi.mounts.lifecycle.CUT_TIMEOUT", TIMEOUT)
    left = threading.Event()
    entered = threading.Event()

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        entered.set()
        if environ["asyncwsgi.disconnected"].wait(TIMEOUT):
            left.set()
        return hello(environ, start_response)

    mounted = WSGIApp(app, graceful_timeout=0)
    running = HandMade(mounted, scope()).begin()
    await asyncio.to_thread(entered.wait, TIMEOUT)
    await mounted.aclose()
    with pytest.raises(ResponseCut, match="GET / was cut: its mount is closing"):
        await running
    assert left.is_set()


async def test_the_end_of_an_event_stream_is_an_end() -> None:
    endless = Endless(media_type="text/event-stream")
    app = WSGIApp(endless, graceful_timeout=TIMEOUT)
    call = HandMade(app, scope())
    running = call.begin()
    await call.until_sent(2)
    await app.aclose()
    await running
    assert call.is_complete
    assert endless.closings == 1


async def test_an_event_stream_that_begins_at_the_end_has_its_beginning_and_an_end() -> None:
    held = Held(Endless(media_type="text/event-stream"))
    app = WSGIApp(held, graceful_timeout=TIMEOUT)
    call = HandMade(app, scope())
    running = call.begin()
    await asyncio.to_thread(held.wait_until_entered)
    closing = asyncio.ensure_future(app.aclose())
    await turn()
    held.release()
    await running
    assert (call.status, call.is_complete) == (200, True)
    await closing


async def test_an_end_that_is_cancelled_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held()
    app = WSGIApp(held, graceful_timeout=TIMEOUT)
    running = HandMade(app, scope()).begin()
    await asyncio.to_thread(held.wait_until_entered)
    closing = asyncio.ensure_future(app.aclose())
    await turn()
    closing.cancel()
    with pytest.raises(ResponseCut):
        await running
    held.release()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await app.aclose()


def test_it_serves_on_one_loop_after_the_other(no_threads: None) -> None:
    app = WSGIApp(hello)

    async def ask() -> int:
        return (await HandMade(app, scope())()).status

    # Nobody closes it: the end of its loop does.
    assert [asyncio.run(ask()) for _ in range(3)] == [200, 200, 200]
    assert threads() == []


async def test_it_does_not_serve_on_two_loops_at_a_time(mount: Mounting) -> None:
    app = mount(hello)
    await HandMade(app, scope())()

    def elsewhere() -> None:
        asyncio.run(HandMade(app, scope())())

    with pytest.raises(RuntimeError, match="serves on another event loop, which still runs"):
        await asyncio.to_thread(elsewhere)


async def test_a_server_is_told_that_it_cannot_start(mount: Mounting) -> None:
    app = mount(hello)
    await HandMade(app, scope())()
    lifespan = HandMade(app, LIFESPAN, STARTUP)
    await asyncio.to_thread(lambda: asyncio.run(lifespan()))
    assert lifespan.sent[0]["type"] == "lifespan.startup.failed"
    assert "another event loop" in lifespan.sent[0]["message"]


async def test_two_mounts_know_nothing_of_each_other(mount: Mounting) -> None:
    held = Held()
    first, second = mount(held, threads=1), mount(hello, threads=1)
    running = HandMade(first, scope()).begin()
    await asyncio.to_thread(held.wait_until_entered)
    assert (await HandMade(second, scope())()).status == 200
    await second.aclose()
    held.release()
    assert (await running).status == 200


async def test_it_may_begin_again_after_its_end() -> None:
    app = WSGIApp(hello)
    for _ in range(2):
        async with app:
            assert (await HandMade(app, scope())()).status == 200
    first = service_of(app)
    await app.aclose()
    assert service_of(app) is not first
    await app.aclose()


async def test_who_was_never_begun_ends_at_once() -> None:
    await WSGIApp(hello).aclose()


PROGRAM = """
import asyncio, threading
from asyncwsgi.asgi import WSGIApp
from tests.apps import hello
from tests.mounts.protocol import HandMade, scope

app = WSGIApp(hello)
for _ in range(2):
    loop = asyncio.new_event_loop()
    print(loop.run_until_complete(HandMade(app, scope())()).status)
    {close}
"""


@pytest.mark.parametrize("close", ["loop.close()", "pass"])
def test_a_loop_that_is_left_behind_does_not_keep_the_interpreter(close: str) -> None:
    # Nothing tells the mount of such an end. With a loop that was not closed it refuses another.
    program = [sys.executable, "-W", "ignore", "-c", PROGRAM.format(close=close)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    expected = ("200\n200\n", 0) if close != "pass" else ("200\n", 1)
    assert (done.stdout, done.returncode) == expected, done.stderr
