"""One request and its response: a job for a worker thread, a source of bytes for a connection.

The application's call, its iteration and ``close()`` run in one thread and in a Context of its own:
Flask pops what it pushed, and nothing leaks into the next request. A body that the loop iterates
(see `asyncwsgi.coroutines.body_iteration`) divides the job in two, in the same Context. Methods say
on which side they run; fields have one writer each at a time, so that no lock is needed.
"""

from __future__ import annotations

import asyncio
import io
import logging
import threading
import time
from contextvars import Context
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

from asyncwsgi.access_log import AccessEntry
from asyncwsgi.coroutines.body_iteration import BodyIteration
from asyncwsgi.coroutines.current import enter_exchange
from asyncwsgi.coroutines.disconnect import Disconnect
from asyncwsgi.errors import ClientDisconnected, RequestBodyError
from asyncwsgi.http1.encoder import CONTINUE, SERVER_NAME, ResponseEncoder
from asyncwsgi.requests import forks
from asyncwsgi.wsgi.application import run_application
from asyncwsgi.wsgi.response import Response

if TYPE_CHECKING:
    from asyncwsgi.http1.head import RequestHead
    from asyncwsgi.requests.dispatcher import Dispatcher
    from asyncwsgi.requests.request_body import RequestBody
    from asyncwsgi.wsgi.async_body import SuspendedCall

logger = logging.getLogger("asyncwsgi.server")

# nginx's status for a client that left before there was one.
CLIENT_CLOSED_REQUEST = 499


class Settable(Protocol):
    """A `threading.Event` or an `asyncio.Event`, for whoever sets it."""

    def set(self) -> None: ...


class Connection(Protocol):
    """What an exchange needs of the connection it came by; all of it runs on the loop."""

    def write(self, data: bytes | memoryview) -> bool:
        """Send bytes. False: the client is slow, and `Exchange.resume` will be called."""

    def resume_body(self) -> None:
        """Read on: the request body has room."""

    def exchange_ended(self, exchange: Exchange) -> None:
        """The application is done with the exchange."""

    def abort(self) -> None:
        """Close at once; what is unsent is lost."""


