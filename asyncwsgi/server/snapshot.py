"""What a server is doing at this moment, for whoever looks: leak checks, diagnostics, metrics.

A snapshot is read-only and made of plain values, so that it can be kept, compared and written down.
It may be taken from any thread while the loop goes on: collections are copied before they are
looked at, and each field of a request is read once. What it says was true a moment ago; requests
and connections that it names may have ended since.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from asyncwsgi.clock import clock
from asyncwsgi.frontends.registry import ConnectionSnapshot, Registry
from asyncwsgi.requests.dispatcher import DispatchedExchange, Dispatcher
from asyncwsgi.requests.exchange import Exchange
from asyncwsgi.requests.worker_threads import ParkedJob
from asyncwsgi.server.stacks import (
    owners_of_threads,
    stack_of,
    stack_of_awaitable,
    stack_of_frame,
)

RequestState = Literal["queued", "running", "parked", "streaming"]

_RUNS = frozenset({Exchange.run.__code__, Exchange.run_rest.__code__})
"""Frames of these are the outermost of a request in its thread."""


@dataclass(frozen=True, slots=True)
class RequestSnapshot:
    """One request in flight."""

    key: int
    """Tells it from all others that are in flight."""
    method: str
    target: str
    """The request target as the client sent it."""
    client: str
    """The address of the client; empty for a Unix socket."""
    age: float
    """Seconds since it was complete enough to be handed to a worker thread."""
    state: RequestState
    """Whether it waits for a thread, runs in one, waits for a coroutine while its thread runs
    others (``park_async_views``), or its body is iterated by the loop."""
    is_answered: bool
    """Whether the last byte of its response was handed over; its thread may still be at work."""
    has_disconnected: bool
    """Whether its client has left."""
    was_cut: bool
    """Whether its response, which has no end of its own, was cut by the server that stops, and its
    thread has not noticed yet."""
    has_taken_socket: bool
    """Whether the application uses its client's socket itself, as WebSocket libraries do."""
    waits_for_client: bool
    """Whether its thread waits for the client, to send some of its body or to read on."""
    thread: str | None
    """The name of its thread, also of one that has parked it; None without one, or where no stacks
    were asked for."""
    stack: str
    """Where it stands, the innermost frame last; empty where no stacks were asked for."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a server does."""

    connections: tuple[ConnectionSnapshot, ...]
    requests: tuple[RequestSnapshot, ...]
    coroutines: tuple[str, ...]
    """The stacks of coroutines for which requests wait; empty where no stacks were asked for."""
    lifespan: str
    """The stack of the lifespan, if it is being left and stacks were asked for."""
    thread_limit: int | None
    """Most worker threads; None for an executor of the program's."""
    thread_count: int | None
    """Worker threads now; None for an executor of the program's."""
    is_draining: bool
    """Whether the server stops."""
    accepted_count: int
    """Connections since the start."""
    submitted_count: int
    """Requests that were handed to worker threads since the start."""
    refused_count: int
    """Requests and connections that were answered in the application's place since the start."""
    buffered_size: int
    """Bytes of `max_buffered_size` that are taken: by request bodies that have not reached the
    application, also by what may still come of them, and by unsent responses."""
    waiting_body_count: int
    """Request bodies that are not read on because there is no room for them."""

    @property
    def queue_size(self) -> int:
        """Requests that wait for a worker thread."""
        return sum(request.state == "queued" for request in self.requests)

    @property
    def parked_count(self) -> int:
        """Requests that wait for a coroutine while their threads run others."""
        return sum(request.state == "parked" for request in self.requests)

    @property
    def stream_count(self) -> int:
        """Responses whose bodies the loop iterates."""
        return sum(request.state == "streaming" for request in self.requests)


EMPTY = Snapshot((), (), (), "", None, None, False, 0, 0, 0, 0, 0)
"""That of a server which has not started."""


def take_snapshot(
    dispatcher: Dispatcher, registry: Registry, leaving_lifespan: Any, *, stacks: bool
) -> Snapshot:
    """What is there now. From any thread."""
    now = clock.monotonic()
    in_flight, cut = dispatcher.exchanges.copy(), dispatcher.cut_exchanges.copy()
    workers = dispatcher.workers
    parked = {id(job.request): job for job in workers.parked()}
    return Snapshot(
        connections=tuple(c.snapshot(now) for c in registry.connections),
        requests=tuple(_requests(in_flight, cut, parked, now, stacks=stacks)),
        coroutines=_coroutines(dispatcher) if stacks else (),
        lifespan=stack_of_awaitable(leaving_lifespan) if stacks else "",
        thread_limit=workers.limit,
        thread_count=workers.count,
        is_draining=dispatcher.is_draining,
        accepted_count=registry.accepted_count,
        submitted_count=dispatcher.submitted_count,
        refused_count=sum(registry.refused_counts.copy().values()),
        buffered_size=registry.budget.held_size,
        waiting_body_count=registry.budget.waiting_count,
    )


def _requests(
    in_flight: set[DispatchedExchange],
    cut: set[DispatchedExchange],
    parked: dict[int, ParkedJob],
    now: float,
    *,
    stacks: bool,
) -> Iterable[RequestSnapshot]:
    threads = owners_of_threads(_RUNS) if stacks else {}
    names = {thread.ident: thread.name for thread in threading.enumerate()} if stacks else {}
    for exchange in in_flight | cut:  # one that is being cut may be in both
        iteration, body = exchange.iteration, exchange.body
        thread_id = threads.get(id(exchange))
        is_body_awaited = body is not None and body.is_awaited
        state: RequestState = "running" if exchange.started_at else "queued"
        stack = stack_of(thread_id) if thread_id is not None else ""
        if (job := parked.get(id(exchange))) is not None:
            state = "parked"
            if stacks:
                thread_id, stack = job.thread_id, stack_of_frame(job.frame)
        if iteration is not None:
            # The thread that left the body to the loop may still be on its way out.
            state, thread_id = "streaming", None
            stack = stack_of_awaitable(iteration.coroutine) if stacks else ""
        yield RequestSnapshot(
            key=id(exchange),
            method=exchange.method,
            target=exchange.target,
            client=exchange.client,
            age=max(0.0, now - exchange.submitted_at),
            state=state,
            is_answered=exchange.is_answered,
            has_disconnected=exchange.is_connection_lost or exchange.disconnect.has_happened,
            was_cut=exchange in cut,
            has_taken_socket=exchange.has_taken_socket,
            waits_for_client=exchange.waits_until_writable or is_body_awaited,
            thread=names.get(thread_id),
            stack=stack,
        )


def _coroutines(dispatcher: Dispatcher) -> tuple[str, ...]:
    return tuple(stack_of_awaitable(coroutine) for coroutine in dispatcher.tasks.awaited())
