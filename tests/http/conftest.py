"""Every test over a socket runs on every event loop there is: their transports differ."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asyncwsgi import Server
from asyncwsgi.testing import LiveServer
from tests.conftest import Serve
from tests.http.helpers import Clock

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

LOOPS = ["asyncio", "uvloop"] if find_spec("uvloop") else ["asyncio"]


@pytest.fixture(params=LOOPS)
def serve(request: pytest.FixtureRequest, serve: Serve) -> Serve:
    """As everywhere, on the loop that is the test's turn."""

    def start(
        application: WSGIApplication,
        *,
        validate: bool = True,
        server_class: type[Server] = Server,
        **options: Any,
    ) -> LiveServer:
        options.setdefault("loop", request.param)
        return serve(application, validate=validate, server_class=server_class, **options)

    return start


@pytest.fixture
def unix(tmp_path: Path) -> dict[str, Any]:
    """Options of a server on a Unix socket."""
    return {"bind": f"unix:{tmp_path / 'socket'}"}


@pytest.fixture(params=["TCP", "Unix socket"])
def where(request: pytest.FixtureRequest, unix: dict[str, Any]) -> dict[str, Any]:
    """Options of a server on each kind of listener."""
    return {} if request.param == "TCP" else unix


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """For tests in which something has to come before a deadline: the machine may be busy."""
    clock = Clock()
    monkeypatch.setattr("asyncwsgi.server.server.time", clock)
    return clock
