"""One request and its response: a job for a worker thread, a source of data for a connection.

The application's call, its iteration and ``close()`` run in one thread and in a Context of its own:
Flask pops what it pushed, and nothing leaks into the next request. A body that the loop iterates
(see `asyncwsgi.coroutines.body_iteration`) or the kernel sends (`asyncwsgi.requests.file_transfer`)
divides the job in two, in the same Context.

An exchange knows no protocol. It is given an environ, a `Responder` that turns status, headers and
blocks into what its frontend sends, and a `Connection` to send it by.

Who owns which field. No lock guards an exchange, because each field has one writer at a time, and
each way from one writer to the next passes a queue or the mailbox:

- Until it is submitted, and once it has ended, an exchange is the loop's.
- In between, what changes is the worker thread's, but for what follows. While the loop iterates the
  body or has a file sent, which is behind a message from the thread and before the job that goes
  on, it is the loop's.
- ``is_connection_lost``, ``_taken_size`` and ``_written_size`` are written on the loop alone. The
  worker reads them when it is about to send; what it sees may be a moment old, and then the next
  look, or the loop itself, drops what nobody can get any more.
- ``taken_socket`` and ``own_status`` are set by the thread of the application that first uses its
  client's socket, whichever that is; the worker reads them when the application is done.
  ``is_taken_over`` is the loop's. Who takes the socket as the request ends sees that it has ended,
  or is seen: the one sets ``taken_socket`` and then asks ``has_ended``, the other does it the other
  way round.
- ``_output`` is put there by the loop before the worker begins, or while the worker waits in
  ``_awaits_output`` for it; so is ``_was_lent_ahead``. From then on they are the worker's, with
  ``_direct_size``, until the worker posts the next block, the loop begins to send the body itself,
  or the exchange ends. While it is there nothing is under way by the loop, so that what is sent by
  either stays in order.
- ``_writable`` is set and taken away by whoever waits in it. So the loop takes a local of it before
  it asks whether it is None, as it does of every field that a worker may change meanwhile.

Flow control. The worker may be ahead of the client by a bounded number of bytes: it counts what it
posts, the loop what it has taken and what the transport took without holding it back. While more
than ``high_water_size`` is under way the worker waits in ``_writable`` for the loop to say that the
client has caught up. The wait cannot be missed: the worker puts the event there before it asks
whether it has to wait, and the loop changes the answer before it looks for an event.
"""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Awaitable
from contextvars import Context
from http import HTTPStatus
from typing import Any, BinaryIO, Protocol, TypeVar

from asyncwsgi.access_log import AccessEntry
from asyncwsgi.clock import clock
from asyncwsgi.coroutines.body_iteration import BodyIteration
from asyncwsgi.coroutines.current import enter_request
from asyncwsgi.coroutines.disconnect import Disconnect
from asyncwsgi.coroutines.tasks import LoopTasks
from asyncwsgi.errors import ClientDisconnected, RequestBodyError
from asyncwsgi.requests import forks
from asyncwsgi.requests.dispatcher import Dispatcher
from asyncwsgi.requests.file_transfer import FileTransfer, FileTransport, Output
from asyncwsgi.requests.request_body import RequestBody
from asyncwsgi.requests.spool import spool
from asyncwsgi.server_log import logger
from asyncwsgi.wsgi import response as wsgi_response
from asyncwsgi.wsgi.application import run_application
from asyncwsgi.wsgi.async_body import AsyncBody
from asyncwsgi.wsgi.response import Response
from asyncwsgi.wsgi.suspended_call import SuspendedCall

T = TypeVar("T")

# nginx's status for a client that left before there was one.
CLIENT_CLOSED_REQUEST = 499


class Settable(Protocol):
    """A `threading.Event` or an `asyncio.Event`, for whoever sets it."""

    def set(self) -> None: ...


class Connection(Protocol):
    """What an exchange needs of the connection it came by; all of it runs on the loop."""

    @property
    def file_transport(self) -> FileTransport | None:
        """What sends a file as it is, behind what was written; None: blocks only. From any thread.

        Asked once for each file; the answer may be another one a moment later.
        """

    def write(self, data: Any) -> bool:
        """Send what the responder made. False: hold back until `Exchange.resume_writing`."""

    def resume_reading(self) -> None:
        """Read on: the request body has room."""

    def response_ended(self, exchange: Exchange) -> None:
        """The application is done with the exchange."""

    def close(self) -> None:
        """Close when everything is sent that was written."""

    def abort(self) -> None:
        """Close at once; what is unsent is lost."""


