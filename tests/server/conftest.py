"""Every server test runs on every event loop there is: their listeners differ in the details."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from asyncwsgi.event_loops import loop_factory
from tests.conftest import Serve, serve_on
from tests.loops import LOOPS


# Optional: a pytest-asyncio before 1.4 does not know it, and runs the tests on asyncio's loop.
@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loops on which each async test runs."""
    return {name: loop_factory(name) for name in LOOPS}


@pytest.fixture(params=LOOPS)
def serve(request: pytest.FixtureRequest, serve: Serve) -> Serve:
    """As everywhere, on the loop that is the test's turn."""
    return serve_on(request.param, serve)
