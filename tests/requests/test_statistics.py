"""What is counted of requests that have ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from asyncwsgi.requests.statistics import BUCKETS, Histogram, RequestStatistics
from asyncwsgi.testing import LiveServer
from tests.apps import Held, echo, hello
from tests.client import Client, connect
from tests.conftest import Serve
from tests.http.helpers import until

if TYPE_CHECKING:
    from wsgiref.types import StartResponse


@dataclass
class Ended:
    method: str = "GET"
    submitted_at: float = 1.0
    started_at: float = 0.0
    final_status: int = 200
    response_size: int = 10
    body_size: int = 3


def test_a_histogram_counts_in_the_first_bucket_that_is_large_enough() -> None:
    histogram = Histogram()
    for seconds in (0.0, BUCKETS[0], BUCKETS[0] * 1.01, BUCKETS[-1] + 1):
        histogram.observe(seconds)
    assert histogram.counts == [2, 1, *[0] * (len(BUCKETS) - 2), 1]


def test_methods_that_clients_invent_are_one() -> None:
    statistics = RequestStatistics()
    for number in range(3):
        statistics.exchange_ended(Ended(method=f"SPAM{number}"))
    assert statistics.requests == {("other", "2xx"): 3}


def test_a_request_that_no_thread_has_taken_has_no_durations() -> None:
    statistics = RequestStatistics()
    statistics.exchange_ended(Ended(started_at=0.0))
    assert sum(statistics.queue_time.counts) == sum(statistics.application_time.counts) == 0


def failing(_environ: dict[str, Any], _start_response: StartResponse) -> Iterable[bytes]:
    raise RuntimeError("a fault of the application")


@pytest.fixture
def ended(serve: Serve) -> Callable[..., Any]:
    """The figures behind one request to an application."""

    def ended(application: Any, body: bytes | None = None, **options: Any) -> Any:
        server = serve(application, count_requests=True, **options)
        with connect(server.addresses[0]) as client:
            client.request("GET" if body is None else "POST", "/", body)
            client.reply()
        server.close()
        return server.server.stats()

    return ended


class TestAServer:
    def test_counts_by_method_and_class_of_status(self, ended: Callable[..., Any]) -> None:
        assert ended(hello).requests == {("GET", "2xx"): 1}
        assert ended(failing).requests == {("GET", "5xx"): 1}

    def test_counts_the_bytes_of_bodies_and_responses(self, ended: Callable[..., Any]) -> None:
        stats = ended(echo, b"spam" * 100_000)
        assert stats.received_size == 400_000
        assert 400_000 < stats.sent_size < 401_000

    def test_counts_a_client_that_left_as_4xx(self, serve: Serve) -> None:
        held = Held()
        server = serve(held, count_requests=True)
        with connect(server.addresses[0]) as client:
            client.request()
            held.wait_until_entered()
            client.reset()
        until(server, lambda: not server.server.snapshot().connections)
        held.release()
        server.close()
        assert server.server.stats().requests == {("GET", "4xx"): 1}

    def test_measures_how_long_requests_take(self, ended: Callable[..., Any]) -> None:
        stats = ended(hello)
        assert (stats.queue_time.count, stats.application_time.count) == (1, 1)
        assert stats.application_time.seconds > 0

    def test_counts_nothing_of_them_unless_it_is_told_to(self, serve: Serve) -> None:
        server = serve(hello)
        with connect(server.addresses[0]) as client:
            client.get()
        server.close()
        assert server.server.stats().requests == {}

    def test_counts_what_is_refused_by_status(self, serve: Serve) -> None:
        server = serve(hello)
        with connect(server.addresses[0]) as client:
            client.send(b"spam\r\n\r\n")
            client.read_all()
        assert server.server.stats().refusals == {400: 1}

    def test_says_what_it_does_now(
        self, serve: Serve, client_of: Callable[[LiveServer], Client]
    ) -> None:
        held = Held()
        server = serve(held, threads=1)
        busy, queued = client_of(server), client_of(server)
        busy.request()
        held.wait_until_entered()
        queued.request()
        until(server, lambda: len(server.server.snapshot().requests) == 2)
        try:
            stats = server.server.stats()
            assert (stats.busy_threads, stats.queue_size, stats.threads) == (1, 1, 1)
            assert stats.connections == {"responding": 2}
        finally:
            held.release()
