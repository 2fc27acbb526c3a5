"""Finds what a subclass has overridden of Werkzeug's own transport, which has no place here.

Hooks that answer questions (`make_environ`, `log_request`, `version_string`) are honoured; code
that reads and writes the socket itself cannot run beside a loop that owns it.

`setup` and `finish` are either. Werkzeug calls them around each connection, which is one request;
here they are called around each request, in the thread that runs it (see `handler`). That serves
code which names its thread, counts or opens something, and not code which wraps the socket or
replaces its files. Which of them it is can be read off the names that it uses, and the methods of
the handler that it calls, before the first client comes.
"""

from __future__ import annotations

import functools
import socketserver
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from types import CodeType
from typing import Any

from werkzeug.serving import BaseWSGIServer, ForkingMixIn, WSGIRequestHandler

HANDLER_TRANSPORT = (
    "__init__", "handle", "handle_one_request", "run_wsgi", "parse_request",
    "send_response", "send_response_only", "send_header", "end_headers", "flush_headers",
    "send_error", "handle_expect_100",
)  # fmt: skip
AROUND_REQUEST = ("setup", "finish")
_OF_THE_SOCKET = frozenset(
    {
        *HANDLER_TRANSPORT, "request", "connection", "rfile", "wfile", "close_connection",
        "protocol_version", "raw_requestline",
    }
)  # fmt: skip
"""Names by which `setup` and `finish` have to do with the transport."""
SERVER_TRANSPORT = (
    "get_request", "verify_request", "process_request", "process_request_thread",
    "finish_request", "shutdown_request", "close_request", "service_actions",
    "_handle_request_noblock",
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
    found = [*_overrides(server, SERVER_TRANSPORT), *_handler_overrides(handler)]
    if isinstance(server, ForkingMixIn):
        found.append(f"{type(server).__name__}(ForkingMixIn)")
    return found


def _handler_overrides(handler: type) -> Iterator[str]:
    yield from _overrides(handler, HANDLER_TRANSPORT)
    for name in AROUND_REQUEST:
        if not _OF_THE_SOCKET.isdisjoint(_names_used_by(handler, name)):
            yield f"{handler.__name__}.{name}"
    for name in dir(handler):
        if name.startswith("do_"):
            yield f"{handler.__name__}.{name}"


def is_overridden(owner: object, name: str) -> bool:
    """Whether a method is neither Werkzeug's own nor the standard library's."""
    return not _is_original(getattr(owner, name, None))


def _overrides(owner: object, names: tuple[str, ...]) -> Iterator[str]:
    owner_class = owner if isinstance(owner, type) else type(owner)
    for name in names:
        if is_overridden(owner, name):
            yield f"{owner_class.__name__}.{name}"


def _is_original(function: Any) -> bool:
    if function is None or isinstance(function, functools.partial):
        return function is None
    code = getattr(function, "__code__", None)
    return code is not None and code.co_filename in _ORIGINAL_FILES


def _names_used_by(handler: type, method: str) -> set[str]:
    """The names in the code of a method, and in that of the handler's methods which they name."""
    found: set[str] = set()
    methods = [method]
    for name in methods:
        # All definitions: one calls the next by super().
        for function in [vars(owner)[name] for owner in handler.__mro__ if name in vars(owner)]:
            codes = list(_codes_of(function))
            if name == method and not codes and not _is_original(function):
                return set(_OF_THE_SOCKET)  # it cannot be read, and may use any of them
            found.update(*map(_names_in, codes))
        methods.extend(found.difference(methods))
    return found


def _codes_of(function: Any) -> Iterator[CodeType]:
    """The code of a function that is not Werkzeug's, and of what its decorators have wrapped."""
    while function is not None and not _is_original(function):
        code = getattr(function, "__code__", None)
        if code is not None:
            yield code
        function = getattr(function, "__wrapped__", None)


def _names_in(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):  # a function within, or a comprehension
            yield from _names_in(constant)
