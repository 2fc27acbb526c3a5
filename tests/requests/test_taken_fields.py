"""The loop uses what it has found, though a worker thread takes it away behind its look."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from asyncwsgi.requests.exchange import Exchange
from asyncwsgi.server.snapshot import take_snapshot
from tests.frontends.fakes import Stage

TAKEN = ("iteration", "_writable")
"""Fields that worker threads set to None while the loop looks at them."""


class HastyExchange(Exchange):
    """Whoever looks at such a field finds it once; by the next look it is gone."""

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name in TAKEN and value is not None:
            setattr(self, name, None)
        return value


class Part:
    """Stands for what sends a body, and for what the thread waits in."""

    coroutine = None

    def __init__(self) -> None:
        self.heard: list[str] = []

    def tick(self, now: float) -> None:
        self.heard.append("tick")

    def cut(self) -> None:
        self.heard.append("cut")

    def set(self) -> None:
        self.heard.append("set")


def look_at_clock(stage: Stage, exchange: Exchange) -> None:
    exchange.dispatcher.tick(0.0)


def take_look(stage: Stage, exchange: Exchange) -> None:
    (request,) = take_snapshot(
        exchange.dispatcher, stage.registry, leaving_lifespan=None, stacks=True
    ).requests
    assert request.state == "streaming"


@pytest.mark.parametrize(
    ("look", "heard"),
    [
        pytest.param(look_at_clock, ["tick"], id="the clock"),
        pytest.param(take_look, [], id="a snapshot"),
        pytest.param(
            lambda _, exchange: exchange.connection_lost(), ["cut", "set"], id="a client's end"
        ),
        pytest.param(
            lambda _, exchange: exchange.resume_writing(), ["set"], id="a client that reads on"
        ),
    ],
)
async def test_the_loop_uses_what_it_has_found(
    look: Callable[[Stage, Exchange], object], heard: list[str]
) -> None:
    stage = Stage()
    stage.exchange_class = HastyExchange
    stage.connect()
    stage.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
    exchange = stage.connection.exchange
    assert exchange is not None
    part = Part()
    for name in TAKEN:
        setattr(exchange, name, part)
    look(stage, exchange)
    assert part.heard == heard


async def test_a_call_that_has_ended_keeps_no_environ_until_the_loop_hears_of_it() -> None:
    kept: list[dict[str, Any]] = []

    class Ending(Exchange):
        def _end(self, nothing: None) -> None:
            kept.append(self.environ)
            super()._end(nothing)

    stage = Stage()
    stage.exchange_class = Ending
    stage.connect()
    stage.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
    stage.answer()
    assert kept == [{}]