class Responder(wsgi_response.Responder, Protocol):
    """The frontend's part of one exchange, in the worker thread."""

    def body_is_awaited(self) -> Any:
        """What to send since the application waits for the rest of the request body.

        Empty for nothing; HTTP may owe its client a 100 (Continue).
        """


class TakenSocket(Protocol):
    """The client's connection in the hands of the application; see `Exchange.taken_socket`."""

    @property
    def sent_size(self) -> int:
        """Bytes that the application has sent by it."""

    def end_request(self) -> None:
        """Let nobody use it any more, and wake who waits at it. From any thread."""


class Exchange:
    """One request on its way through the application.

    A subclass may override what stands under "Hooks".

    Args:
        dispatcher: what it shares with all others of the server.
        connection: where its response goes.
        responder: makes of the response what is sent.
        environ: the request, to which ``wsgi.input`` is added here.
    """

    # Of the class, since most requests have none of it, and shall pay nothing for it.
    taken_socket: TakenSocket | None = None
    """The client's socket, once the application has used it for bytes."""
    is_taken_over = False
    """Whether the connection's bytes are passed on to the application."""
    final_status = CLIENT_CLOSED_REQUEST
    """What the client got, if anybody counts that; settled when the exchange has ended."""
    _output: Output | None = None
    """The client's socket, while nothing is under way by the loop: the worker's to use."""
    _was_lent_ahead = False
    """Whether that is so since before anybody knew what the response would be."""
    _awaits_output: threading.Event | None = None
    """In which the worker waits for it."""
    _direct_size = 0
    """Bytes that the worker has sent by it."""
    own_status = 0
    """The status that the client got in another way than by the response; 0: it got none so."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        connection: Connection,
        responder: Responder,
        environ: dict[str, Any],
    ) -> None:
        self.dispatcher = dispatcher
        self.connection = connection
        self.responder = responder
        self.environ = environ
        # Taken now: the environ is the application's to change.
        self.method: str = environ["REQUEST_METHOD"]
        self.target: str = environ["REQUEST_URI"]
        """The request target as the client sent it."""
        self.protocol: str = environ["SERVER_PROTOCOL"]
        self.client: str = environ["REMOTE_ADDR"]
        self.body: RequestBody | None = None
        self.submitted_at = 0.0
        self.started_at = 0.0
        """When a thread took it, monotonic; 0.0 while it waits."""
        self.is_connection_lost = False
        self.disconnect = Disconnect(dispatcher.mailbox)
        """Whether its client has left; asked by the application, too."""
        self.iteration: BodyIteration | FileTransfer | None = None
        """What sends the body while no thread does."""
        self.was_cancelled = False
        """Whether no thread will ever take it."""
        self.is_complete = False
        """Whether the client can tell that its response is whole; settled when it has ended."""
        self._response: Response | None = None
        self._rest: _RestOfCall | None = None
        self._spooled: BinaryIO | None = None
        self._file_transport: FileTransport | None = None
        self._is_over = False
        # Of what was posted by the worker, taken by the loop, and written: see the top.
        self._posted_size = 0
        self._taken_size = 0
        self._written_size = 0
        self._writable: Settable | None = None

    # From the connection, on the loop.

    def expect_body(self) -> RequestBody:
        """Give the request a body, to be fed by the connection."""
        self.body = body = self.dispatcher.request_body_class(
            self.dispatcher.config.body_buffer_size,
            on_wait=self._body_is_awaited,
            on_resume=self._resume_reading,
        )
        return body

    def few_run(self) -> None:
        """Have the worker thread send the response itself, if nothing else is being sent just now.

        The loop is about to wait, and to wake it takes longer than all that it would do.
        """
        transport = self.connection.file_transport
        if transport is not None:
            self._output = transport.lend_output_now()
            self._was_lent_ahead = self._output is not None

    def resume_writing(self) -> None:
        """Everything taken so far has been sent, or nearly."""
        self._written_size = self._taken_size
        self._notify_worker()

    def eof_received(self, *, is_body_complete: bool) -> None:
        """The client sends nothing more. RFC 9112 9.6: it may have shut its side only."""
        if self.body is not None and not is_body_complete:
            reason = "the client closed before its request body was complete"
            self.body.fail(RequestBodyError(400, reason))
        self.client_left()

    def client_left(self) -> None:
        """The client has shut its side; what it sent before may still be unread."""
        self.disconnect.announce()
        if self.is_endless:
            # Nobody reads a stream without an end with half a connection; it is a closed tab.
            self.connection.abort()

    def connection_lost(self) -> None:
        """The client has gone: the application hears of it when it next reads or writes."""
        self.is_connection_lost = True
        self.disconnect.announce()
        iteration, body, writable = self.iteration, self.body, self._writable
        if iteration is not None:
            iteration.cut()
        if body is not None:
            body.fail(ClientDisconnected("the client left before its body was complete"))
        if writable is not None:
            writable.set()

    def cut(self, *, flushes: bool = False) -> None:
        """End it as if the client had left, and close its connection; what was written, if not
        `flushes`, may be lost."""
        self.connection_lost()
        if flushes:
            self.connection.close()
        else:
            self.connection.abort()

    def discard(self) -> None:
        """Let go of what knows it: it is over, or will never run. No cycle outlives the request."""
        body = self.body
        if body is not None:
            body.discard()
        self.body = self._response = None
        if self.environ:
            self.environ = {}

    @property
    def is_endless(self) -> bool:
        """Whether the application has begun what has no end of its own."""
        if self.is_taken_over and self.own_status:
            return True  # it is a conversation, and no server knows when that is over
        response = self._response
        return response is not None and response.is_endless

    @property
    def has_begun_to_answer(self) -> bool:
        """Whether the connection was given the head of an answer. On the loop."""
        return self._taken_size > 0 or self.own_status > 0

    @property
    def is_answered(self) -> bool:
        """Whether the last byte of the response was handed over."""
        response = self._response
        is_finished = response is not None and response.is_finished
        return is_finished and not self.has_taken_socket

    @property
    def has_taken_socket(self) -> bool:
        """Whether the application uses the connection's bytes, as WebSocket libraries do."""
        return self.taken_socket is not None

    @property
    def has_ended(self) -> bool:
        """Whether the application is done with it. From any thread."""
        return self._is_over

    @property
    def waits_until_writable(self) -> bool:
        """Whether it is its client that keeps it waiting, which reads slowly or not at all."""
        waits = self._writable is not None or self._awaits_output is not None
        return waits or isinstance(self.iteration, FileTransfer)

    @property
    def response_size(self) -> int:
        """Bytes that were sent so far, head and framing included."""
        socket, size = self.taken_socket, self._posted_size + self._direct_size
        return size if socket is None else size + socket.sent_size

    @property
    def body_size(self) -> int:
        """Bytes of the request body that have arrived."""
        return 0 if self.body is None else self.body.received_size

    # From the client's socket, in any thread of the application.

    def speak(self, status: int) -> None:
        """Say that the application answers its client itself, first of all by this status.

        HTTP has nothing to add: behind bytes of another protocol a response would be garbage.
        """
        response = self._response  # gone when the exchange has ended
        if response is not None and not self.own_status:
            self.own_status = response.status if response.head_was_sent else status
            response.abandon()

    def answer_otherwise(self, status: int, reason: str) -> None:
        """Answer by this status, unless an answer has begun; what the application says is dropped.

        Frameworks turn what is raised into a page of their own, which could not say as much.
        """
        response = self._response
        if response is None or response.head_was_sent:
            return
        logger.warning("%s %s answered with %d: %s", self.method, self.target, status, reason)
        response.fail(f"{status} {HTTPStatus(status).phrase}", f"{reason}\n".encode())
        self.speak(status)

    # From what iterates the body, on the loop.

    def send(self, block: bytes) -> bool:
        """Send a block of a body that the loop iterates. False: the body is complete."""
        response = self._response
        return response is not None and response.send(block)

    def is_writable(self) -> bool:
        """Whether the client keeps up with what is sent. From any thread."""
        return self._posted_size - self._written_size < self.dispatcher.high_water_size

    async def wait_until_writable(self) -> None:
        """Wait until the client has taken enough to be sent more. Only where that is not so."""
        self._writable = writable = asyncio.Event()
        try:
            await writable.wait()
        finally:
            self._writable = None

    def iteration_ended(self, error: BaseException | None) -> None:
        """Have a worker thread go on with the application's call."""
        rest, self._rest = self._rest, None
        assert rest is not None, "the call stands still while its body is iterated"
        rest.error = error
        self.dispatcher.workers.resume(rest)

    def file_was_sent(self, size: int) -> None:
        """Say that the connection has sent `size` bytes of a file."""
        self._posted_size += size
        self._taken_size += size
        self._written_size = self._taken_size

    # On the loop, for itself.

    def _begin_iteration(self, iteration: BodyIteration | FileTransfer) -> None:
        self.dispatcher.workers.job_ended()
        self._end_output()
        iteration.begin()

    def _write(self, data: Any) -> None:
        dispatcher = self.dispatcher
        is_to_end = (dispatcher.is_draining or self.disconnect.has_happened) and self.is_endless
        if is_to_end and (self.has_begun_to_answer or self.disconnect.has_happened):
            dispatcher.cut(self)
        if self.is_connection_lost:
            return
        self._taken_size += len(data)
        if self.connection.write(data):
            self._written_size = self._taken_size
            self._notify_worker()
        if is_to_end:
            dispatcher.cut(self, flushes=True)

    def _end_output(self) -> None:
        if self._output is not None:
            self._output.end()
            self._output = None

    def _lend_output(self, transport: FileTransport) -> None:
        if self.is_connection_lost:
            self._output_was_lent(None)
        else:
            transport.lend_output(self._output_was_lent)

    def _output_was_lent(self, output: Output | None) -> None:
        self._output = output
        if (lent := self._awaits_output) is not None:
            lent.set()

    def _notify_worker(self) -> None:
        writable = self._writable
        if writable is not None and self.is_writable():
            writable.set()

    def _end(self, _: None) -> None:
        self.disconnect.end()
        self._end_output()
        statistics = self.dispatcher.statistics
        if statistics is not None:
            statistics.exchange_ended(self)
        self.discard()
        self.dispatcher.exchange_ended(self)
        self.connection.response_ended(self)

    def _resume_reading_now(self, _: None) -> None:
        if not (self._is_over or self.is_connection_lost):
            self.connection.resume_reading()

    # The job, in the worker thread.

    def run(self) -> None:
        """Run the application; skipped if the client left while the request was queued."""
        suspended = context = None
        try:
            if not self.is_connection_lost:
                self.started_at = clock.monotonic()
                context = self.new_context()
                suspended = context.run(self.run_in_context)
        finally:
            self._leave_thread(suspended, context)

    def run_rest(self, suspended: SuspendedCall, context: Context, *, is_cut: bool) -> None:
        """Run what follows the part on the loop; nothing but the end if the client has left."""
        rest = None
        try:
            rest = context.run(self._run_rest, suspended, is_cut)
        finally:
            self._leave_thread(rest, context)

    def cancel(self) -> None:
        """Be told that `run` will never be called. From any thread."""
        self.was_cancelled = True
        self.dispatcher.mailbox.post(self._end, None)

    def run_in_context(self) -> SuspendedCall | None:
        """Run the application, and answer for it if it fails. Returns what is left of its call."""
        enter_request(self)
        body = self.body
        self._response = response = Response(self.method, self.responder, self)
        self.environ["wsgi.input"] = io.BytesIO() if body is None else body.open()
        self.add_keys()
        try:
            if body is not None:
                self._tell_size_of_body()
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

    def _leave_thread(self, suspended: SuspendedCall | None, context: Context | None) -> None:
        if suspended is None or context is None:
            if self._spooled is not None:
                self._spooled.close()
            # In this order: who takes the socket at this moment looks here behind it.
            self._is_over = True
            if self.taken_socket is not None:
                self.taken_socket.end_request()
            # What the call needed is let go of here, while it is in the cache of this processor,
            # and the next call gets its memory. Under load many exchanges wait for the loop.
            self.environ = {}
            self.dispatcher.mailbox.post(self._end, None)
        else:
            # Before the loop hears of it: `_wait_until_writable` asks.
            self._rest = _RestOfCall(self, suspended, context)
            body = suspended.body
            if isinstance(body, AsyncBody):
                self.iteration = BodyIteration(self, body, self.dispatcher.watch)
            else:
                transport = self._file_transport
                assert transport is not None, "the response has asked"
                self.iteration = FileTransfer(self, transport, body)
            self.dispatcher.mailbox.post(self._begin_iteration, self.iteration)

    # Hooks; in the worker thread, but for what says otherwise.

    def new_context(self) -> Context:
        """The Context that the application is called in."""
        return self.dispatcher.new_context()

    def add_keys(self) -> None:
        """Give the environ the keys that speak of this exchange."""
        environ = self.environ
        environ["asyncwsgi.disconnected"] = self.disconnect
        environ["waitress.client_disconnected"] = self.disconnect

    def call_application(self, response: Response) -> SuspendedCall | None:
        """Run the application. What it raises goes to `fail`."""
        return run_application(self.dispatcher.application, self.environ, response)

    def fail(self, response: Response, error: BaseException) -> None:
        """Deal with what the application raised.

        Before the head has left the client is answered with a status; after it the connection is
        cut, so that the framing shows that the body is not whole.
        """
        status = "500 Internal Server Error"
        if self.is_of_disconnect(error) or self.is_of_taken_socket(error):
            return
        if isinstance(error, RequestBodyError):
            logger.info("%s %s: %s", self.method, self.target, error.reason)
            status = f"{error.status} {HTTPStatus(error.status).phrase}"
        else:
            logger.error("%s %s failed", self.method, self.target, exc_info=error)
        if not response.head_was_sent:
            try:
                response.fail(status, f"{status}\n".encode("ascii"))
            except ClientDisconnected:
                return

    def conclude(self, response: Response) -> None:
        """The application is done: say what became of its response."""
        dispatcher = self.dispatcher
        if response.is_truncated:
            logger.error(
                "%s %s: the application sent %d bytes less than its Content-Length",
                self.method, self.target, response.missing_size,
            )  # fmt: skip
        elif response.excess_size:
            logger.error(
                "%s %s: the application sent more than its Content-Length; at least %d bytes "
                "were cut",
                self.method, self.target, response.excess_size,
            )  # fmt: skip
        self.is_complete = response.is_complete
        if dispatcher.statistics is not None:
            self.final_status = self._status_of(response)
        if dispatcher.config.access_log and dispatcher.access_logger.is_enabled():
            self._log(response)

    def background_failed(self, error: BaseException) -> None:
        """A task that it has left in the background has failed; it is logged. On the loop.

        The exchange itself may have ended long ago.
        """

    def observe(self, awaitable: Awaitable[T]) -> Awaitable[T]:
        """What the loop is to run in place of a coroutine of the application."""
        return awaitable

    def transmit(self, data: Any) -> None:
        """Send what the responder made; waits while the client does not keep up.

        Raises:
            ClientDisconnected: it has left.
        """
        limit = self.dispatcher.high_water_size
        if len(data) <= limit or not isinstance(data, bytes):
            self._post(data)
            return
        view = memoryview(data)
        for start in range(0, len(data), limit):
            self._post(view[start : start + limit])

    def can_send_file(self) -> bool:
        """Whether the kernel may send the file that the application has returned, as it is."""
        self._file_transport = self.connection.file_transport
        return self._file_transport is not None

    def allow_switching(self) -> None:
        """Let the response be a 101, behind which the connection is another protocol's."""
        response = self._response
        if response is not None:
            response.may_switch = True

    def is_of_disconnect(self, error: BaseException) -> bool:
        """Whether `error` says no more than that the client has left."""
        if isinstance(error, ClientDisconnected):
            return self.is_connection_lost
        return isinstance(error, asyncio.CancelledError) and self.disconnect.has_happened

    def is_of_taken_socket(self, error: BaseException) -> bool:
        """Whether `error` says no more than that the use of the client's socket is over.

        Who has spoken for itself has no response to return; engineio, for one, raises a
        ConnectionError instead.
        """
        has_used_it = self.has_taken_socket or self.own_status != 0
        return has_used_it and isinstance(error, ConnectionError)

    # What code of the application asks (see `asyncwsgi.coroutines.current`).

    @property
    def tasks(self) -> LoopTasks:
        """What the server's loop runs for threads."""
        return self.dispatcher.tasks

    @property
    def cancel_on_disconnect(self) -> bool:
        """Whether async views are cancelled when the client leaves."""
        return self.dispatcher.config.cancel_on_disconnect

    def collect_body(self) -> bool:
        """Wait for the request body before a coroutine that may read it is called on the loop.

        False: it is too large, and the coroutine must not run where reading would wait for itself.
        """
        body = self.body  # gone when the exchange has ended
        return body is None or body.collect()

    # In the worker thread, for itself.

    def _tell_size_of_body(self) -> None:
        """Give a body that says its end, but not its size, a CONTENT_LENGTH (see `spool`)."""
        environ, config = self.environ, self.dispatcher.config
        if "wsgi.input_terminated" not in environ:
            return
        body = environ["wsgi.input"]
        if isinstance(body, io.BytesIO):  # it was complete already
            size = len(body.getbuffer())
        elif config.stream_chunked_bodies:
            return
        else:
            environ["wsgi.input"], size = spool(
                body, memory_size=config.body_buffer_size, max_size=config.max_spool_size
            )
            self._spooled = environ["wsgi.input"]
        environ["CONTENT_LENGTH"] = str(size)

    def _post(self, data: Any) -> None:
        if self._was_lent_ahead:
            self._look_at_response()
        if self._output is not None:
            data = self._send_directly(self._output, data)
            if not len(data):
                return
        elif not self.is_writable():
            self._wait_until_writable()
            if self._output is not None:
                self._post(data)
                return
        if self.is_connection_lost or self._is_over:
            raise ClientDisconnected("the client left, or the response is over")
        self._posted_size += len(data)
        iteration = self.iteration
        if iteration is not None and iteration.is_on_this_thread():
            self._write(data)  # all that was posted before has been written
        else:
            self.dispatcher.mailbox.post(self._write, data)

    def _look_at_response(self) -> None:
        """Give the client's socket back if the response, whose head is about to leave, is endless.

        Such a one is cut between two blocks, which the loop has to see.
        """
        response = self._response
        if response is not None and response.head_was_sent:  # else this is a 100 (Continue)
            self._was_lent_ahead = False
            if response.is_endless:
                self._end_output()

    def _send_directly(self, output: Output, data: Any) -> Any:
        """Send by the client's socket; what is left of `data` goes through the loop."""
        sent = output.send(data)
        self._direct_size += sent
        if sent == len(data):
            return b""
        self._end_output()
        return memoryview(data)[sent:]

    def _wait_for_output(self, transport: FileTransport) -> None:
        """Wait until all is sent, and have the client's socket for what follows."""
        self._awaits_output = lent = threading.Event()
        if not self.is_connection_lost:
            self.dispatcher.mailbox.post(self._lend_output, transport)
            lent.wait()
        self._awaits_output = None

    def _wait_until_writable(self) -> None:
        if self.iteration is not None:
            return  # it waits between blocks, as the loop must not here
        # A response that may fit the buffer waits for nothing but room in it.
        is_large = self._posted_size >= self.dispatcher.config.response_buffer_size
        transport = self.connection.file_transport if is_large and not self.is_endless else None
        if transport is not None:
            self._wait_for_output(transport)
            return
        writable = threading.Event()
        self._writable = writable
        if not (self.is_writable() or self.is_connection_lost):
            writable.wait()
        self._writable = None

    def _body_is_awaited(self) -> None:
        if data := self.responder.body_is_awaited():
            self.transmit(data)

    def _resume_reading(self) -> None:
        self.dispatcher.mailbox.post(self._resume_reading_now, None)

    def _status_of(self, response: Response) -> int:
        """The status that the client got; 499 if it got none, because it had left."""
        was_begun = response.head_was_sent and self._posted_size + self._direct_size > 0
        return self.own_status or (response.status if was_begun else CLIENT_CLOSED_REQUEST)

    def _log(self, response: Response) -> None:
        environ, dispatcher = self.environ, self.dispatcher
        dispatcher.access_logger.log(
            AccessEntry(
                self.client or "-",
                self.method,
                self.target,
                self.protocol,
                self._status_of(response),
                self.response_size,
                clock.monotonic() - self.submitted_at,
                environ.get("HTTP_REFERER", "-"),
                environ.get("HTTP_USER_AGENT", "-"),
                dispatcher.access_logger.pick(environ, response.headers),
            )
        )


