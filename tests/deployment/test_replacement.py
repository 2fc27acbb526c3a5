"""Workers are replaced behind nginx, which keeps connections to them and tries nothing twice."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.client import connect
from tests.deployment.neighbours import nginx
from tests.supervision.conftest import Workers
from tests.supervision.conftest import workers as workers

CLIENTS = 6
REPLACEMENTS = 3
NO_RETRIES = ("proxy_http_version 1.1;", "proxy_http_version 1.1; proxy_next_upstream off;")


@pytest.mark.parametrize("options", [(), ("--preload",)], ids=["", "preload"])
def test_no_request_is_lost_and_none_is_answered_by_the_proxy(
    workers: Workers, shared: Path, options: tuple[str, ...]
) -> None:
    workers.serve(2, "--no-access-log", "--graceful-timeout", "30", *options)
    upstream = workers.project.address
    assert not isinstance(upstream, str)
    is_over = threading.Event()
    with nginx(shared, upstream, NO_RETRIES) as proxy, ThreadPoolExecutor(CLIENTS) as executor:
        asking = [executor.submit(ask, proxy.port, is_over) for _ in range(CLIENTS)]
        try:
            for _ in range(REPLACEMENTS):
                workers.signal(signal.SIGHUP)
                for _ in range(2):
                    workers.process.read_until("stopping; ")
        finally:
            is_over.set()
        statuses = sum((future.result() for future in asking), Counter[int]())
    assert set(statuses) == {200}
    assert statuses[200] > CLIENTS * REPLACEMENTS


def ask(port: int, is_over: threading.Event) -> Counter[int]:
    """What requests with and without a body are answered until it is over."""
    statuses = Counter[int]()
    with connect(("127.0.0.1", port)) as client:
        while not is_over.is_set():
            for reply in (client.get("/slow"), client.post("/", b"x" * 1000)):
                statuses[reply.status] += 1
                if reply.header("Connection") == "close":
                    client.close()
                    return statuses + ask(port, is_over)
    return statuses
