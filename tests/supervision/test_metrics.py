"""The figures of all workers together, and what a service is told of its end."""

from __future__ import annotations

import os
import signal
import socket
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from asyncwsgi.server.stats import Stats
from asyncwsgi.supervision.metrics import WorkerMetrics
from tests.client import TIMEOUT
from tests.supervision.conftest import Workers

METRICS = ("--metrics-bind", "127.0.0.1:0")
DONE = replace(Stats.none(), requests={("GET", "2xx"): 3}, threads=2)


class TestTheSum:
    @pytest.fixture
    def metrics(self) -> WorkerMetrics:
        metrics = WorkerMetrics("127.0.0.1:0")
        for pid in (11, 12):
            metrics.told(pid, DONE)
        return metrics

    def test_is_of_what_each_has_told_last(self, metrics: WorkerMetrics) -> None:
        metrics.told(11, replace(DONE, requests={("GET", "2xx"): 5}))
        assert (metrics.stats().requests, metrics.stats().threads) == ({("GET", "2xx"): 8}, 4)

    def test_keeps_what_those_had_done_that_have_ended(self, metrics: WorkerMetrics) -> None:
        metrics.ended(11)
        assert (metrics.stats().requests, metrics.stats().threads) == ({("GET", "2xx"): 6}, 2)

    def test_counts_restarts(self, metrics: WorkerMetrics) -> None:
        metrics.restarted()
        metrics.ended(12)
        metrics.restarted()
        assert metrics.stats().worker_restarts == 2

    def test_of_a_worker_that_has_told_nothing_is_nothing(self, metrics: WorkerMetrics) -> None:
        metrics.ended(13)
        assert metrics.stats().requests == {("GET", "2xx"): 6}


def metrics_url(workers: Workers, *options: str) -> str:
    """Start two workers; where their figures are."""
    workers.project.start("--port", "0", "--workers", "2", *METRICS, *options)
    url = workers.process.read_until("metrics at ").rpartition(" ")[2]
    workers.find()
    workers.wait_until_served()
    return url


def value(url: str, name: str) -> float:
    """The sum of all samples of that name."""
    with urllib.request.urlopen(url, timeout=TIMEOUT) as reply:
        text = reply.read().decode()
    families = text_string_to_metric_families(text)
    return sum(s.value for f in families for s in f.samples if s.name == f"asyncwsgi_{name}")


def wait_for(url: str, name: str, expected: float) -> None:
    """Scrape until a figure is what it shall be: workers tell theirs now and then."""
    began = time.monotonic()
    while (now := value(url, name)) != expected:
        assert time.monotonic() - began < TIMEOUT, (name, now)


def test_requests_are_counted_over_a_replacement_of_all(workers: Workers) -> None:
    url = metrics_url(workers)
    for _ in range(5):
        assert workers.get().status == 200
    workers.signal(signal.SIGHUP)
    workers.wait_until_served(2)
    assert workers.get().status == 200
    wait_for(url, "requests_total", 6)
    assert value(url, "worker_restarts_total") == 0


def test_a_worker_that_dies_is_a_restart(workers: Workers) -> None:
    url = metrics_url(workers)
    dead = min(workers.pids(2))
    os.kill(dead, signal.SIGKILL)
    workers.wait_until_served()
    wait_for(url, "worker_restarts_total", 1)


def test_a_taken_port_ends_the_start(workers: Workers, taken: int) -> None:
    arguments = ("--port", "0", "--workers", "2", "--metrics-bind", f"127.0.0.1:{taken}")
    workers.project.start(*arguments)
    assert workers.process.wait() == 4


class TestTheEnd:
    OPTIONS = ("--shutdown-delay", "1000", "--ready-path", "/-/ready")

    def test_has_a_delay_in_which_nobody_is_ready(self, workers: Workers) -> None:
        workers.serve(2, *self.OPTIONS)
        assert workers.get("/-/ready").status == 200
        workers.process.send_signal_to_group(signal.SIGTERM)
        for _ in range(2):
            workers.process.read_until("not ready any more")
        assert workers.get("/-/ready").status == 503
        assert workers.get().status == 200
        workers.signal(signal.SIGTERM)
        assert workers.process.wait() == 0

    def test_is_not_that_of_a_worker_that_is_replaced(self, workers: Workers) -> None:
        workers.serve(1, *self.OPTIONS)
        workers.signal(signal.SIGHUP)
        workers.wait_until_served()
        if "stopping; " not in workers.process.log:  # the new one or the old one is heard first
            workers.process.read_until("stopping; ")
        assert workers.get("/-/ready").status == 200

    def test_the_service_manager_hears_of_it_and_of_the_start(
        self, workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(tmp_path / "notify"))
            manager.settimeout(TIMEOUT)
            monkeypatch.setenv("NOTIFY_SOCKET", manager.getsockname())
            workers.serve(2)
            assert manager.recv(100) == b"READY=1"
            workers.signal(signal.SIGTERM)
            assert manager.recv(100) == b"STOPPING=1"
            assert workers.process.wait() == 0


def test_what_serves_them_says_nothing_of_its_own_end(workers: Workers) -> None:
    metrics_url(workers)
    workers.signal(signal.SIGTERM)
    assert workers.process.wait() == 0
    assert workers.process.log.count("stopping; ") == 2  # who reads the log counts workers
