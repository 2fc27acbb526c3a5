"""Puts the servers of this package where Werkzeug makes its own."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable, Collection
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, cast

import werkzeug.serving
from werkzeug.serving import ForkingMixIn, WSGIRequestHandler

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


def _named(name: str, *bases: type) -> type:
    return type(name, bases, {"__module__": __package__, "__doc__": bases[0].__doc__})


# What programs find by Werkzeug's names are classes of their own, so that `uninstall` can tell a
# module that was given one from a module that has chosen ours.
_installed_base = _named("BaseWSGIServer", BaseWSGIServer)
_installed_threaded = _named("ThreadedWSGIServer", ThreadedWSGIServer, _installed_base)
_STAND_INS = {
    werkzeug.serving.BaseWSGIServer: _installed_base,
    werkzeug.serving.ThreadedWSGIServer: _installed_threaded,
}
_werkzeugs_base = werkzeug.serving.BaseWSGIServer
_NOT_TOO_LATE = (BaseWSGIServer, ForkingMixIn)
"""Servers that are ours already, and those that fork for each request: Werkzeug's on purpose."""
_warning_serve_forever: Any = None
"""What stands in the place of `serve_forever` of Werkzeug's own class while ours are installed."""


def install() -> None:
    """Have Werkzeug make the servers of this package, for programs that are not changed.

    The names of Werkzeug's server classes are given new meanings, in `werkzeug.serving` and in
    modules that have imported them already. So the functions that make servers
    (`werkzeug.run_simple`, ``app.run()``, ``flask run``, `make_server`) make ours, and what is made
    a subclass of Werkzeug's classes from now on is one of ours. A server for which it comes too
    late says so by a `RuntimeWarning` when it begins to serve.
    """
    global _warning_serve_forever
    older = _modules_of_older_subclasses()
    for theirs, ours in _STAND_INS.items():
        _rebind(theirs, ours, except_in=older)
    if _warning_serve_forever is None:
        _warning_serve_forever = _warning_first(_werkzeugs_base.serve_forever)
        _werkzeugs_base.serve_forever = _warning_serve_forever  # type: ignore[method-assign]


def uninstall() -> None:
    """Undo `install`. What was made a subclass meanwhile stays one of ours."""
    global _warning_serve_forever
    for theirs, ours in _STAND_INS.items():
        _rebind(ours, theirs)
    # Unless somebody has put something over it, which may stay: it warns no more.
    current: Any = _werkzeugs_base.serve_forever
    if current is _warning_serve_forever:
        _werkzeugs_base.serve_forever = current.__wrapped__  # type: ignore[method-assign]
    _warning_serve_forever = None


def _rebind(old: type, new: type, *, except_in: Collection[str] = ()) -> None:
    for name, module in list(sys.modules.items()):
        # What calls itself a module may be anything; vars() wakes up no lazy one.
        names = vars(module) if isinstance(module, ModuleType) else {}
        if names.get(old.__name__) is old and name not in except_in:
            names[old.__name__] = new


def _modules_of_older_subclasses() -> set[str]:
    """Where a name of Werkzeug's class has to mean what it meant.

    Methods of a subclass call those of its base by that name.
    """
    classes: list[type] = [_werkzeugs_base]
    for one in classes:
        subclasses: list[type] = one.__subclasses__()
        classes.extend(sub for sub in subclasses if not issubclass(sub, _NOT_TOO_LATE))
    return {one.__module__ for one in classes} - {werkzeug.serving.__name__}


def _warning_first(serve_forever: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(serve_forever)
    def warn_and_serve(self: werkzeug.serving.BaseWSGIServer, *args: Any, **kwargs: Any) -> None:
        # Only here is it certain that Werkzeug's loop is going to serve, whichever way the program
        # got at its class: by a subclass, an attribute, an instance that was made before.
        if _warning_serve_forever is not None and not isinstance(self, _NOT_TOO_LATE):
            warnings.warn(
                f"{type(self).__name__} runs on Werkzeug's own loop, because its class was defined "
                "before asyncwsgi.serving.install() was called; call install() before what defines "
                "it is imported, or run the program by 'python -m asyncwsgi.serving PROGRAM'",
                RuntimeWarning,
                stacklevel=2,
            )
        serve_forever(self, *args, **kwargs)

    return warn_and_serve
