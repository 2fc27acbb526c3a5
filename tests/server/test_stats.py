"""The figures of several servers together, and on their way between processes."""

from __future__ import annotations

import json
from dataclasses import replace

from asyncwsgi.requests.statistics import BUCKETS, Histogram
from asyncwsgi.server.stats import Durations, Stats


def durations(*seconds: float) -> Durations:
    histogram = Histogram()
    for each in seconds:
        histogram.observe(each)
    return Durations.of(histogram)


ONE = Stats(
    requests={("GET", "2xx"): 3, ("POST", "5xx"): 1},
    queue_time=durations(0.001, 0.5),
    application_time=durations(20.0),
    received_size=1,
    sent_size=2,
    refusals={400: 1},
    accepted_count=3,
    worker_restarts=4,
    connections={"idle": 5},
    queue_size=6,
    busy_threads=7,
    threads=8,
    streams=9,
)
OTHER = replace(ONE, requests={("GET", "2xx"): 10}, refusals={503: 2}, connections={"head": 1})


def test_each_figure_of_several_is_their_sum() -> None:
    assert Stats.total([ONE, OTHER]) == Stats(
        requests={("GET", "2xx"): 13, ("POST", "5xx"): 1},
        queue_time=durations(0.001, 0.5, 0.001, 0.5),
        application_time=durations(20.0, 20.0),
        received_size=2,
        sent_size=4,
        refusals={400: 1, 503: 2},
        accepted_count=6,
        worker_restarts=8,
        connections={"idle": 5, "head": 1},
        queue_size=12,
        busy_threads=14,
        threads=16,
        streams=18,
    )


def test_they_pass_through_json_unchanged() -> None:
    assert Stats.from_json(json.loads(json.dumps(ONE.as_json()))) == ONE


def test_of_a_server_that_has_ended_the_totals_are_left() -> None:
    past = ONE.as_past()
    assert (past.requests, past.accepted_count) == (ONE.requests, ONE.accepted_count)
    assert (past.connections, past.threads, past.streams) == ({}, 0, 0)
    assert (past.queue_size, past.busy_threads) == (0, 0)


def test_what_took_longer_than_all_buckets_is_counted_behind_them() -> None:
    assert durations(BUCKETS[-1] * 2).counts == (*[0] * len(BUCKETS), 1)
