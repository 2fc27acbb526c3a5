"""The plugin of pytest: an application served for a test, a module or the session.

pytest imports this at every start, most of which ask for no server: so it imports nothing but
pytest and the standard library, and the rest when a fixture is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from asyncwsgi.testing.leaks.check import LeakPolicy
    from asyncwsgi.testing.live.server import LiveServer

MARKER = "asyncwsgi"
COMPATIBILITY = "asyncwsgi.testing.compatibility.live_server"
FAILURES = pytest.StashKey[int]()
"""How often a test of the session has raised so far."""
MISSING: Any = object()


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    parser.addini("asyncwsgi_app", "the fixture with the application that is served", default="app")
    parser.addini(
        "asyncwsgi_leaks",
        "what a test has left at its server: warn, error (its teardown fails) or ignore",
        default="warn",
    )
    parser.addini(
        "asyncwsgi_raise_errors",
        "errors of the application fail the test that caused them, at its teardown",
        type="bool",
        default=False,
    )
    parser.addini(
        "asyncwsgi_live_server",
        "offer the fixture live_server, as suites of pytest-flask and pytest-django know it",
        type="bool",
        default=False,
    )
    pluginmanager.register(_Compatibility(parser), "asyncwsgi-compatibility")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "asyncwsgi(app='app', raise_errors=False, leaks='warn', **options): the server of a test: "
        "the fixture with its application, what fails the test, and arguments of LiveServer",
    )
    leaks = config.getini("asyncwsgi_leaks")
    if leaks not in ("warn", "error", "ignore"):
        raise pytest.UsageError(f"asyncwsgi_leaks must be warn, error or ignore, got {leaks!r}")


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    if call.excinfo is not None and not call.excinfo.errisinstance(pytest.skip.Exception):
        item.session.stash[FAILURES] = item.session.stash.get(FAILURES, 0) + 1


class _Compatibility:
    """Loads the fixture ``live_server``, whose name is others', where the configuration asks."""

    def __init__(self, parser: pytest.Parser) -> None:
        self._parser = parser

    def pytest_configure(self, config: pytest.Config) -> None:
        if not config.getini("asyncwsgi_live_server"):
            return
        # pytest-flask's own; whoever came from it may not have it any more.
        if not config.pluginmanager.has_plugin("flask"):
            help_text = "scope of live_server: session, package, module, class or function"
            self._parser.addini("live_server_scope", help_text, default="session")
        # After the plugins that are installed: of fixtures with one name the last counts.
        config.pluginmanager.register(import_module(COMPATIBILITY), "asyncwsgi-live-server")


@dataclass(frozen=True)
class Settings:
    """What a server is to be like, as the configuration and the markers of a test say."""

    app: str
    raise_errors: bool
    leaks: LeakPolicy
    options: dict[str, Any]

    @classmethod
    def of(cls, request: pytest.FixtureRequest, options: dict[str, Any]) -> Settings:
        """Those of the test, if the fixture is for one test; else those of the configuration."""
        getini = request.config.getini
        values = {
            "app": getini("asyncwsgi_app"),
            "raise_errors": getini("asyncwsgi_raise_errors"),
            "leaks": getini("asyncwsgi_leaks"),
            **options,
        }
        if request.scope == "function":
            for marker in reversed(list(request.node.iter_markers(MARKER))):
                if marker.args:
                    raise pytest.UsageError(
                        f"the marker asyncwsgi takes keywords only, got {marker.args!r}; "
                        "the application's fixture is app='name'"
                    )
                values |= marker.kwargs
        own = {name: values.pop(name) for name in ("app", "raise_errors", "leaks")}
        return cls(**own, options=values)


def application_of(request: pytest.FixtureRequest, name: str) -> Any:
    """What the fixture `name` returns; `MISSING` if there is no such fixture."""
    try:
        return request.getfixturevalue(name)
    except pytest.FixtureLookupError as error:
        if error.argname != name:
            raise
        return MISSING


def required_application(request: pytest.FixtureRequest, name: str) -> Any:
    """What the fixture `name` returns; fails the test if there is no such fixture."""
    application = application_of(request, name)
    if application is MISSING:
        pytest.fail(
            f"{request.fixturename} serves what the fixture {name!r} returns, and there is none. "
            "Write it in conftest.py:\n\n"
            f'    @pytest.fixture(scope="session")\n'
            f"    def {name}():\n"
            "        return create_app()  # any WSGI application\n\n"
            "or name another one: asyncwsgi_app = NAME in the configuration of pytest, or "
            "@pytest.mark.asyncwsgi(app=NAME).",
            pytrace=False,
        )
    return application


@contextmanager
def serving(
    request: pytest.FixtureRequest,
    application: Any,
    settings: Settings,
    *,
    start: bool = True,
    make: Callable[..., Any] | None = None,
) -> Iterator[Any]:
    """A server from here to the teardown of a fixture, where the test hears what it has left."""
    from asyncwsgi.testing.live.server import LiveServer

    owner = request.node.nodeid or "the session"
    server_class = make or LiveServer
    server: Any = server_class(application, owner=owner, leaks=settings.leaks, **settings.options)
    failures = request.session.stash.get(FAILURES, 0)
    if start:
        server.start()
    try:
        yield server
    finally:
        # A traceback holds the variables of a test that has failed, and they hold connections.
        if request.session.stash.get(FAILURES, 0) != failures:
            server.leaks = "ignore"
        with ExitStack() as stack:
            if settings.raise_errors:
                stack.callback(server.raise_errors)
            stack.callback(server.close)


def _server_of(
    request: pytest.FixtureRequest, asyncwsgi_options: dict[str, Any]
) -> Iterator[LiveServer]:
    settings = Settings.of(request, asyncwsgi_options)
    with serving(request, required_application(request, settings.app), settings) as server:
        yield server


@pytest.fixture(scope="session")
def asyncwsgi_options() -> dict[str, Any]:
    """Arguments of `LiveServer` that every server begins with; yours to override."""
    return {}


@pytest.fixture
def asyncwsgi_server(
    request: pytest.FixtureRequest, asyncwsgi_options: dict[str, Any]
) -> Iterator[LiveServer]:
    """The application of the fixture ``app``, served for one test."""
    yield from _server_of(request, asyncwsgi_options)


@pytest.fixture(scope="module")
def asyncwsgi_module_server(
    request: pytest.FixtureRequest, asyncwsgi_options: dict[str, Any]
) -> Iterator[LiveServer]:
    """The application of the fixture ``app``, served for the tests of a module."""
    yield from _server_of(request, asyncwsgi_options)


@pytest.fixture(scope="session")
def asyncwsgi_session_server(
    request: pytest.FixtureRequest, asyncwsgi_options: dict[str, Any]
) -> Iterator[LiveServer]:
    """The application of the fixture ``app``, served for the whole session."""
    yield from _server_of(request, asyncwsgi_options)


@pytest.fixture
def asyncwsgi_serve(
    request: pytest.FixtureRequest, asyncwsgi_options: dict[str, Any]
) -> Iterator[Callable[..., LiveServer]]:
    """Call it with an application and options: any number of servers, until the test is over."""
    common = Settings.of(request, asyncwsgi_options)
    with ExitStack() as stack:

        def serve(application: Any, **options: Any) -> LiveServer:
            own = {**common.options, **options}
            raise_errors = own.pop("raise_errors", common.raise_errors)
            leaks = own.pop("leaks", common.leaks)
            settings = Settings(common.app, raise_errors, leaks, own)
            server: LiveServer = stack.enter_context(serving(request, application, settings))
            return server

        yield serve
