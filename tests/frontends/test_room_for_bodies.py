"""Room for bodies, as one connection takes it: what comes in which piece is what a test says."""

from __future__ import annotations

import pytest

from asyncwsgi.frontends.buffer_budget import UNCLAIMED_SIZE, Claim
from asyncwsgi.frontends.http import HttpConnection
from asyncwsgi.frontends.little_reads import READ_SIZE, LittleReads
from tests.frontends.fakes import FakeTransport, Stage

SIZE = 40_000
POST = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(size: int) -> bytes:
    return b"%x\r\n%b\r\n" % (size, bytes(size))


def crowded_stage() -> Stage:
    """One whose budget is held by another."""
    stage = Stage(max_buffered_size=SIZE)
    stage.registry.budget.ask(Claim(lambda: None), SIZE, SIZE)
    stage.connect()
    return stage


def held(stage: Stage) -> int:
    return stage.registry.budget.held_size - SIZE


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (POST % SIZE + bytes(SIZE), SIZE),
        (CHUNKED + chunk(SIZE) + b"0\r\n\r\n", SIZE),
        (POST % UNCLAIMED_SIZE + bytes(UNCLAIMED_SIZE), 0),
        (CHUNKED + chunk(UNCLAIMED_SIZE) + b"0\r\n\r\n", 0),
    ],
    ids=["counted", "chunked", "small and counted", "small and chunked"],
)
async def test_a_body_that_is_complete_at_once_waits_for_nobody(data: bytes, size: int) -> None:
    stage = crowded_stage()
    stage.send(data)
    assert len(stage.workers.jobs) == 1
    assert held(stage) == size
    stage.answer()
    assert held(stage) == 0


@pytest.mark.parametrize(
    "data",
    [
        POST % (UNCLAIMED_SIZE + 1),
        POST % SIZE + bytes(SIZE - 1),
        CHUNKED + chunk(UNCLAIMED_SIZE + 1),
    ],
    ids=["announced", "but for its last byte", "chunked"],
)
async def test_a_body_that_is_not_waits_and_what_is_there_of_it_is_counted(data: bytes) -> None:
    stage = crowded_stage()
    stage.send(data)
    assert stage.registry.budget.waiting_count == 1
    assert not stage.connection.client.is_reading
    came = len(data.partition(b"\r\n\r\n")[2])
    assert 0 <= came - held(stage) < 20  # the framing of a chunk
    stage.connection.connection_lost(None)
    assert (held(stage), stage.registry.budget.waiting_count) == (0, 0)


@pytest.mark.parametrize(
    "data",
    [POST % UNCLAIMED_SIZE, CHUNKED + chunk(UNCLAIMED_SIZE)],
    ids=["announced", "chunked"],
)
async def test_a_small_one_claims_nothing(data: bytes) -> None:
    stage = crowded_stage()
    stage.send(data)
    assert stage.connection.client.is_reading
    assert (held(stage), stage.registry.budget.waiting_count) == (0, 0)


def read_size(connection: HttpConnection) -> int | None:
    """The most that is read from it at a time; None for as much as the loop likes."""
    transport = connection.client.transport
    assert isinstance(transport, FakeTransport)
    protocol = transport.protocol
    return len(protocol.get_buffer(-1)) if isinstance(protocol, LittleReads) else None


async def test_while_room_is_scarce_little_is_read_of_what_may_be_a_body_that_has_none() -> None:
    stage = Stage(max_buffered_size=3 * SIZE, body_buffer_size=2 * SIZE)
    stage.connect()
    assert read_size(stage.connection) is None
    holder = Claim(lambda: None)
    stage.registry.budget.ask(holder, 0, 2 * SIZE)
    assert read_size(stage.connect_another()) == UNCLAIMED_SIZE
    for data in (POST[:9], POST[9:] % SIZE):
        assert read_size(stage.connection) == UNCLAIMED_SIZE
        stage.send(data)
    assert read_size(stage.connection) == READ_SIZE
    stage.send(bytes(SIZE))
    stage.answer()
    assert read_size(stage.connection) == UNCLAIMED_SIZE
    stage.registry.budget.release(holder)
    assert read_size(stage.connection) is None


async def test_what_nobody_has_read_of_a_body_is_not_held_while_the_rest_is_drained() -> None:
    stage = Stage(body_buffer_size=SIZE)
    stage.connect()
    stage.send(POST % (3 * SIZE) + bytes(SIZE))
    assert stage.registry.budget.held_size == SIZE
    stage.answer()
    assert stage.registry.budget.held_size == 0
    stage.send(bytes(SIZE))
    assert stage.registry.budget.held_size == 0
    stage.send(bytes(SIZE) + b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
    assert len(stage.workers.jobs) == 1  # of the next request
    assert stage.registry.budget.held_size == 0
