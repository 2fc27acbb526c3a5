"""A server for the length of a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from asyncwsgi.errors import ConfigError
from asyncwsgi.running import ServerThread
from asyncwsgi.server.server import Server
from asyncwsgi.testing.leaks import POLICIES, LeakCheck, LeakPolicy

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

GRACEFUL_TIMEOUT = 2.0
"""Seconds that requests in flight get when a test is over."""


class LiveServer(ServerThread):
    """Serves `application` from a thread of its own: a context manager, ready on entry.

    Args:
        application: the WSGI application.
        server_class: what serves it.
        leaks: what happens when it is closed and requests, connections or threads are left:
            ``warn`` (`LeakWarning`), ``error`` (`LeakError`) or ``ignore``.
        owner: the test, to be named in such messages.
        options: those of `asyncwsgi.Config`; without ``bind`` and ``port`` it takes a free port of
            127.0.0.1.

    Raises:
        ConfigError: options that cannot be served.
    """

    __test__ = False

    def __init__(
        self,
        application: WSGIApplication,
        *,
        server_class: type[Server] = Server,
        leaks: LeakPolicy = "ignore",
        owner: str = "",
        **options: Any,
    ) -> None:
        if leaks not in POLICIES:
            raise ConfigError(f"leaks must be one of {', '.join(POLICIES)}, got {leaks!r}")
        if "bind" not in options:
            options.setdefault("port", 0)
        options.setdefault("graceful_timeout", GRACEFUL_TIMEOUT)
        super().__init__(server_class(application, **options))
        self._leak_check = LeakCheck(self, owner)
        self.leaks = leaks
        self._was_closed = False

    def start(self) -> None:
        self._leak_check.begin()
        super().start()

    def close(self) -> None:
        """Drain, and wait for the thread, but not for ever; then say what the test has left.

        Raises:
            HungApplication: a request did not end within ``graceful_timeout``, or the loop does
                not answer; the thread goes on.
            LeakError: something was left, and `leaks` is ``error``.
        """
        if self._was_closed or self._thread.ident is None:
            return
        self._was_closed = True
        check = self._leak_check
        check.look()
        self.shutdown()
        check.wait()
        super().close()
        check.report(self.leaks)

    def url_for(self, path: str = "/", /, **query: Any) -> str:
        """The URL of `path`, with `query` as its query string; a list repeats its key."""
        url = self.url + quote(path, safe="/%:@!$&'()*+,;=-._~")
        return f"{url}?{urlencode(query, doseq=True)}" if query else url
