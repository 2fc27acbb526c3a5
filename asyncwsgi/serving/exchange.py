"""One request through Werkzeug's hooks: its environ, its log lines, its way with errors."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from werkzeug.debug.tbtools import DebugTraceback
from werkzeug.exceptions import InternalServerError

from asyncwsgi.errors import RequestBodyError
from asyncwsgi.frontends.upgrade import WEBSOCKET_OFFER
from asyncwsgi.requests.exchange import Connection, Exchange
from asyncwsgi.serving.handler import WerkzeugServer, call_finish, make_environ, make_handler
from asyncwsgi.serving.responder import WerkzeugResponder
from asyncwsgi.wsgi.application import run_application

if TYPE_CHECKING:
    from werkzeug.serving import WSGIRequestHandler

    from asyncwsgi.frontends.client_socket import ClientSocket
    from asyncwsgi.http1.head import RequestHead
    from asyncwsgi.requests.dispatcher import Dispatcher
    from asyncwsgi.wsgi.response import Response
    from asyncwsgi.wsgi.suspended_call import SuspendedCall


class _RawOutput(io.RawIOBase):
    """``wfile`` of a handler: bytes go to the client as they are."""

    def __init__(self, client: ClientSocket) -> None:
        self._client = client

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._client.sendall(data)
        return len(data)


class WerkzeugExchange(Exchange):
    """An exchange whose application is a Werkzeug server's, called as that server would."""

    def __init__(
        self,
        wsgi_server: WerkzeugServer,
        head: RequestHead,
        dispatcher: Dispatcher,
        connection: Connection,
        responder: WerkzeugResponder,
        environ: dict[str, Any],
        set_timeout: Callable[[float], None],
    ) -> None:
        super().__init__(dispatcher, connection, responder, environ)
        self._wsgi_server = wsgi_server
        self._head = head
        self._handler: WSGIRequestHandler | None = None
        self._responder = responder
        self._set_timeout = set_timeout

    def call_application(self, response: Response) -> SuspendedCall | None:
        server = self._wsgi_server
        self._socket: ClientSocket = self.environ["werkzeug.socket"]
        handler = make_handler(
            server,
            self._head,
            self._socket,
            rfile=self.environ["wsgi.input"],
            wfile=cast("Any", _RawOutput(self._socket)),
        )
        self._handler = self._responder.handler = handler
        timeout = vars(handler).get("timeout")
        if timeout is not None:  # set by setup()
            self._set_timeout(timeout)
        offer = self.environ.get(WEBSOCKET_OFFER)
        handler.environ = self.environ = make_environ(
            handler, self._head, self.environ.get("CONTENT_LENGTH")
        )
        if offer is not None:
            self.environ[WEBSOCKET_OFFER] = offer
        self.add_keys()
        return run_application(server.app, self.environ, response)

    def fail(self, response: Response, error: BaseException) -> None:
        handler, server = self._handler, self._wsgi_server
        if self.is_of_disconnect(error) or self.is_of_taken_socket(error):
            if handler is not None:
                handler.connection_dropped(error, self.environ)
        elif isinstance(error, RequestBodyError):
            super().fail(response, error)
        elif isinstance(error, Exception) and not server.passthrough_errors:
            self._answer_error(response)
            text = DebugTraceback(error).render_traceback_text()
            server.log("error", f"Error on request:\n{text}")
        else:
            server.pass_on(error, self._socket)

    def conclude(self, response: Response) -> None:
        super().conclude(response)
        if self.has_taken_socket and self.own_status and self._handler is not None:
            self._handler.log_request(self.own_status)
        self._finish()

    def _finish(self) -> None:
        if self._handler is None:
            return
        try:
            call_finish(self._handler)
        except BaseException as error:
            # The response is complete: as in Werkzeug, who owns the server hears of it.
            self._wsgi_server.pass_on(error, self._socket)

    def _answer_error(self, response: Response) -> None:
        if response.head_was_sent:
            return
        page = InternalServerError().get_body().encode()
        # The error that matters is logged by the caller; what fails here on top of it (the
        # client has left, a hook that raises) is not heard, as in Werkzeug.
        with contextlib.suppress(Exception):
            response.fail(
                "500 INTERNAL SERVER ERROR", page, content_type="text/html; charset=utf-8"
            )
