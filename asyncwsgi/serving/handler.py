"""Werkzeug's request handler as its overrides know it, without its transport.

Werkzeug's own code makes the environ and the log lines; what it would have read from a socket is
filled in from a request that h11 has parsed.
"""

from __future__ import annotations

import io
import re
from http.client import HTTPMessage
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol
from urllib.parse import urlsplit

from asyncwsgi.serving.overrides import is_overridden

if TYPE_CHECKING:
    import ssl
    from wsgiref.types import WSGIApplication

    from _typeshed.wsgi import WSGIEnvironment
    from werkzeug.serving import WSGIRequestHandler

    from asyncwsgi.frontends.client_socket import ClientSocket
    from asyncwsgi.http1.head import HeaderFields, RequestHead


class WerkzeugServer(Protocol):
    """What requests know of the server object to which they belong.

    An `asyncwsgi.serving.servers.BaseWSGIServer`.
    """

    app: WSGIApplication
    passthrough_errors: bool
    request_queue_size: int
    server_address: Any
    ssl_context: ssl.SSLContext | None
    graceful_timeout: float
    RequestHandlerClass: Any

    def fileno(self) -> int: ...

    def log(self, type: str, message: str, *args: Any) -> None: ...  # noqa: A002 - its name

    def pass_on(self, error: BaseException, client: ClientSocket) -> None:
        """Let what an application raised leave the server."""


class _SocketOfSetup:
    """What the `setup` of the standard library, which an override calls, does to the socket."""

    def __init__(self, client: ClientSocket) -> None:
        self.settimeout = client.settimeout

    def setsockopt(self, *_: Any) -> None:
        """For TCP_NODELAY, which the loop's transports have."""

    def makefile(self, *_: Any) -> BinaryIO:
        return io.BytesIO()

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"setup() has asked for {name!r} of the client's socket, which serves the loop by "
            "then; name self.request in setup() itself, so that Werkzeug's loop serves instead"
        )


_LEADING_SLASHES = re.compile(r"\A//+")


def bare_handler(server: WerkzeugServer, client: ClientSocket) -> WSGIRequestHandler:
    """A handler that knows its server and its client, and no request yet."""
    handler_class: Any = server.RequestHandlerClass
    handler: Any = handler_class.__new__(handler_class)
    handler.server = server
    handler.request = handler.connection = client
    handler.client_address = client.client_address
    handler.requestline = ""
    result: WSGIRequestHandler = handler
    return result


def make_handler(
    server: WerkzeugServer,
    head: RequestHead,
    client: ClientSocket,
    *,
    rfile: BinaryIO,
    wfile: BinaryIO,
) -> WSGIRequestHandler:
    """A handler of the server's class for one request, with every attribute that overrides read."""
    handler: Any = bare_handler(server, client)
    _call_setup(handler, client)
    handler.command = head.method
    # As http.server does: "//host/path" must not be read as a URL without a scheme.
    handler.path = _LEADING_SLASHES.sub("/", head.target)
    handler.request_version = f"HTTP/{head.http_version}"
    handler.requestline = f"{head.method} {head.target} {handler.request_version}"
    handler.raw_requestline = f"{handler.requestline}\r\n".encode("latin-1")
    handler.headers = _message(head.fields)
    handler.rfile = rfile
    handler.wfile = wfile
    handler.close_connection = True
    result: WSGIRequestHandler = handler
    return result


def _call_setup(handler: Any, client: ClientSocket) -> None:
    """Call an override of `setup`, as Werkzeug does in the thread of each connection."""
    if is_overridden(type(handler), "setup"):
        handler.request = _SocketOfSetup(client)
        handler.setup()
        handler.request = handler.connection = client


def call_finish(handler: Any) -> None:
    """Call an override of `finish`, as Werkzeug does at the end of each connection."""
    if is_overridden(type(handler), "finish"):
        # What it calls by super() closes the handler's files, and closing waits for whoever reads:
        # a thread that the application has left behind may do so until the exchange has ended.
        handler.rfile = handler.wfile = io.BytesIO()
        handler.finish()


def _message(fields: HeaderFields) -> HTTPMessage:
    message = HTTPMessage()
    for name, value in fields.items:
        # The body has been decoded already: Werkzeug must neither do it again nor be told of a
        # length that was none (RFC 9112 6.3).
        if fields.is_chunked and name.lower() in (b"transfer-encoding", b"content-length"):
            continue
        # By the way that is there for parsers: h11 has checked what is checked otherwise.
        message.set_raw(name.decode("ascii"), value.decode("latin-1"))
    return message


def make_environ(
    handler: WSGIRequestHandler, head: RequestHead, content_length: str | None
) -> WSGIEnvironment:
    """What the handler's `make_environ` gives, put right where PEP 3333 and HTTP ask for it.

    `content_length` is that of a chunked body, if it has been collected.
    """
    environ = handler.make_environ()
    # Werkzeug had it up to 2.0, and programs (Flask-SocketIO's stop()) still look for it.
    environ.setdefault("werkzeug.server.shutdown", handler.server.shutdown)
    if head.fields.is_chunked:
        environ["wsgi.input_terminated"] = True
        if content_length is not None:
            environ["CONTENT_LENGTH"] = content_length
    # wsgiref.validate: every key without a dot is a str.
    if isinstance(environ.get("REMOTE_PORT"), int):
        environ["REMOTE_PORT"] = str(environ["REMOTE_PORT"])
    name = handler.server.server_address
    if isinstance(name, str) and environ.get("SERVER_NAME") == name[:1]:
        # Werkzeug takes the path of a Unix socket for a (host, port) pair; its own routing knows
        # a Unix socket by a port that is no number.
        environ["SERVER_NAME"], environ["SERVER_PORT"] = name, "unix"
    if head.target == "*":
        environ["PATH_INFO"] = "/"  # RFC 9110 9.3.7: the server as a whole
    elif not environ.get("PATH_INFO") and urlsplit(head.target).netloc:
        environ["PATH_INFO"] = "/"  # RFC 9112 3.2.1: an empty path is "/"
    return environ
