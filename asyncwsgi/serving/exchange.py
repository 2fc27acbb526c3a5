"""One request through Werkzeug's hooks: its environ, its log lines, its way with errors."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from werkzeug.debug.tbtools import DebugTraceback
from werkzeug.exceptions import InternalServerError

from asyncwsgi.errors import ApplicationError, RequestBodyError
from asyncwsgi.frontends.upgrade import WEBSOCKET_OFFER
from asyncwsgi.requests.exchange import Connection, Exchange
from asyncwsgi.serving.handler import WerkzeugServer, call_finish, make_environ, make_handler
from asyncwsgi.serving.responder import WerkzeugResponder
from asyncwsgi.wsgi.application import run_application

if TYPE_CHECKING:
    from werkzeug.serving import WSGIRequestHandler

    from asyncwsgi.http1.head import RequestHead
    from asyncwsgi.requests.dispatcher import Dispatcher
    from asyncwsgi.serving.client_socket import ClientSocket
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
        client_socket: ClientSocket,
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
        self._socket = client_socket
        self._handler: WSGIRequestHandler | None = None
        self._responder = responder
        self._set_timeout = set_timeout

    @property
    def is_endless(self) -> bool:
        return super().is_endless or self._socket.is_taken_over

    @property
    def has_taken_socket(self) -> bool:
        """Whether the connection's bytes are its application's."""
        return self._socket.is_taken_over

    @property
    def speaks_for_itself(self) -> bool:
        """Whether the application has written to its socket, and has no HTTP response to give."""
        return self._socket.was_written

    def call_application(self, response: Response) -> SuspendedCall | None:
        server = self._wsgi_server
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
        if self.is_of_disconnect(error) or self._ended_by_socket(error):
            if handler is not None:
                handler.connection_dropped(error, self.environ)
        elif isinstance(error, RequestBodyError):
            super().fail(response, error)
        elif isinstance(error, ApplicationError) and self._socket.was_written:
            pass  # a WebSocket's handler owes no HTTP response
        elif isinstance(error, Exception) and not server.passthrough_errors:
            self._answer_error(response)
            text = DebugTraceback(error).render_traceback_text()
            server.log("error", f"Error on request:\n{text}")
        else:
            server.pass_on(error, self._socket)

    def _ended_by_socket(self, error: BaseException) -> bool:
        # What has spoken for itself has no response to return, and engineio, for one, raises a
        # ConnectionError instead, of which Werkzeug's own server says nothing.
        return self._socket.was_written and isinstance(error, ConnectionError)

    def conclude(self, response: Response) -> None:
        super().conclude(response)
        if self._socket.was_written and self._handler is not None:
            self._handler.log_request(101)
        self._finish()

    def end_request(self) -> None:
        """The request is over, and so is the use of its client's socket."""
        self._socket.end_request()

    def transmit(self, data: Any) -> None:
        # Werkzeug's sockets and its responses share one stream: what an application answers after
        # it has spoken for itself would be garbage to its client.
        if not self._socket.was_written:
            super().transmit(data)

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