class Exchange:
    """One request on its way through the application.

    Args:
        dispatcher: what it shares with all others of the server.
        connection: where its response goes.
        head: the request's head.
        environ: its environ, to which ``wsgi.input`` is added here.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        connection: Connection,
        head: RequestHead,
        environ: dict[str, Any],
    ) -> None:
        self.dispatcher = dispatcher
        self.connection = connection
        self.head = head
        self.environ = environ
        self.client: str = environ["REMOTE_ADDR"]
        self.body: RequestBody | None = None
        self.submitted_at = 0.0
        self.started_at = 0.0
        """When a thread took it, monotonic; 0.0 while it waits."""
        self.keep_alive = False
        """Whether the connection can be kept; settled when the exchange has ended."""
        self.is_disconnected = False
        self.departure = Disconnect(dispatcher.mailbox)
        """The client's; asked by the application, too."""
        self.iteration: BodyIteration | None = None
        """What iterates the body on the loop, while that is so."""
        self.was_cancelled = False
        """Whether no thread will ever take it."""
        self._response: Response | None = None
        self._is_over = False
        self._has_sent_continue = False
        # Bytes: posted by the worker, taken and written on the loop.
        self._posted_size = 0
        self._taken_size = 0
        self._written_size = 0
        self._room: Settable | None = None

    # On the loop.

    def expect_body(self) -> RequestBody:
        """Give the request a body, to be fed by the connection."""
        body = self.dispatcher.request_body_class(
            self.dispatcher.config.body_buffer_size,
            on_wait=self._body_is_awaited,
            on_room=self._body_has_room,
        )
        self.body = body
        return body

    def resume(self) -> None:
        """Everything taken so far has been sent, or nearly."""
        self._written_size = self._taken_size
        self._notify_worker()

    def shut_by_client(self, *, is_body_complete: bool) -> None:
        """The client sends nothing more. RFC 9112 9.6: it may have shut its side only."""
        if self.body is not None and not is_body_complete:
            reason = "the client closed before its request body was complete"
            self.body.fail(RequestBodyError(400, reason))
        self.departure.announce()
        if self.is_endless:
            # Nobody reads a stream without an end with half a connection; it is a closed tab.
            self.connection.abort()

    def disconnect(self) -> None:
        """The client has gone: the application hears of it when it next reads or writes."""
        self.is_disconnected = True
        self.departure.announce()
        if self.iteration is not None:
            self.iteration.cut()
        if self.body is not None:
            self.body.fail(ClientDisconnected("the client left before its body was complete"))
        room = self._room  # the worker may take it away at any moment
        if room is not None:
            room.set()

    @property
    def is_endless(self) -> bool:
        """Whether the application has begun a response that has no end of its own."""
        response = self._response
        return response is not None and response.is_endless

    def send(self, block: bytes) -> bool:
        """Send a block of a body that the loop iterates. False: the body is complete."""
        response = self._response
        return response is not None and response.send(block)

    def has_room(self) -> bool:
        """Whether the client keeps up with what is sent. From any thread."""
        return self._posted_size - self._written_size < self.dispatcher.room_size

    async def wait_for_room(self) -> None:
        """Wait until the client has taken enough to be sent more. Only where there is no room."""
        self._room = room = asyncio.Event()
        await room.wait()

    def _write(self, data: bytes | memoryview) -> None:
        if (self.dispatcher.is_draining or self.departure.has_happened) and self.is_endless:
            self.dispatcher.abandon(self)
        if self.is_disconnected:
            return
        self._taken_size += len(data)
        if self.connection.write(data):
            self._written_size = self._taken_size
            self._notify_worker()

    def _notify_worker(self) -> None:
        room = self._room
        if room is not None and self.has_room():
            room.set()

    def _end(self, _: None) -> None:
        if self.body is not None:
            # Threads that the application left behind must not wait for a body nobody feeds.
            self.body.fail(ClientDisconnected("the response is over"))
        self.departure.end()
        # Body, wsgi.input and response know the exchange: no cycle outlives the request.
        self.body = self._response = None
        self.environ = {}
        self.dispatcher.exchange_ended(self)
        self.connection.exchange_ended(self)

    def _resume_body(self, _: None) -> None:
        if not (self._is_over or self.is_disconnected):
            self.connection.resume_body()

    # In the worker thread.

    def run(self) -> None:
        """Run the application; skipped if the client left while the request was queued."""
        suspended = context = None
        try:
            if not self.is_disconnected:
                self.started_at = time.monotonic()
                context = self.dispatcher.new_context()
                suspended = context.run(self.run_in_context)
        finally:
            self._leave_thread(suspended, context)

    def resume_in_thread(self, suspended: SuspendedCall, context: Context, *, is_cut: bool) -> None:
        """Run what follows the part on the loop; nothing but the end if the client has left."""
        rest = None
        try:
            rest = context.run(self._run_rest, suspended, is_cut)
        finally:
            self._leave_thread(rest, context)

    def _leave_thread(self, suspended: SuspendedCall | None, context: Context | None) -> None:
        if suspended is None or context is None:
            self._is_over = True
            self.dispatcher.mailbox.post(self._end, None)
        else:
            # Before the loop hears of it: `_wait_for_room` asks.
            self.iteration = BodyIteration(self, suspended, context)
            self.dispatcher.mailbox.post(self.iteration.begin, None)

    def cancel(self) -> None:
        """Be told that `run` will never be called. From any thread."""
        self.was_cancelled = True
        self.dispatcher.mailbox.post(self._end, None)

    def run_in_context(self) -> SuspendedCall | None:
        """Run the application, and answer for it if it fails. Returns what was handed over."""
        enter_exchange(self)
        head, body = self.head, self.body
        encoder = ResponseEncoder(self.http_version, self._can_keep_connection)
        self._response = response = Response(head.method, encoder, self._transmit, self.sign)
        self.environ["wsgi.input"] = io.BytesIO() if body is None else body.open()
        self.add_keys()
        try:
            suspended = self.call_application(response)
        except BaseException as raised:
            if self.dispatcher.mailbox.is_of_parent:
                forks.end_child(raised)
            suspended = None
            self.fail(response, raised)
        if suspended is None:
            self.conclude(response)
        return suspended

    def _run_rest(self, suspended: SuspendedCall, is_cut: bool) -> SuspendedCall | None:
        response = self._response
        assert response is not None, "the exchange has not ended"
        rest = None
        try:
            rest = suspended.resume(is_cut=is_cut)
        except BaseException as raised:
            if self.dispatcher.mailbox.is_of_parent:
                forks.end_child(raised)
            self.fail(response, raised)
        if rest is None:
            self.conclude(response)
        return rest

    def add_keys(self) -> None:
        """Give the environ the keys that speak of this exchange."""
        environ = self.environ
        environ["asyncwsgi.disconnected"] = self.departure
        environ["waitress.client_disconnected"] = self.departure

    def conclude(self, response: Response) -> None:
        """The application is done: say what became of its response."""
        head, dispatcher = self.head, self.dispatcher
        if response.is_truncated:
            logger.error(
                "%s %s: the application sent %d bytes less than its Content-Length",
                head.method, head.target, response.missing_size,
            )  # fmt: skip
        self.keep_alive = response.keep_alive
        if dispatcher.config.access_log and dispatcher.access_logger.is_enabled():
            self._log(response)

    def collect_body(self) -> bool:
        """Wait for the request body before a coroutine that may read it is called on the loop.

        False: it is too large, and the coroutine must not run where reading would wait for itself.
        """
        return self.body is None or self.body.collect()

    @property
    def http_version(self) -> str:
        """The version whose framing the client gets, ``1.1`` or ``1.0``."""
        return self.head.http_version

    def call_application(self, response: Response) -> SuspendedCall | None:
        """Run the application. In the worker thread; what it raises goes to `fail`."""
        return run_application(self.dispatcher.application, self.environ, response)

    def sign(self, status: str) -> tuple[str, str]:
        """The Server and Date headers of a response whose head is about to leave."""
        return SERVER_NAME, self.dispatcher.date()

    def _can_keep_connection(self) -> bool:
        if self.dispatcher.is_draining or not self.head.keep_alive:
            return False
        # RFC 9110 10.1.1: a body that was not asked for may never come; nothing can follow it.
        body = self.body
        is_certain = self._has_sent_continue or body is None or body.is_complete
        return is_certain or not self.head.fields.expects_continue

    def fail(self, response: Response, error: BaseException) -> None:
        """Deal with what the application raised. In the worker thread.

        Before the head has left the client is answered with a status; after it the connection is
        cut, so that the framing shows that the body is not whole.
        """
        status = "500 Internal Server Error"
        if self.is_of_disconnect(error):
            return
        if isinstance(error, RequestBodyError):
            logger.info("%s %s: %s", self.head.method, self.head.target, error.reason)
            status = f"{error.status} {HTTPStatus(error.status).phrase}"
        else:
            logger.error("%s %s failed", self.head.method, self.head.target, exc_info=error)
        if not response.head_was_sent:
            try:
                response.fail(status, f"{status}\n".encode("ascii"))
            except ClientDisconnected:
                return

    def is_of_disconnect(self, error: BaseException) -> bool:
        """Whether `error` says no more than that the client has left."""
        if isinstance(error, ClientDisconnected):
            return self.is_disconnected
        return isinstance(error, asyncio.CancelledError) and self.departure.has_happened

    def _transmit(self, data: bytes) -> None:
        limit = self.dispatcher.room_size
        if len(data) <= limit:
            self._post(data)
            return
        view = memoryview(data)
        for start in range(0, len(data), limit):
            self._post(view[start : start + limit])

    def _post(self, data: bytes | memoryview) -> None:
        if not self.has_room():
            self._wait_for_room()
        if self.is_disconnected or self._is_over:
            raise ClientDisconnected("the client left, or the response is over")
        self._posted_size += len(data)
        if self.iteration is not None and self.iteration.is_on_this_thread():
            self._write(data)  # all that was posted before has been written
        else:
            self.dispatcher.mailbox.post(self._write, data)

    def _wait_for_room(self) -> None:
        if self.iteration is not None:
            return  # it waits between blocks, as the loop must not here
        # The loop looks at the event after it has changed what is asked here; so the event must
        # be there before the question.
        room = threading.Event()
        self._room = room
        if not (self.has_room() or self.is_disconnected):
            room.wait()
        self._room = None

    def _body_is_awaited(self) -> None:
        # RFC 9110 10.1.1: a 100 goes only before the final response.
        head = self.head
        if head.fields.expects_continue and head.http_version == "1.1" and not self._posted_size:
            self._has_sent_continue = True
            self._transmit(CONTINUE)

    def _body_has_room(self) -> None:
        self.dispatcher.mailbox.post(self._resume_body, None)

    def _log(self, response: Response) -> None:
        head, environ = self.head, self.environ
        was_begun = response.head_was_sent and self._posted_size
        self.dispatcher.access_logger.log(
            AccessEntry(
                self.client or "-",
                head.method,
                head.target,
                f"HTTP/{head.http_version}",
                response.status if was_begun else CLIENT_CLOSED_REQUEST,
                self._posted_size,
                time.monotonic() - self.submitted_at,
                environ.get("HTTP_REFERER", "-"),
                environ.get("HTTP_USER_AGENT", "-"),
            )
        )


class ExchangeFactory(Protocol):
    """What makes exchanges: the class, mostly."""

    def __call__(
        self,
        dispatcher: Dispatcher,
        connection: Connection,
        head: RequestHead,
        environ: dict[str, Any],
        /,
    ) -> Exchange: ...
