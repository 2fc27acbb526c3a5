"""``%asyncwsgi app`` in a notebook: the application of a cell, served beside the cells.

``%load_ext asyncwsgi`` loads it. IPython is not imported but by what it calls.
"""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from asyncwsgi.errors import AsyncWSGIError
from asyncwsgi.running import ServerThread, serve_in_thread

Shell = Any
"""IPython's ``InteractiveShell``, of which little has types."""

GRACEFUL_TIMEOUT = 1.0
"""Seconds that requests in flight get when another application takes the place of theirs."""


class Magic:
    """The magic of one shell, and its server.

    Args:
        shell: has the names of the cells.
    """

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._thread: ServerThread | None = None
        self._where: dict[str, Any] = {}
        """Where it listens, or has listened: there the next one listens, too."""

    def asyncwsgi(self, line: str) -> None:
        """Serve the WSGI application of a cell from a thread: %asyncwsgi APP.

        APP is an expression of the notebook, such as app or create_app(). Another one takes its
        place, on the same port: a free one, unless --port N says which. --host HOST listens
        elsewhere than on 127.0.0.1. %asyncwsgi --stop ends it.
        """
        arguments = _parse(line)
        if arguments.stop:
            self.stop()
            return
        given = {name: getattr(arguments, name) for name in ("host", "port")}
        where = {"port": 0, **self._where, **{n: v for n, v in given.items() if v is not None}}
        expression = " ".join(arguments.app)
        application = self._shell.ev(expression)
        try:
            # Refuses what is no application before the one that is served is stopped.
            thread = serve_in_thread(application, graceful_timeout=GRACEFUL_TIMEOUT, **where)
            self.stop()
            thread.start()
        except AsyncWSGIError as error:
            _refuse(str(error))
        self._thread = thread
        self._where = {**where, "port": thread.port}
        print(f"{expression} is served on {thread.url}; %asyncwsgi --stop ends it")

    def stop(self) -> None:
        """Stop the server, if there is one."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.close()


def load(shell: Shell) -> None:
    """Give the shell its magic; what ``%load_ext`` calls."""
    magic = Magic(shell)
    shell.register_magic_function(magic.asyncwsgi, "line", "asyncwsgi")
    _magics[shell] = magic


def unload(shell: Shell) -> None:
    """Stop the shell's server, and take the magic away; what ``%unload_ext`` calls."""
    magic = _magics.pop(shell, None)
    if magic is not None:
        magic.stop()
        del shell.magics_manager.magics["line"]["asyncwsgi"]


_magics: dict[Shell, Magic] = {}


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in the notebook, and lets it live."""

    def error(self, message: str) -> NoReturn:
        _refuse(f"{message}; expected %asyncwsgi APP [--port N] [--host HOST], or --stop")


def _parse(line: str) -> argparse.Namespace:
    parser = _Parser(prog="%asyncwsgi", add_help=False, allow_abbrev=False)
    parser.add_argument("app", nargs="*")
    parser.add_argument("--port", type=int)
    parser.add_argument("--host")
    parser.add_argument("--stop", action="store_true")
    arguments = parser.parse_args(line.split())
    if bool(arguments.app) == arguments.stop:
        parser.error("name one application" if not arguments.stop else "--stop stands alone")
    return arguments


def _refuse(message: str) -> NoReturn:
    from IPython.core.error import UsageError

    raise UsageError(message) from None
