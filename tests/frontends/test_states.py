"""Every state of a connection meets every event: it goes where the table says, or stays."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from asyncwsgi.frontends.registry import DrainPhase
from asyncwsgi.frontends.states import TABLE, Event, State
from tests.frontends.fakes import Stage

Step = Callable[[Stage], object]

GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
BROKEN = b"GET /broken HTTP/1.0\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 8\r\n\r\n"
LARGE = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 33\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
GARBAGE = b"spam\r\n\r\n"
SWITCH = b"GET /switch HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\n\r\n"
OPTIONS = {"body_buffer_size": 4, "drain_size": 16, "max_body_size": 32, "max_connections": 1}
"""Half of a body of 8 bytes is as much as a worker thread is worth."""


def send(data: bytes) -> Step:
    return lambda stage: stage.send(data)


def eof(stage: Stage) -> None:
    stage.connection.eof_received()


def lose(stage: Stage) -> None:
    stage.connection.connection_lost(None)


def close(stage: Stage) -> None:
    stage.connection.close()


def pause(stage: Stage) -> None:
    stage.connection.pause_writing()


def close_idle(phase: DrainPhase) -> Step:
    return lambda stage: stage.registry.close_idle(phase)


connect, answer = Stage.connect, Stage.answer
connect_without_half_close = Stage.connect_without_half_close
BEHIND = {
    "": b"",
    " before a request": GET,
    " before a part of a head": GET[:9],
    " before a part of a body": POST,
    " before a body that is too large": LARGE,
    " before garbage": GARBAGE,
}
"""What a client may have sent behind a request."""
HISTORIES: dict[str, tuple[Step, ...]] = {
    "new": (),
    "new at a full server": (Stage.crowd,),
    "new at a server that has stopped": (Stage.stop,),
    "idle": (connect,),
    "idle, with a full queue": (connect, Stage.fill_queue),
    "kept": (connect, send(GET), answer),
    "idle, and no half-close": (connect_without_half_close,),
    "in a head": (connect, send(GET[:9])),
    "in a head, and no half-close": (connect_without_half_close, send(GET[:9])),
    "in a head with a body": (connect, send(POST[:9])),
    "in a head, with a full queue": (connect, send(GET[:9]), Stage.fill_queue),
    "in a body": (connect, send(POST)),
    "in a body, with a full queue": (connect, send(POST), Stage.fill_queue),
    "in a chunked body": (connect, send(CHUNKED)),
    "in a chunked body, and no half-close": (connect_without_half_close, send(CHUNKED)),
    **{
        f"responding{name}": (connect, send(GET + data)) for name, data in BEHIND.items()
    },
    "responding to a request for another protocol": (connect, send(SWITCH)),
    "responding to one for another protocol of one who has shut its side": (
        connect, send(SWITCH), eof,
    ),
    "responding to one for another protocol, at a server that has stopped": (
        connect, send(SWITCH), Stage.stop,
    ),
    "responding to a last request": (connect, send(LAST)),
    "responding to a last request before another": (connect, send(LAST + GET)),
    "responding to one that breaks off": (connect, send(BROKEN)),
    "responding with a full queue": (connect, send(GET + GET), Stage.fill_queue),
    "responding to one who has shut its side": (connect, send(GET), eof),
    "responding to a slow client": (connect, send(GET), pause),
    "responding, at a server that has stopped": (connect, send(GET), Stage.stop),
    "responding without an end": (Stage.be_endless, connect, send(GET)),
    "responding, and the body is to come": (connect, send(POST + b"spam")),
    "responding, and the chunks are to come": (connect, send(CHUNKED + b"4\r\nspam\r\n")),
    "responding, and the framing is lost": (
        connect, send(CHUNKED + b"4\r\nspam\r\n"), send(GARBAGE),
    ),
    **{
        f"blocked{name}": (connect, send(GET + data), pause, answer)
        for name, data in BEHIND.items()
    },
    "blocked with a full queue": (connect, send(GET + GET), pause, Stage.fill_queue, answer),
    "blocked by one who has shut its side": (connect, send(GET), pause, answer, eof),
    "draining": (connect, send(POST + b"spam"), answer),
    "draining, with a full queue": (connect, send(POST + b"spam"), answer, Stage.fill_queue),
    "draining a slow client": (connect, send(POST + b"spam"), pause, answer),
    "draining, and no half-close": (connect_without_half_close, send(POST + b"spam"), answer),
    "draining chunks": (connect, send(CHUNKED + b"4\r\nspam\r\n"), answer),
    "lingering": (connect, send(GARBAGE)),
    "taken over": (connect, send(GET), Stage.take_over),
    "switched": (connect, send(GET), Stage.switch),
    "switched, and no half-close": (connect_without_half_close, send(GET), Stage.switch),
    "closing": (connect, close),
    "closing in the middle of a request": (connect, send(GET), close),
    "closed": (connect, lose),
    "closed in the middle of a request": (connect, send(GET), lose),
}  # fmt: skip
EVENTS: tuple[tuple[Event, Step], ...] = (
    (Event.CONNECTED, connect),
    *[(Event.DATA, send(data)) for data in (GET, LAST, POST, LARGE, CHUNKED, GARBAGE, b"\r\n")],
    *[(Event.DATA, send(data)) for data in (GET[:9], GET[9:], POST[9:], POST + b"spam", b"eggs")],
    *[(Event.DATA, send(b"spameggs" + data)) for data in BEHIND.values()],
    *[(Event.DATA, send(b"eggs" + data)) for data in BEHIND.values()],
    (Event.EOF, eof),
    (Event.WRITABLE, lambda stage: stage.connection.resume_writing()),
    (Event.RESPONSE_ENDED, answer),
    (Event.RESPONSE_ENDED, Stage.cancel),
    (Event.TAKE_OVER, Stage.take_over),
    (Event.TAKE_OVER, Stage.switch),
    (Event.DEADLINE, Stage.wait),
    *[(Event.CLOSE_IDLE, close_idle(phase)) for phase in DrainPhase],
    (Event.CLOSE, close),
    (Event.CLOSE, lambda stage: stage.connection.abort()),
    (Event.CLOSE, lambda stage: stage.connection.reset()),
    (Event.LOST, lose),
)


class Move(NamedTuple):
    """What came of one event."""

    history: str
    before: State
    event: Event
    after: State


def staged(history: str) -> Stage:
    stage = Stage(**OPTIONS)
    for step in HISTORIES[history]:
        step(stage)
    return stage


def may_happen(event: Event, stage: Stage) -> bool:
    """Whether such an event can come: a transport connects once, first, and is lost once."""
    state = stage.connection._state
    if event is Event.CONNECTED or state is State.NEW:
        return event is Event.CONNECTED and state is State.NEW
    if event is Event.RESPONSE_ENDED:
        return bool(stage.workers.jobs)
    if event is Event.TAKE_OVER:
        return state is State.RESPONDING
    return not (event is Event.LOST and state is State.CLOSED)


def moves() -> Iterator[Move]:
    for history in HISTORIES:
        for event, step in EVENTS:
            stage = staged(history)
            if may_happen(event, stage):
                before = stage.connection._state
                step(stage)
                yield Move(history, before, event, stage.connection._state)


async def test_every_event_leads_where_the_table_says_or_nowhere() -> None:
    wrong = [
        move
        for move in moves()
        if move.after is not move.before
        and move.after not in TABLE[move.before].get(move.event, ())
    ]
    assert wrong == []


async def test_all_that_the_table_says_happens() -> None:
    happened = {(move.before, move.event, move.after) for move in moves()}
    said = {
        (before, event, after)
        for before, events in TABLE.items()
        for event, targets in events.items()
        for after in targets
    }
    assert said - happened == set()


async def test_every_state_is_staged() -> None:
    assert {staged(history).connection._state for history in HISTORIES} == set(State)


async def test_no_connection_enters_a_state_to_which_its_own_does_not_lead() -> None:
    for history, target in itertools.product(HISTORIES, State):
        connection = staged(history).connection
        state = connection._state
        if target not in state.leads_to:
            with pytest.raises(
                AssertionError, match=f"{state.name} does not lead to {target.name}"
            ):
                connection._enter(target)
            assert connection._state is state


@pytest.mark.parametrize("seed", range(4))
async def test_a_long_life_keeps_to_the_table(seed: int) -> None:
    chance = random.Random(seed)
    ends = (Event.CLOSE, Event.CLOSE_IDLE, Event.DEADLINE, Event.EOF, Event.LOST)
    events = [(event, step) for event, step in EVENTS if event not in ends]
    for history in chance.choices(list(HISTORIES), k=200):
        stage = staged(history)
        for event, step in chance.choices(events, k=20):
            if may_happen(event, stage):
                before = stage.connection._state
                step(stage)
                after = stage.connection._state
                assert after in (before, *TABLE[before].get(event, ())), (history, event)
