"""Coverage of views, which run in the threads of the server.

Nothing has to be set up for that: the server runs in the process of the tests, and coverage follows
threads unless it is told not to (`.coveragerc` beside this file says when). Either of

    cd examples/testing/with_coverage
    coverage run -m pytest && coverage report
    python -m pytest --cov

shows the lines of `shop.py` that were run. The last view is missing: no test asks for it.
"""

from __future__ import annotations

import flask
import httpx
import pytest
from shop import make_app

from asyncwsgi.testing import LiveServer


@pytest.fixture
def app() -> flask.Flask:
    return make_app()


def test_a_view_in_a_worker_thread(asyncwsgi_server: LiveServer) -> None:
    assert httpx.get(asyncwsgi_server.url_for("/price")).json() == {"cents": 1999}


def test_a_view_on_the_loop(asyncwsgi_server: LiveServer) -> None:
    assert httpx.get(asyncwsgi_server.url_for("/rating")).json() == {"stars": 4}


def test_a_body_that_the_loop_iterates(asyncwsgi_server: LiveServer) -> None:
    assert httpx.get(asyncwsgi_server.url_for("/export")).text == "spam\neggs\n"
