"""Finds what a subclass has overridden of Werkzeug's own transport, which has no place here.

Hooks that answer questions (`make_environ`, `log_request`, `version_string`) are honoured; code
that reads and writes the socket itself cannot run beside a loop that owns it.
"""

from __future__ import annotations

import functools
import socketserver
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

from werkzeug.serving import BaseWSGIServer, ForkingMixIn, WSGIRequestHandler

HANDLER_TRANSPORT = (
    "__init__", "handle", "handle_one_request", "setup", "finish", "run_wsgi", "parse_request",
    "send_response", "send_response_only", "send_header", "end_headers", "flush_headers",
    "send_error", "handle_expect_100",
)  # fmt: skip
SERVER_TRANSPORT = (
    "get_request", "verify_request", "process_request", "process_request_thread",
    "finish_request", "shutdown_request", "close_request", "service_actions",
)  # fmt: skip

# By source file, not by identity: whoever patched the class itself may have done so before this
# module was imported, and functools.wraps copies everything but the code.
_ORIGINAL_FILES = frozenset(
    function.__code__.co_filename
    for function in (
        BaseWSGIServer.__init__,
        WSGIRequestHandler.make_environ,
        BaseHTTPRequestHandler.date_time_string,
        socketserver.BaseServer.handle_request,
    )
)


class TransportOverrideWarning(RuntimeWarning):
    """A server runs on Werkzeug's own loop, because part of its transport was overridden."""


def transport_overrides(server: BaseWSGIServer) -> list[str]:
    """The overridden parts of the transport, dotted: ``QuietHandler.send_header``."""
    handler = server.RequestHandlerClass
    if not (isinstance(handler, type) and issubclass(handler, WSGIRequestHandler)):
        return [f"request_handler={getattr(handler, '__name__', handler)}"]
    found = [*_overrides(type(server), SERVER_TRANSPORT), *_handler_overrides(handler)]
    if isinstance(server, ForkingMixIn):
        found.append(f"{type(server).__name__}(ForkingMixIn)")
    return found


def _handler_overrides(handler: type) -> Iterator[str]:
    yield from _overrides(handler, HANDLER_TRANSPORT)
    for name in dir(handler):
        if name.startswith("do_"):
            yield f"{handler.__name__}.{name}"


def _overrides(owner: type, names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        if not _is_original(getattr(owner, name, None)):
            yield f"{owner.__name__}.{name}"


def _is_original(function: Any) -> bool:
    if function is None or isinstance(function, functools.partial):
        return function is None
    code = getattr(function, "__code__", None)
    return code is not None and code.co_filename in _ORIGINAL_FILES
