"""A server for the length of a test."""

from __future__ import annotations

import tempfile
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from asyncwsgi.running import ServerThread
from asyncwsgi.server.server import Server
from asyncwsgi.testing.faults import Faults

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from asyncwsgi.testing.authority import Authority

GRACEFUL_TIMEOUT = 2.0
"""Seconds that requests in flight get when a test is over."""
LONGEST_SOCKET_PATH = 103
"""Bytes that every system takes: macOS has room for 104 and Linux for 108, a NUL included."""


class LiveServer(ServerThread):
    """Serves `application` from a thread of its own: a context manager, ready on entry.

    Args:
        application: the WSGI application.
        server_class: what serves it.
        tls: serve HTTPS: with certificates of this authority, or, if True, of the one that the
            process shares. They name ``localhost``, ``127.0.0.1`` and ``::1``.
        unix_socket: listen on a Unix socket at a temporary path instead of a port.
        options: those of `asyncwsgi.Config`; without ``bind`` and ``port`` it takes a free port of
            127.0.0.1.

    Raises:
        ConfigError: options that cannot be served; TLS without the package ``trustme``.
    """

    __test__ = False

    def __init__(
        self,
        application: WSGIApplication,
        *,
        server_class: type[Server] = Server,
        tls: bool | Authority = False,
        unix_socket: bool = False,
        **options: Any,
    ) -> None:
        self._authority = _authority(tls)
        if self._authority is not None:
            options["ssl_context"] = self._authority.server_context()
        if unix_socket:
            options["bind"] = f"unix:{_free_socket_path()}"
        if "bind" not in options:
            options.setdefault("port", 0)
        options.setdefault("graceful_timeout", GRACEFUL_TIMEOUT)
        server = server_class(application, **options)
        self.faults = Faults()
        """Make it misbehave."""
        server.connection_class = self.faults.connection_class(server.connection_class)
        super().__init__(server)

    @property
    def url(self) -> str:
        """What the URLs of its clients begin with, without a slash at the end.

        Those that connect to a Unix socket want a host in there, too; it is ``localhost``.
        """
        if isinstance(self.addresses[0], str):
            config = self.server.config
            has_tls = config.ssl_context is not None or config.certfile is not None
            return "https://localhost" if has_tls else "http://localhost"
        return super().url

    @property
    def socket_path(self) -> str:
        """The path of the first Unix socket.

        Raises:
            LookupError: there is none.
        """
        for address in self.addresses:
            if isinstance(address, str):
                return address
        raise LookupError("this server listens on no Unix socket; start it with unix_socket=True")

    @property
    def authority(self) -> Authority:
        """Whom its clients have to trust.

        Raises:
            LookupError: it was started without `tls`.
        """
        if self._authority is None:
            raise LookupError("this server has no authority; start it with tls=True")
        return self._authority

    def url_for(self, path: str = "/", /, **query: Any) -> str:
        """The URL of `path`, with `query` as its query string; a list repeats its key."""
        url = self.url + quote(path, safe="/%:@!$&'()*+,;=-._~")
        return f"{url}?{urlencode(query, doseq=True)}" if query else url


def _authority(tls: bool | Authority) -> Authority | None:
    if tls is True:
        from asyncwsgi.testing.authority import shared_authority

        return shared_authority()
    return tls or None


def _free_socket_path() -> Path:
    """Where no file is. The listener removes its own."""
    name = f"asyncwsgi-{token_hex(8)}"
    path = Path(tempfile.gettempdir(), name)
    return path if len(bytes(path)) <= LONGEST_SOCKET_PATH else Path("/tmp", name)
