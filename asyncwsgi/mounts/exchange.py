"""A request of a host, and what becomes of its errors: they are the host's to hear of."""

from __future__ import annotations

from contextvars import Context, copy_context
from typing import Any

from asyncwsgi.errors import RequestBodyError
from asyncwsgi.requests.dispatcher import Dispatcher
from asyncwsgi.requests.exchange import Connection, Exchange, Responder
from asyncwsgi.wsgi.response import Response


class MountExchange(Exchange):
    """One request. It runs in a copy of the Context in which the host has called.

    So the application finds there what the host's middleware has set: traces, ids of requests.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        connection: Connection,
        responder: Responder,
        environ: dict[str, Any],
    ) -> None:
        super().__init__(dispatcher, connection, responder, environ)
        self._context: Context | None = copy_context()
        self._error: Exception | None = None

    def new_context(self) -> Context:
        context, self._context = self._context, None
        return context or Context()

    def fail(self, response: Response, error: BaseException) -> None:
        """Keep what the application raised for the host.

        It answers with a status if it can, logs it, and shows it to the middleware between the two,
        as it does with what applications of its own raise. What would end its loop, such as
        SystemExit, is no affair of its.
        """
        if self.is_of_disconnect(error):
            return
        if isinstance(error, Exception) and not isinstance(error, RequestBodyError):
            self._error = error
        else:
            super().fail(response, error)

    def take_error(self) -> Exception | None:
        """What the application raised; once, since an exception knows the frames that know this."""
        error, self._error = self._error, None
        return error
