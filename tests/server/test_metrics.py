"""What Prometheus reads of a server."""

from __future__ import annotations

import sys
import urllib.request
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from asyncwsgi import Server
from asyncwsgi.errors import BindError, ConfigError
from asyncwsgi.testing import LiveServer
from tests.apps import Held, hello
from tests.client import Client, connect
from tests.conftest import Serve
from tests.http.helpers import until
from tests.server.helpers import refuses

ANY_PORT = "127.0.0.1:0"

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(server: LiveServer) -> Samples:
    """What its listener of metrics says, read as Prometheus reads it."""
    with urllib.request.urlopen(server.server.metrics_url, timeout=30) as reply:
        text = reply.read().decode()
    families = text_string_to_metric_families(text)
    return {(s.name, frozenset(s.labels.items())): s.value for f in families for s in f.samples}


def value(found: Samples, name: str, **labels: str) -> float:
    return found[f"asyncwsgi_{name}", frozenset(labels.items())]


def test_requests_are_counted_by_method_and_status(serve: Serve) -> None:
    server = serve(hello, metrics_bind=ANY_PORT)
    with connect(server.addresses[0]) as client:
        client.get()
    until(server, lambda: not server.server.snapshot().requests)
    found = samples(server)
    assert value(found, "requests_total", method="GET", status="2xx") == 1
    assert value(found, "request_application_seconds_count") == 1
    assert value(found, "request_queue_seconds_bucket", le="+Inf") == 1
    assert value(found, "response_bytes_total") > 13


def test_they_are_served_while_every_thread_is_busy(
    serve: Serve, client_of: Callable[[LiveServer], Client]
) -> None:
    held = Held()
    server = serve(held, metrics_bind=ANY_PORT, threads=1)
    client_of(server).request()
    held.wait_until_entered()
    try:
        found = samples(server)
    finally:
        held.release()
    assert (value(found, "threads_busy"), value(found, "threads")) == (1, 1)
    assert value(found, "connections", state="responding") == 1


def test_a_refusal_is_counted_by_its_status(serve: Serve) -> None:
    server = serve(hello, metrics_bind=ANY_PORT)
    with connect(server.addresses[0]) as client:
        client.send(b"spam\r\n\r\n")
        client.read_all()
    assert value(samples(server), "refusals_total", status="400") == 1


async def test_they_end_with_the_server_which_alone_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    async with Server(hello, port=0, metrics_bind=ANY_PORT) as server:
        url = server.metrics_url
    port = urlsplit(url).port
    assert port is not None
    assert refuses(("127.0.0.1", port))
    assert caplog.messages.count("stopping; 0 requests in flight") == 1


async def test_a_taken_port_is_said(taken: int) -> None:
    with pytest.raises(BindError, match=f"metrics on 127.0.0.1:{taken}: .* another metrics_bind"):
        await Server(hello, port=0, metrics_bind=f"127.0.0.1:{taken}").start()


def test_without_the_package_the_cure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ConfigError, match="pip install prometheus_client"):
        Server(hello, metrics_bind=ANY_PORT)


async def test_without_the_option_there_is_no_url_of_them() -> None:
    async with Server(hello, port=0) as server:
        with pytest.raises(LookupError, match="metrics_bind is not set"):
            _ = server.metrics_url
