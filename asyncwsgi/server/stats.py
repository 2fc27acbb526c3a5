"""The figures of a server, or of several together, for metrics and for whoever asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

from asyncwsgi.requests.statistics import BUCKETS, Histogram, RequestStatistics
from asyncwsgi.server.snapshot import Snapshot

K = TypeVar("K")
_NONE = (0,) * (len(BUCKETS) + 1)


@dataclass(frozen=True, slots=True)
class Durations:
    """How often something took how long."""

    counts: tuple[int, ...] = _NONE
    """For each of `asyncwsgi.requests.statistics.BUCKETS` how many took at most so many seconds,
    and more than those of the bucket before; at the end those that took longer than all."""
    seconds: float = 0.0
    """How long all of them took together."""

    @classmethod
    def of(cls, histogram: Histogram) -> Self:
        return cls(tuple(histogram.counts), histogram.seconds)

    def plus(self, other: Self) -> Self:
        pairs = zip(self.counts, other.counts, strict=True)
        return type(self)(tuple(a + b for a, b in pairs), self.seconds + other.seconds)

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """What a server has done since its start, and what it does now.

    What stands under "since the start" of requests is counted with the option ``count_requests``.
    """

    # Since the start.
    requests: Mapping[tuple[str, str], int]
    """Requests that have ended, by method and class of status, as ("GET", "2xx"). Methods that no
    RFC names are ``other``; ``4xx`` has the clients that left before they got a status (499)."""
    queue_time: Durations
    """Between a request that is complete and the thread that takes it."""
    application_time: Durations
    """Between that and the end of the response."""
    received_size: int
    """Bytes of request bodies."""
    sent_size: int
    """Bytes of responses, heads and framing included."""
    refusals: Mapping[int, int]
    """What was answered in the application's place, by status."""
    accepted_count: int
    """Connections."""
    worker_restarts: int = 0
    """Processes that took the place of another that had died or was stopped for what it did."""

    # Now.
    connections: Mapping[str, int]
    """Open ones, by what they wait for."""
    queue_size: int
    """Requests that wait for a worker thread."""
    busy_threads: int
    """Worker threads that are at work for a request."""
    threads: int
    """Worker threads; 0 for an executor of the program's."""
    streams: int
    """Responses whose bodies the loop iterates."""

    @classmethod
    def of(
        cls, snapshot: Snapshot, statistics: RequestStatistics | None, refusals: Mapping[int, int]
    ) -> Self:
        """Those of one server."""
        counted = statistics or RequestStatistics()
        return cls(
            requests=dict(counted.requests.copy()),
            queue_time=Durations.of(counted.queue_time),
            application_time=Durations.of(counted.application_time),
            received_size=counted.received_size,
            sent_size=counted.sent_size,
            refusals=dict(refusals),
            accepted_count=snapshot.accepted_count,
            connections=dict(Counter(c.state for c in snapshot.connections)),
            queue_size=snapshot.queue_size,
            busy_threads=sum(request.state == "running" for request in snapshot.requests),
            threads=snapshot.thread_count or 0,
            streams=snapshot.stream_count,
        )

    @classmethod
    def total(cls, parts: Iterable[Self]) -> Self:
        """Those of several servers together."""
        total = cls.none()
        for part in parts:
            total = total.plus(part)
        return total

    @classmethod
    def none(cls, *, worker_restarts: int = 0) -> Self:
        """Those of a server that has done nothing."""
        return cls(
            worker_restarts=worker_restarts,
            requests={},
            queue_time=Durations(),
            application_time=Durations(),
            received_size=0,
            sent_size=0,
            refusals={},
            accepted_count=0,
            connections={},
            queue_size=0,
            busy_threads=0,
            threads=0,
            streams=0,
        )

    def plus(self, other: Self) -> Self:
        """Both together."""
        return type(self)(
            requests=_sum(self.requests, other.requests),
            queue_time=self.queue_time.plus(other.queue_time),
            application_time=self.application_time.plus(other.application_time),
            received_size=self.received_size + other.received_size,
            sent_size=self.sent_size + other.sent_size,
            refusals=_sum(self.refusals, other.refusals),
            accepted_count=self.accepted_count + other.accepted_count,
            worker_restarts=self.worker_restarts + other.worker_restarts,
            connections=_sum(self.connections, other.connections),
            queue_size=self.queue_size + other.queue_size,
            busy_threads=self.busy_threads + other.busy_threads,
            threads=self.threads + other.threads,
            streams=self.streams + other.streams,
        )

    def as_past(self) -> Self:
        """What is left of them when the server has ended: it does nothing now."""
        return replace(self, connections={}, queue_size=0, busy_threads=0, threads=0, streams=0)

    def as_json(self) -> dict[str, Any]:
        """As what JSON can write, for another process."""
        return {
            "requests": [[*key, count] for key, count in self.requests.items()],
            "queue_time": [self.queue_time.counts, self.queue_time.seconds],
            "application_time": [self.application_time.counts, self.application_time.seconds],
            "refusals": list(self.refusals.items()),
            "connections": dict(self.connections),
            **{name: getattr(self, name) for name in _NUMBERS},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of `as_json`."""
        return cls(
            requests={(method, status): count for method, status, count in value["requests"]},
            queue_time=_durations(value["queue_time"]),
            application_time=_durations(value["application_time"]),
            refusals=dict(value["refusals"]),
            connections=value["connections"],
            **{name: value[name] for name in _NUMBERS},
        )


_NUMBERS = (
    "received_size", "sent_size", "accepted_count", "worker_restarts", "queue_size",
    "busy_threads", "threads", "streams",
)  # fmt: skip


def _durations(value: Any) -> Durations:
    counts, seconds = value
    return Durations(tuple(counts), seconds)


def _sum(one: Mapping[K, int], other: Mapping[K, int]) -> dict[K, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in {**one, **other}}
