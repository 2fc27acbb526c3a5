"""Five hundred tests that each start a server, after which nothing may be more than before."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import flask
import pytest

from asyncwsgi.testing import LiveServer

TESTS = int(os.environ.get("MATRIX_TESTS", "500"))
WARM_UP = 20
"""Tests of a process after which caches are full and measuring begins."""
MOST_GROWTH = 8 * 1024 * 1024
"""Bytes; a hundred and more servers that were kept would be several times as much."""


class Footprint:
    def __init__(self) -> None:
        gc.collect()
        self.threads = threading.active_count()
        self.descriptors = len(list(Path("/proc/self/fd").iterdir()))
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.memory = pages * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(scope="session")
def app() -> flask.Flask:
    app = flask.Flask("app")

    @app.get("/")
    def index() -> str:
        return "hello"

    return app


@pytest.fixture(scope="session")
def starts() -> Iterator[list[Footprint]]:
    starts: list[Footprint] = []
    yield starts
    if len(starts) > WARM_UP:
        before, after = starts[WARM_UP], Footprint()
        assert after.threads <= before.threads
        assert after.descriptors <= before.descriptors
        assert after.memory - before.memory < MOST_GROWTH


@pytest.mark.parametrize("number", range(TESTS))
def test_a_server_of_its_own(
    starts: list[Footprint], number: int, request: pytest.FixtureRequest
) -> None:
    starts.append(Footprint())
    server: LiveServer = request.getfixturevalue("asyncwsgi_server")
    assert urlopen(server.url).read() == b"hello"
