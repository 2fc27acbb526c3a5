"""A pytest plugin: what a2wsgi's tests import as its WSGIMiddleware is `asyncwsgi.asgi.WSGIApp`."""

from __future__ import annotations

from typing import Any

import a2wsgi.wsgi
from conformance_ours import write  # type: ignore[import-not-found]

from asyncwsgi.asgi import WSGIApp


class Middleware(WSGIApp):
    """Counts what it is asked."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        write("asyncwsgi")
        await super().__call__(scope, receive, send)


a2wsgi.wsgi.WSGIMiddleware = Middleware  # type: ignore[assignment,misc]
