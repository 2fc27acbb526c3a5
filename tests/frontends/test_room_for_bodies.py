"""Room for bodies, as one connection takes it: what comes in which piece is what a test says."""

from __future__ import annotations

import pytest

from asyncwsgi.frontends.buffer_budget import UNCLAIMED_SIZE, Claim
from tests.frontends.fakes import Stage

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


async def test_clients_are_read_little_by_little_until_a_body_has_room() -> None:
    stage = Stage(body_buffer_size=2 * SIZE)
    stage.connect()

    def is_read_by_little() -> bool:
        return len(stage.connection.get_buffer(-1)) == UNCLAIMED_SIZE

    assert is_read_by_little()
    for data in (POST[:9], POST[9:] % UNCLAIMED_SIZE):
        stage.send(data)
        assert is_read_by_little()
    stage.send(bytes(UNCLAIMED_SIZE))
    stage.answer()
    assert is_read_by_little()
    stage.send(POST % SIZE)
    assert not is_read_by_little()
    stage.send(bytes(SIZE))
    stage.answer()
    assert is_read_by_little()


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
