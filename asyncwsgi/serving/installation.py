"""Puts the servers of this package where Werkzeug makes its own."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, cast

import werkzeug.serving
from werkzeug.serving import WSGIRequestHandler

from asyncwsgi.serving.servers import BaseWSGIServer, ThreadedWSGIServer

if TYPE_CHECKING:
    import ssl
    from wsgiref.types import WSGIApplication

    SSLContextArgument = ssl.SSLContext | tuple[str, str | None] | str | None

_werkzeugs_make_server = werkzeug.serving.make_server
_werkzeugs_run_simple = werkzeug.serving.run_simple


def make_server(
    host: str,
    port: int,
    app: WSGIApplication,
    threaded: bool = False,
    processes: int = 1,
    request_handler: type[WSGIRequestHandler] | None = None,
    passthrough_errors: bool = False,
    ssl_context: SSLContextArgument = None,
    fd: int | None = None,
) -> werkzeug.serving.BaseWSGIServer:
    """A server object as `werkzeug.serving.make_server` makes it: bound, listening, not serving.

    With ``processes > 1`` it is Werkzeug's own forking server.

    Raises:
        ValueError: both `threaded` and ``processes > 1``; that is Werkzeug's to say.
        SystemExit: the address cannot be had; the reason is on standard error.
    """
    context = cast("Any", ssl_context)
    if processes > 1:
        return _werkzeugs_make_server(
            host, port, app, threaded, processes, request_handler, passthrough_errors, context, fd
        )
    server_class = ThreadedWSGIServer if threaded else BaseWSGIServer
    return server_class(host, port, app, request_handler, passthrough_errors, context, fd=fd)


@functools.wraps(_werkzeugs_run_simple)
def run_simple(*args: Any, **kwargs: Any) -> None:
    # Werkzeug's own code, but for the global name by which it makes the server.
    code = cast("FunctionType", _werkzeugs_run_simple)
    namespace = {**vars(werkzeug.serving), "make_server": make_server}
    run = FunctionType(code.__code__, namespace, code.__name__, code.__defaults__)
    run.__kwdefaults__ = code.__kwdefaults__
    run(*args, **kwargs)


@functools.wraps(make_server)
def _installed_make_server(*args: Any, **kwargs: Any) -> werkzeug.serving.BaseWSGIServer:
    # Not `make_server` itself: uninstall() must not touch modules that chose that one.
    return make_server(*args, **kwargs)


def install() -> None:
    """Have Werkzeug make the servers of this package, for programs that are not changed.

    `werkzeug.run_simple`, ``app.run()`` and ``flask run`` all go by `werkzeug.serving.make_server`.
    Modules that have imported that name already are given the new one as well.
    """
    _rebind(_werkzeugs_make_server, _installed_make_server)


def uninstall() -> None:
    """Undo `install`."""
    _rebind(_installed_make_server, _werkzeugs_make_server)


def _rebind(old: Callable[..., Any], new: Callable[..., Any]) -> None:
    for module in list(sys.modules.values()):
        # What calls itself a module may be anything; vars() wakes up no lazy one.
        names = vars(module) if isinstance(module, ModuleType) else {}
        if names.get("make_server") is old:
            names["make_server"] = new
