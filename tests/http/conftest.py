"""Every test over a socket runs on every event loop there is: their transports differ."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncwsgi.clock import clock as server_clock
from asyncwsgi.requests.exchange import Exchange
from asyncwsgi.testing import Authority
from asyncwsgi.testing.live.recording import RecordingExchange
from tests.conftest import Serve, serve_on
from tests.http.helpers import Clock
from tests.loops import LOOPS


@pytest.fixture(params=LOOPS)
def serve(request: pytest.FixtureRequest, serve: Serve) -> Serve:
    """As everywhere, on the loop that is the test's turn."""
    return serve_on(request.param, serve)


@pytest.fixture
def unix(tmp_path: Path) -> dict[str, Any]:
    """Options of a server on a Unix socket."""
    return {"bind": f"unix:{tmp_path / 'socket'}"}


@pytest.fixture(params=["TCP", "Unix socket"])
def where(request: pytest.FixtureRequest, unix: dict[str, Any]) -> dict[str, Any]:
    """Options of a server on each kind of listener."""
    return {} if request.param == "TCP" else unix


@pytest.fixture
def lent_to_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have worker threads of live servers answer themselves, as those of other servers do."""
    monkeypatch.setattr(RecordingExchange, "few_run", Exchange.few_run)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """For tests in which something has to come before a deadline: the machine may be busy."""
    clock = Clock()
    monkeypatch.setattr(server_clock, "monotonic", clock.monotonic)
    return clock


@pytest.fixture(scope="module")
def authority() -> Iterator[Authority]:
    with Authority() as authority:
        yield authority
