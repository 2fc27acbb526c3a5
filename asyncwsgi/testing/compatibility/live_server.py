"""``live_server`` as suites of pytest-flask and pytest-django know it, on a server of ours.

Loaded only where ``asyncwsgi_live_server = true``: the name belongs to others.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from asyncwsgi.testing.live.server import LiveServer
from asyncwsgi.testing.plugin import (
    MISSING,
    Settings,
    application_of,
    required_application,
    serving,
)

HOST = "localhost"


class CallableURL(str):
    """A URL. pytest-django's ``url`` is an attribute, that of pytest-flask a method."""

    __slots__ = ()

    def __call__(self, url: str = "") -> str:
        """The URL of the path `url`."""
        return f"{self}{url}"


class CompatibleLiveServer(LiveServer):
    """What pytest-flask and pytest-django call a live server.

    Args:
        application: the WSGI application.
        host: the name that its URL has.
        options: see `LiveServer`.
    """

    def __init__(self, application: Any, *, host: str = HOST, **options: Any) -> None:
        super().__init__(application, host=host, **options)
        self.host = host
        self._live_server_modified_settings = self._host_allowed()

    def _host_allowed(self) -> Any:
        """What pytest-django enters for each test; it looks for this under its own name."""
        if "pytest_django" not in sys.modules:
            return None
        from asyncwsgi.testing.compatibility.django_project import host_allowed

        return host_allowed(self.host)

    @property
    def url(self) -> CallableURL:
        """``http://HOST:PORT``; call it with a path for the URL of that."""
        scheme = super().url.partition(":")[0]
        return CallableURL(f"{scheme}://{self.host}:{self.port}")

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not stopped."""
        return self.thread.is_alive()

    def start(self) -> None:
        """Start it, unless the fixture has done so."""
        if not self.was_started:
            super().start()
            self._complete_server_name()

    def _complete_server_name(self) -> None:
        """Flask builds URLs out of its setting SERVER_NAME, if there is one: that has the port."""
        config = getattr(self.app, "config", {})
        if name := config.get("SERVER_NAME"):
            config["SERVER_NAME"] = f"{name.partition(':')[0]}:{self.port}"
            self.ended.add_done_callback(lambda _: config.update(SERVER_NAME=name))

    def stop(self) -> None:
        """Stop it, if it runs."""
        self.close()

    def __str__(self) -> str:
        return self.url

    def __add__(self, path: str) -> str:
        return f"{self.url}{path}"

    def __repr__(self) -> str:
        return f"<LiveServer of {self.app!r}>"


def _scope(fixture_name: str, config: pytest.Config) -> Any:
    return config.getini("live_server_scope")


@pytest.fixture(scope=_scope)
def live_server(
    request: pytest.FixtureRequest, asyncwsgi_options: dict[str, Any]
) -> Iterator[CompatibleLiveServer]:
    """The application of the fixture ``app``, or Django's, served."""
    settings = Settings.of(request, asyncwsgi_options)
    start = request.config.getoption("start_live_server", default=True)
    with _application(request, settings.app) as application:
        options = {**_listener(request.config, application), **settings.options}
        settings = dataclasses.replace(settings, options=options)
        with serving(
            request, application, settings, start=start, make=CompatibleLiveServer
        ) as server:
            yield server


@contextmanager
def _application(request: pytest.FixtureRequest, name: str) -> Iterator[Any]:
    application = application_of(request, name)
    if application is not MISSING:
        yield application
    elif request.config.pluginmanager.has_plugin("django"):
        request.getfixturevalue("django_db_setup")  # which names the databases of the tests
        from asyncwsgi.testing.compatibility.django_project import django_application

        with django_application() as application:
            yield application
    else:
        yield required_application(request, name)


def _listener(config: pytest.Config, application: Any) -> dict[str, Any]:
    """Host and port, where pytest-flask and pytest-django look for them."""
    host = config.getoption("live_server_host", default=None)
    address = config.getoption("liveserver", default=None)
    address = address or os.environ.get("DJANGO_LIVE_TEST_SERVER_ADDRESS", "")
    named, _, number = address.partition(":")
    port = getattr(application, "config", {}).get("LIVESERVER_PORT")
    port = port or config.getoption("live_server_port", default=0) or int(number or 0)
    return {"host": host or named or HOST, "port": int(port)}


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Flask: ``url_for(..., _external=True)`` is right inside a test that has asked for a server.

    A test that is a coroutine may run in another Context than hooks and fixtures do; so it
    enters the request's context itself.
    """
    server = getattr(item, "funcargs", {}).get("live_server")
    if not (isinstance(server, CompatibleLiveServer) and server.is_running):
        return (yield)
    new_context = getattr(server.app, "test_request_context", None)
    if new_context is None or not isinstance(item, pytest.Function):
        return (yield)
    make = functools.partial(new_context, base_url=server.url)
    test = item.obj
    if not inspect.iscoroutinefunction(test):
        with make():
            return (yield)
    item.obj = _within(make, test)
    try:
        return (yield)
    finally:
        item.obj = test


def _within(
    make: Callable[[], AbstractContextManager[Any]], test: Callable[..., Any]
) -> Callable[..., Any]:
    @functools.wraps(test)
    async def within(*args: Any, **kwargs: Any) -> Any:
        with make():
            return await test(*args, **kwargs)

    return within
