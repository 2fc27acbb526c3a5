"""Live servers for `unittest`: one for each test, or one for all tests of a class.

The names are those of Flask-Testing and Django, whose live server cases these can replace.
"""

from __future__ import annotations

import sys
import unittest
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from asyncwsgi.errors import ConfigError
from asyncwsgi.testing.live.server import LiveServer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from wsgiref.types import WSGIApplication

    TestCase = unittest.TestCase
else:
    TestCase = object  # the mixins go with any subclass of it


class LiveServerMixin(TestCase):
    """A live server for each test of a `unittest.TestCase`, before which this is to be named.

    `create_app` makes the application. It is called, and the server started, before `setUp`, which
    need not call that of this class; an error there is an error of the test. The server is closed
    after all that a test tidies up. If the application is Flask's, the test runs in a request
    context of it, as in Flask-Testing; ``LIVESERVER_PORT`` of its configuration is the port.
    """

    server: LiveServer
    app: Any
    """What `create_app` returned."""
    live_server_options: ClassVar[Mapping[str, Any]] = {}
    """Arguments of `LiveServer`."""

    def create_app(self) -> WSGIApplication:
        """Make the application. To be overridden."""
        raise NotImplementedError(f"{type(self).__name__} has no create_app(); write one")

    def get_server_url(self) -> str:
        """The URL of the server, without a slash at the end."""
        return self.server.url

    def run(self, result: unittest.TestResult | None = None) -> unittest.TestResult | None:
        # Not in setUp, which tests override without a call of this one, and not here: what is
        # raised here would end the whole run, and a test that is skipped needs no server.
        set_up = self.setUp

        def set_up_served() -> None:
            self._start_server()
            before = _count_failures(result)
            self.addCleanup(lambda: _spare_failed(self.server, result, before))
            set_up()

        self.setUp = set_up_served  # type: ignore[method-assign]
        try:
            return super().run(result)
        finally:
            del self.setUp

    def _start_server(self) -> None:
        self.app = self.create_app()
        options = {"leaks": "warn", "owner": self.id(), **self.live_server_options}
        port = getattr(self.app, "config", {}).get("LIVESERVER_PORT")
        if port is not None and "bind" not in options:
            options.setdefault("port", port)
        self.server = self.enterContext(LiveServer(self.app, **options))
        if hasattr(self.app, "test_request_context"):
            self.enterContext(self.app.test_request_context(base_url=self.server.url))


class LiveServerTestCase(LiveServerMixin, unittest.TestCase):
    """Tests that have a live server each (see `LiveServerMixin`)."""


class ClassLiveServerMixin(TestCase):
    """One live server for all tests of a `unittest.TestCase`, before which this is to be named.

    `application` is served; without one, the Django project whose settings are configured, which
    is told that `host` is allowed. Who overrides `setUpClass` calls that of this class.
    """

    application: ClassVar[WSGIApplication | None] = None
    host: ClassVar[str] = "localhost"
    port: ClassVar[int] = 0
    """The port to ask for; ``server.port`` is the one that it got."""
    live_server_options: ClassVar[Mapping[str, Any]] = {}
    """More arguments of `LiveServer`."""
    server: ClassVar[LiveServer]
    live_server_url: ClassVar[str]
    """Without a slash at the end."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        application = cls.application or _configured_project(cls)
        options: dict[str, Any] = {"leaks": "warn", "owner": cls.__qualname__}
        options |= {"host": cls.host, "port": cls.port, **cls.live_server_options}
        cls.server = cls.enterClassContext(LiveServer(application, **options))
        url = urlsplit(cls.server.url)
        # Without a port: a Unix socket.
        cls.live_server_url = f"{url.scheme}://{cls.host}" + (f":{url.port}" if url.port else "")

    def run(self, result: unittest.TestResult | None = None) -> unittest.TestResult | None:
        before = _count_failures(result)
        try:
            return super().run(result)
        finally:
            _spare_failed(self.server, result, before)


class ClassLiveServerTestCase(ClassLiveServerMixin, unittest.TestCase):
    """Tests that have a live server in common (see `ClassLiveServerMixin`)."""


def _spare_failed(server: LiveServer, result: Any, before: int) -> None:
    """Ask nobody who has failed what is left: pytest keeps the variables of a traceback alive."""
    if _count_failures(result) > before:
        server.leaks = "ignore"


def _count_failures(result: Any) -> int:
    """The failures in the result of a test; pytest's is no `unittest.TestResult`."""
    if isinstance(result, unittest.TestResult):
        return len(result.errors) + len(result.failures)
    return len(getattr(result, "_excinfo", None) or ())


def _configured_project(case: type[ClassLiveServerMixin]) -> WSGIApplication:
    if "django.conf" not in sys.modules:
        raise ConfigError(f"{case.__name__} has no application; give its class one to serve")
    from asyncwsgi.testing.compatibility.django_project import django_application, host_allowed

    case.enterClassContext(host_allowed(case.host))
    return case.enterClassContext(django_application())
