"""Every server test runs on every event loop there is: their listeners differ in the details."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from asyncwsgi import Server
from asyncwsgi.running import loop_factory
from asyncwsgi.testing import LiveServer
from tests.conftest import Serve
from tests.server.helpers import LOOPS

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication


# Optional: a pytest-asyncio before 1.4 does not know it, and runs the tests on asyncio's loop.
@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loops on which each async test runs."""
    return {name: loop_factory(name) for name in LOOPS}


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
