"""``bottle.run(app, server=AsyncWSGIServer)``: an adapter for Bottle's way to name a server.

By its name, where a word is wanted: ``server="asyncwsgi.bottle:AsyncWSGIServer"``. Needs Bottle.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

try:
    from bottle import ServerAdapter
except ModuleNotFoundError as error:
    if error.name != "bottle":
        raise
    raise ModuleNotFoundError(
        "asyncwsgi.bottle is an adapter for Bottle, and Bottle is not installed; install it: "
        "pip install bottle",
        name=error.name,
    ) from None

from asyncwsgi.config import Config
from asyncwsgi.running import run

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication


class AsyncWSGIServer(ServerAdapter):  # type: ignore[misc]
    """Serves until Ctrl+C or SIGTERM, also below Bottle's reloader.

    Options of `bottle.run` that it does not know are those of `asyncwsgi.Config`. A host that is
    ``unix:PATH`` is a Unix socket. With ``quiet`` only warnings and errors are logged.
    """

    def run(self, handler: WSGIApplication) -> None:
        """Be called by `bottle.run`. Errors are those of `asyncwsgi.run`."""
        is_unix = self.host.startswith("unix:")
        where = {"bind": self.host} if is_unix else {"host": self.host, "port": self.port}
        silence = {"access_log": False, "log_level": "warning"} if self.quiet else {}
        # Bottle's reloader interrupts the main thread, which the server takes for Ctrl+C.
        if code := run(handler, Config.from_options({**where, **silence, **self.options})):
            sys.exit(code)
