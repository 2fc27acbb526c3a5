"""Async views whose client leaves: cancelled where that was asked for, and nowhere else."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from flask import Flask, request

import asyncwsgi
from tests.client import TIMEOUT
from tests.conftest import Serve


class Watched:
    """A Flask application with one async view that waits, and what became of it."""

    def __init__(self, *, is_decorated: bool, is_override: bool) -> None:
        self.app = Flask(__name__)
        if is_override:
            self.app.async_to_sync = asyncwsgi.async_to_sync  # type: ignore[assignment, method-assign]
        self.entered = threading.Event()
        self.left = threading.Event()
        self.ended = threading.Event()
        self.torn_down: list[BaseException | None] = []
        self.outcome = ""
        self._go_on: Callable[[], object] = lambda: None
        view: Callable[[], Awaitable[str]] = self._view
        if is_decorated:
            view = asyncwsgi.cancel_on_disconnect(self._view)
        self.app.add_url_rule("/", "view", view)
        self.app.teardown_request(self._tear_down)

    async def _view(self) -> str:
        gate = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._go_on = lambda: asyncio.run_coroutine_threadsafe(_set(gate), loop)
        request.environ["asyncwsgi.disconnected"].call(self.left.set)
        self.entered.set()
        try:
            await gate.wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # tidying up may take a while
            self.outcome = f"cancelled at {request.path}"
            raise
        self.outcome = "answered"
        return "answer"

    def _tear_down(self, error: BaseException | None) -> None:
        self.torn_down.append(error)
        self.ended.set()

    def let_go_on(self) -> None:
        self._go_on()


async def _set(gate: asyncio.Event) -> None:
    gate.set()


both_ways = pytest.mark.parametrize("is_override", [False, True], ids=["asgiref", "override"])


@both_ways
@pytest.mark.parametrize(
    ("is_decorated", "options"),
    [
        pytest.param(True, {}, id="decorator"),
        pytest.param(False, {"cancel_on_disconnect": True}, id="option"),
        pytest.param(True, {"cancel_on_disconnect": True}, id="both"),
        pytest.param(True, {"async_views_on_loop": False}, id="loop of its own"),
    ],
)
def test_a_view_is_cancelled_when_its_client_leaves(
    serve: Serve,
    client_of: Any,
    caplog: pytest.LogCaptureFixture,
    is_override: bool,
    is_decorated: bool,
    options: dict[str, Any],
) -> None:
    watched = Watched(is_decorated=is_decorated, is_override=is_override)
    server = serve(watched.app, **options)
    client = client_of(server)
    client.request()
    assert watched.entered.wait(TIMEOUT)
    with caplog.at_level(logging.INFO):
        client.close()
        assert watched.ended.wait(TIMEOUT)
        server.close()
    assert watched.outcome == "cancelled at /"
    assert [type(error) for error in watched.torn_down] == [asyncio.CancelledError]
    assert "failed" not in caplog.text
    assert " 499 " in caplog.text


@both_ways
def test_no_view_is_cancelled_otherwise(serve: Serve, client_of: Any, is_override: bool) -> None:
    watched = Watched(is_decorated=False, is_override=is_override)
    server = serve(watched.app)
    client = client_of(server)
    client.request()
    assert watched.entered.wait(TIMEOUT)
    client.close()
    assert watched.left.wait(TIMEOUT)
    watched.let_go_on()
    assert watched.ended.wait(TIMEOUT)
    assert (watched.outcome, watched.torn_down) == ("answered", [None])


@both_ways
def test_a_client_that_stays_is_answered(serve: Serve, client_of: Any, is_override: bool) -> None:
    watched = Watched(is_decorated=True, is_override=is_override)
    client = client_of(serve(watched.app))
    for _ in range(2):  # the disconnect of one request is not that of the next
        watched.entered.clear()
        client.request()
        assert watched.entered.wait(TIMEOUT)
        watched.let_go_on()
        assert client.reply().body == b"answer"


@both_ways
def test_what_goes_on_behind_a_decorated_function_is_not_cancelled(
    serve: Serve, client_of: Any, is_override: bool
) -> None:
    watched = Watched(is_decorated=False, is_override=is_override)

    @asyncwsgi.cancel_on_disconnect
    async def part() -> str:
        return "part"

    @watched.app.get("/whole")
    async def whole() -> str:
        assert await part() == "part"
        return await watched._view()

    server = serve(watched.app)
    client = client_of(server)
    client.request(target="/whole")
    assert watched.entered.wait(TIMEOUT)
    client.close()
    assert watched.left.wait(TIMEOUT)
    watched.let_go_on()
    assert watched.ended.wait(TIMEOUT)
    assert (watched.outcome, watched.torn_down) == ("answered", [None])


def test_the_decorator_keeps_the_views_name() -> None:
    # Flask's endpoints are named by it.
    @asyncwsgi.cancel_on_disconnect
    async def view() -> None:
        """What it does."""

    assert (view.__name__, view.__doc__) == ("view", "What it does.")


def test_a_sync_view_cannot_be_decorated() -> None:
    with pytest.raises(TypeError, match="only async views can be cancelled"):
        asyncwsgi.cancel_on_disconnect(lambda: None)  # type: ignore[arg-type, return-value]


async def test_elsewhere_the_decorator_does_nothing() -> None:
    @asyncwsgi.cancel_on_disconnect
    async def view() -> str:
        return "answer"

    assert await view() == "answer"
