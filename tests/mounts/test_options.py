"""What a mount may be told."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from asyncwsgi import ConfigError
from asyncwsgi.aiohttp import WSGIHandler
from asyncwsgi.asgi import WSGIApp
from tests.apps import hello
from tests.mounts.conftest import Mounting
from tests.mounts.protocol import HandMade, scope


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"port": 1}, "'port' is no option of a mount", id="the host's"),
        pytest.param({"root_path": "/a"}, "'root_path' is no option", id="the scope's"),
        pytest.param({"thread": 1}, "did you mean 'threads'", id="none at all"),
        pytest.param({"threads": 0}, "threads must be at least 1", id="a wrong value"),
    ],
)
def test_options_that_cannot_be_served(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WSGIApp(hello, **options)


def test_a_handler_of_aiohttp_may_be_told_its_path() -> None:
    WSGIHandler(hello, root_path="/a")
    with pytest.raises(ConfigError, match="root_path must begin with a slash"):
        WSGIHandler(hello, root_path="a")


def test_what_is_no_wsgi_application_is_refused() -> None:
    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        """No WSGI application."""

    with pytest.raises(ConfigError, match="is asynchronous, as ASGI applications are"):
        WSGIApp(asgi)  # type: ignore[arg-type]


async def test_access_lines_are_the_servers_unless_asked_for(
    mount: Mounting, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "asyncwsgi.access")
    await HandMade(mount(hello), scope())()
    assert caplog.records == []
    await HandMade(mount(hello, access_log=True), scope())()
    assert '"GET / HTTP/1.1" 200' in caplog.text