class _RestOfCall:
    """The second job of an exchange: what follows the body that the loop has iterated."""

    __slots__ = ("_context", "_exchange", "error", "suspended")

    def __init__(self, exchange: Exchange, suspended: SuspendedCall, context: Context) -> None:
        self._exchange = exchange
        self._context = context
        self.suspended = suspended
        self.error: BaseException | None = None

    def run(self) -> None:
        exchange, suspended = self._exchange, self.suspended
        exchange.iteration = None
        error, self.error = self.error, None
        is_cut = isinstance(error, ClientDisconnected)
        suspended.tell_error(None if is_cut else error)
        del error  # it knows the frames that know this: no cycle outlives the request
        exchange.run_rest(suspended, self._context, is_cut=is_cut)

    def few_run(self) -> None:
        """It goes on with a response that the loop has begun."""

    def cancel(self) -> None:
        """Do the rest in a thread of its own: whoever was begun is closed."""
        threading.Thread(target=self.run, name="asyncwsgi-closing", daemon=True).start()


class ExchangeFactory(Protocol):
    """What makes exchanges: the class, mostly."""

    def __call__(
        self,
        dispatcher: Dispatcher,
        connection: Connection,
        responder: Responder,
        environ: dict[str, Any],
        /,
    ) -> Exchange: ...
