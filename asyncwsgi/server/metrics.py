"""The figures of a server as Prometheus reads them, on a listener of their own.

What is exposed is made by prometheus_client, as a WSGI application, and served by a server of this
package with one thread of its own: it answers also while all threads of the other are busy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from asyncwsgi.errors import ConfigError
from asyncwsgi.requests.statistics import BUCKETS
from asyncwsgi.server.stats import Durations, Stats

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from prometheus_client.core import Metric

PREFIX = "asyncwsgi"
_BOUNDS = (*(f"{bound:g}" for bound in BUCKETS), "+Inf")


def metrics_application(stats: Callable[[], Stats]) -> WSGIApplication:
    """A WSGI application that answers with the figures of the moment, at whatever path.

    Args:
        stats: gives them. From any thread.

    Raises:
        ConfigError: prometheus_client is not installed.
    """
    try:
        from prometheus_client import CollectorRegistry, make_wsgi_app
    except ImportError:
        raise ConfigError(
            "metrics_bind needs prometheus_client, which is not installed; "
            "pip install prometheus_client (the extra `metrics` does)"
        ) from None
    registry = CollectorRegistry()
    registry.register(_Collector(stats))
    application: WSGIApplication = make_wsgi_app(registry)
    return application


class _Collector:
    """A collector of prometheus_client's."""

    def __init__(self, stats: Callable[[], Stats]) -> None:
        self._stats = stats

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering asks for no figures."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The figures, as families of samples."""
        stats = self._stats()
        yield _counter(
            "requests", "Requests that have ended.", ("method", "status"), stats.requests
        )
        yield _histogram("request_queue_seconds", "Waiting for a worker thread.", stats.queue_time)
        yield _histogram(
            "request_application_seconds",
            "From the thread that took a request to the end of its response.",
            stats.application_time,
        )
        yield _counter("request_body_bytes", "Bytes of request bodies.", (), stats.received_size)
        yield _counter("response_bytes", "Bytes of responses, heads included.", (), stats.sent_size)
        refusals = {(str(status or "none"),): count for status, count in stats.refusals.items()}
        yield _counter("refusals", "Answered in the application's place.", ("status",), refusals)
        yield _counter("connections_accepted", "Connections.", (), stats.accepted_count)
        yield _counter("worker_restarts", "Processes replaced.", (), stats.worker_restarts)
        states = {(state,): count for state, count in stats.connections.items()}
        yield _gauge("connections", "Open connections.", ("state",), states)
        yield _gauge("queue_size", "Requests that wait for a thread.", (), stats.queue_size)
        yield _gauge("threads", "Worker threads.", (), stats.threads)
        yield _gauge("threads_busy", "Worker threads at work.", (), stats.busy_threads)
        yield _gauge("streams", "Responses that the loop iterates.", (), stats.streams)


Values = int | Mapping[tuple[str, ...], int]


def _counter(name: str, text: str, labels: tuple[str, ...], values: Any) -> Metric:
    from prometheus_client.core import CounterMetricFamily

    return _filled(CounterMetricFamily(f"{PREFIX}_{name}", text, labels=labels), values)


def _gauge(name: str, text: str, labels: tuple[str, ...], values: Any) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    return _filled(GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=labels), values)


def _filled(family: Any, values: Values) -> Metric:
    for labels, value in ({(): values} if isinstance(values, int) else values).items():
        family.add_metric(labels, value)
    metric: Metric = family
    return metric


def _histogram(name: str, text: str, durations: Durations) -> Metric:
    from prometheus_client.core import HistogramMetricFamily

    # Prometheus' buckets hold what those before them hold, too.
    buckets = list(zip(_BOUNDS, accumulate(durations.counts), strict=True))
    family = HistogramMetricFamily(f"{PREFIX}_{name}", text)
    family.add_metric([], buckets, durations.seconds)
    return family
