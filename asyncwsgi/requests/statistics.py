"""What has become of the requests of a server, counted as they end.

On the loop alone, where each exchange ends: so no lock, and no thread waits for a counter. Counted
is what Prometheus' conventions ask for: totals that only grow, and how long things took as
histograms, of which several processes' can be added up.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import Protocol

from asyncwsgi.clock import clock

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds: the upper bounds of a histogram's buckets, those that prometheus_client has."""
# RFC 9110 9.1 and RFC 5789; clients choose their method, and each label that they choose would be a
# time series of its own for ever.
METHODS = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}
)
OTHER_METHOD = "other"


class CountedExchange(Protocol):
    """What is counted of an exchange that has ended, before it lets go of what it knows."""

    method: str
    submitted_at: float
    started_at: float
    """When a thread took it, monotonic; 0.0 if none has."""

    @property
    def final_status(self) -> int:
        """The status that the client got; 499 if it got none, because it had left."""

    @property
    def response_size(self) -> int: ...

    @property
    def body_size(self) -> int:
        """Bytes of its request body that have arrived."""


class Histogram:
    """How often something took how long."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        """For each of `BUCKETS`, and for what took longer than all of them."""
        self.seconds = 0.0
        """The sum."""

    def observe(self, seconds: float) -> None:
        """Count one that took so long."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.seconds += seconds


class RequestStatistics:
    """Counts exchanges. All of it runs on the loop; who looks from elsewhere copies first."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str]] = Counter()
        """By method and class of status, as ("GET", "2xx")."""
        self.queue_time = Histogram()
        """Between the complete request and the thread that took it."""
        self.application_time = Histogram()
        """Between that and the end of the response."""
        self.received_size = 0
        self.sent_size = 0

    def exchange_ended(self, exchange: CountedExchange) -> None:
        """Count `exchange`."""
        method = exchange.method if exchange.method in METHODS else OTHER_METHOD
        self.requests[method, f"{exchange.final_status // 100}xx"] += 1
        self.received_size += exchange.body_size
        self.sent_size += exchange.response_size
        started_at = exchange.started_at
        if started_at:
            self.queue_time.observe(started_at - exchange.submitted_at)
            self.application_time.observe(clock.monotonic() - started_at)
