"""A server for the length of a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from asyncwsgi.running import ServerThread
from asyncwsgi.server.server import Server

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

GRACEFUL_TIMEOUT = 2.0
"""Seconds that requests in flight get when a test is over."""


class LiveServer(ServerThread):
    """Serves `application` from a thread of its own: a context manager, ready on entry.

    Args:
        application: the WSGI application.
        server_class: what serves it.
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
        **options: Any,
    ) -> None:
        if "bind" not in options:
            options.setdefault("port", 0)
        options.setdefault("graceful_timeout", GRACEFUL_TIMEOUT)
        super().__init__(server_class(application, **options))

    def url_for(self, path: str = "/", /, **query: Any) -> str:
        """The URL of `path`, with `query` as its query string; a list repeats its key."""
        url = self.url + quote(path, safe="/%:@!$&'()*+,;=-._~")
        return f"{url}?{urlencode(query, doseq=True)}" if query else url
