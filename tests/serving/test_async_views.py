"""Async views of applications in the place of Werkzeug's server: on one loop, too."""

from __future__ import annotations

import asyncio

import pytest
from flask import Flask

from asyncwsgi import from_thread
from tests.serving.conftest import Start


@pytest.mark.parametrize("threaded", [True, False], ids=["threaded", "one at a time"])
def test_all_requests_share_a_loop(start: Start, threaded: bool) -> None:
    app = Flask(__name__)
    loops: set[asyncio.AbstractEventLoop] = set()

    async def note() -> str:
        loops.add(asyncio.get_running_loop())
        return "noted"

    app.add_url_rule("/async", view_func=note)
    app.add_url_rule("/sync", "sync", lambda: from_thread.run(note))

    with start(app, threaded=threaded).connect() as client:
        for target in ("/async", "/sync", "/async"):
            assert client.get(target).body == b"noted"
    assert len(loops) == 1
