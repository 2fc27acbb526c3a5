"""What is open, as the registry counts it."""

from __future__ import annotations

import asyncio

from asyncwsgi.frontends.registry import ConnectionSnapshot, Registry
from tests.server.helpers import soon, turns


class Client:
    """One that is idle."""

    def tick(self, now: float) -> None: ...

    def close_if_idle(self) -> None: ...

    def abort(self) -> None: ...

    def read_little(self, is_little: bool) -> None: ...

    def snapshot(self, now: float) -> ConnectionSnapshot:
        return ConnectionSnapshot("client", "idle", 0.0, had_request=False)


async def test_a_client_that_has_no_transport_yet_is_waited_for_though_all_others_have_left() -> (
    None
):
    registry, opening, other = Registry(), Client(), Client()
    registry.add_opening(opening)
    registry.add(other)
    waiting = asyncio.create_task(registry.wait_until_empty())
    registry.discard(other)
    await turns()
    assert not waiting.done()
    registry.discard_opening(opening)
    await soon(waiting)


async def test_a_client_that_has_no_transport_yet_does_not_count_twice() -> None:
    # Its protocol is a connection a moment before its transport is known to be ready.
    registry, client = Registry(max_connections=1), Client()
    registry.add_opening(client)
    registry.add(client)
    assert not registry.is_overfull


def test_a_socket_that_was_taken_counts_with_the_ends_of_its_pair() -> None:
    registry = Registry(max_descriptors=2)
    registry.add(Client())
    registry.add(Client())
    assert not registry.is_overfull
    registry.taken_count += 1
    assert registry.is_overfull
