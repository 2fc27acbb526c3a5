"""One request of a host on its way through the application, in the task of the host.

The task collects the request body as far as a worker thread is worth it, submits the exchange, and
then sends what that posts: one thing at a time, since a host's ``send`` waits while the client does
not keep up. What the exchange posts meanwhile waits in the outbox; it is bounded by the exchange,
which is told that the client has caught up when the outbox is empty (see
`asyncwsgi.requests.exchange`).

What else comes from the client - more of its body, or the news that it has left - is read by a task
of its own, since the host's ``receive`` waits as its ``send`` does. Most requests need none: their
body is complete before they are submitted, and they are answered before anybody looks whether the
client is still there (see `asyncwsgi.mounts.lifecycle.Service.watch`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from contextvars import copy_context
from http import HTTPStatus
from typing import Any, Protocol

from asyncwsgi.errors import (
    ClientDisconnected,
    RequestBodyError,
    RequestRefused,
    ResponseCut,
    WorkersBusy,
)
from asyncwsgi.mounts.exchange import MountExchange
from asyncwsgi.mounts.lifecycle import Service
from asyncwsgi.mounts.responder import BODY_IS_AWAITED, END, Head, MountResponder, RawHeaders
from asyncwsgi.requests.exchange import Exchange
from asyncwsgi.requests.request_body import RequestBody
from asyncwsgi.server_log import logger

JOINED_SIZE = 64 * 1024
"""Blocks that wait are sent together up to this size."""


class Host(Protocol):
    """The server's side of one request. All of it raises `ClientDisconnected` once it knows."""

    async def read(self) -> tuple[bytes, bool]:
        """The next piece of the request body, and whether there may be more."""

    async def start(self, head: Head, block: bytes, *, is_last: bool) -> None:
        """Send the head, and the first block, which may be empty."""

    async def write(self, block: bytes, *, is_last: bool) -> None:
        """Send a block; an empty one only if it is the last."""

    def has_client_left(self) -> bool:
        """Whether the client has left, where that can be asked."""

    async def wait_until_client_leaves(self) -> None:
        """Wait for that behind the end of the body, where it can only be waited for."""

    @property
    def can_wait_for_client(self) -> bool:
        """Whether it can only be waited for."""


class MountConnection:
    """The connection of one exchange.

    Args:
        service: what serves on this loop.
        host: where the request came from.
    """

    file_transport = None

    def __init__(self, service: Service, host: Host) -> None:
        self._service = service
        self._dispatcher = service.dispatcher
        self._host = host
        self._context = copy_context()
        """That in which the host has called, for the reader."""
        self._exchange: MountExchange | None = None
        self._outbox: deque[Any] = deque()
        self._woken: asyncio.Future[None] | None = None
        """What the host's task waits for."""
        self._has_room: asyncio.Future[None] | None = None
        """What the reader waits for."""
        self._reader: asyncio.Task[None] | None = None
        self._host_error: Exception | None = None
        """What the host has raised to the reader."""
        self._body: RequestBody | None = None
        """That of the request, while it is not complete."""
        self._body_size = 0
        self._is_asked_for_body = False
        self._has_started = False
        """Whether the host was given the head of the response."""
        self._is_answered = False
        """Whether the host was given the end of the response."""
        self._is_over = False
        self._is_cut = False
        self._is_to_end = False
        self._is_endless = False

    async def serve(
        self,
        environ: dict[str, Any],
        http_version: str,
        *,
        has_body: bool,
        content_length: int | None,
        expects_continue: bool,
    ) -> None:
        """Have the application answer one request. In the task of the host.

        Args:
            has_body: whether there may be a request body.
            content_length: its size, if the client has told.
            expects_continue: whether the host asks the client for the body when it is first read.

        Raises:
            ResponseCut: the response has begun and does not come to its end.
            Exception: whatever the application has raised, or the host.
        """
        self._is_asked_for_body = expects_continue
        responder = MountResponder(http_version, is_asked_for_body=expects_continue)
        exchange = self._exchange = MountExchange(self._dispatcher, self, responder, environ)
        try:
            if await self._begin(exchange, content_length, has_body=has_body):
                await self._send_response(exchange)
        except BaseException:
            self._give_up(exchange)
            raise
        finally:
            self._end()

    # From the exchange.

    def write(self, data: Any) -> bool:
        """Have `data` sent. False: hold back until all of it is."""
        self._outbox.append(data)
        self._wake()
        return False

    def resume_reading(self) -> None:
        """Read on: the request body has room."""
        room = self._has_room
        if room is not None and not room.done():
            room.set_result(None)

    def response_ended(self, exchange: Exchange) -> None:
        """The application is done with it."""
        self._is_over = True
        self._wake()

    def close(self) -> None:
        """End it behind what was written."""
        self._is_to_end = True
        self._wake()

    def abort(self) -> None:
        """End it now, whatever is missing."""
        exchange = self._exchange
        self._is_endless = exchange is not None and exchange.is_endless
        self._is_cut = True
        self._wake()

    # From the service.

    def look(self) -> bool:
        """Look whether the client is still there; whether to look again."""
        if self._is_asked_for_body and self._reader is None:
            return True  # to read now would ask the client for its body
        if self._host.can_wait_for_client:
            self._begin_to_read()
            return False
        if self._host.has_client_left():
            self._lose_client()
            return False
        return True

    # The request.

    async def _begin(
        self, exchange: MountExchange, content_length: int | None, *, has_body: bool
    ) -> bool:
        """Have a worker thread run the exchange; False: it is answered, or its client has left."""
        try:
            if has_body:
                self._expect_body(exchange, content_length)
                if not self._is_asked_for_body:
                    await self._collect_body()
            self._submit(exchange)
        except RequestRefused as refused:
            exchange.discard()
            await answer_refused(self._host, refused)
            return False
        except ClientDisconnected:
            exchange.discard()
            return False
        return True

    def _expect_body(self, exchange: MountExchange, content_length: int | None) -> None:
        limit = self._dispatcher.config.max_body_size
        if limit and (content_length or 0) > limit:
            raise RequestRefused(413, f"request body of {content_length} bytes, at most {limit}")
        self._body = exchange.expect_body()

    async def _collect_body(self) -> None:
        """Read until the body is complete, or as much of it as may wait is there."""
        while self._body is not None and not self._body.is_full:
            await self._read(self._body)

    async def _read(self, body: RequestBody) -> None:
        data, has_more = await self._host.read()
        self._body_size += len(data)
        limit = self._dispatcher.config.max_body_size
        if limit and self._body_size > limit:
            raise RequestRefused(413, f"request body of more than {limit} bytes")
        if data:
            body.feed(data)
        if not has_more:
            self._body = None
            body.finish()

    def _submit(self, exchange: MountExchange) -> None:
        try:
            self._dispatcher.submit(exchange)
        except WorkersBusy as busy:
            raise RequestRefused(503, str(busy)) from None
        self._service.watch(self)
        if self._body is not None and not self._is_asked_for_body:
            self._begin_to_read()

    def _begin_to_read(self) -> None:
        if self._reader is None:
            loop = asyncio.get_running_loop()
            self._reader = loop.create_task(
                self._read_on(), name="asyncwsgi-reader", context=self._context
            )

    async def _read_on(self) -> None:
        """Read the rest of the body, and then wait until the client leaves."""
        try:
            while self._body is not None:
                while self._body.is_full:
                    await self._wait_for_room()
                await self._read_next(self._body)
            if self._host.can_wait_for_client:
                await self._host.wait_until_client_leaves()
                self._lose_client()
        except ClientDisconnected:
            self._lose_client()
        except Exception as error:
            self._host_error = error
            self._wake()

    async def _read_next(self, body: RequestBody) -> None:
        try:
            await self._read(body)
        except RequestRefused as refused:
            self._body = None
            body.fail(RequestBodyError(refused.status, refused.reason))

    async def _wait_for_room(self) -> None:
        self._has_room = asyncio.get_running_loop().create_future()
        try:
            await self._has_room
        finally:
            self._has_room = None

    def _lose_client(self) -> None:
        # Hosts say so behind a complete response, too, while the application tidies up.
        if self._exchange is not None and not self._is_answered:
            self._outbox.clear()
            self._exchange.connection_lost()

    # The response.

    async def _send_response(self, exchange: MountExchange) -> None:
        outbox = self._outbox
        while not self._is_cut and self._host_error is None:
            if outbox:
                await self._send_first()
            elif self._is_to_end:
                self.abort()
            elif self._is_over:
                break
            else:
                exchange.resume_writing()
                await self._wait()
        await self._conclude(exchange)

    async def _send_first(self) -> None:
        data = self._outbox.popleft()
        if data is BODY_IS_AWAITED:
            self._begin_to_read()
            return
        try:
            if isinstance(data, Head):
                block, is_last = self._with_next(data.block, is_last=data.is_whole)
                self._has_started = True
                await self._host.start(data, block, is_last=is_last)
            else:
                block, is_last = self._with_next(data, is_last=False)
                await self._host.write(block, is_last=is_last)
            self._is_answered = is_last
        except ClientDisconnected:
            self._lose_client()

    def _with_next(self, data: Any, *, is_last: bool) -> tuple[bytes, bool]:
        """A block and those that wait behind it, and whether they end the body."""
        outbox = self._outbox
        if data is END:
            data, is_last = b"", True
        blocks = [data]
        size = len(data)
        while outbox and not is_last and size <= JOINED_SIZE:
            if outbox[0] is BODY_IS_AWAITED:
                break
            following = outbox.popleft()
            if following is END:
                is_last = True
            else:
                blocks.append(following)
                size += len(following)
        return data if len(blocks) == 1 and type(data) is bytes else b"".join(blocks), is_last

    async def _conclude(self, exchange: MountExchange) -> None:
        """All is sent that will be: tell the host what became of it."""
        if (error := exchange.take_error() or self._host_error) is not None:
            self._host_error = None
            try:
                raise error
            finally:
                del error  # it knows this frame: no cycle outlives the request
        if self._is_cut and self._is_endless and self._has_started:
            with contextlib.suppress(ClientDisconnected):
                await self._host.write(b"", is_last=True)
        elif self._is_cut:
            raise ResponseCut(f"{exchange.method} {exchange.target} was cut: its mount is closing")
        elif exchange.was_cancelled:
            refused = RequestRefused(503, "the executor has cancelled the request")
            await answer_refused(self._host, refused)
        elif not (exchange.is_complete or exchange.is_connection_lost):
            raise ResponseCut(f"{exchange.method} {exchange.target}: the response is not whole")

    def _give_up(self, exchange: MountExchange) -> None:
        """The host has cancelled its task, or does not do its part: nobody waits any more."""
        if not exchange.submitted_at:
            exchange.discard()
        elif not self._is_over:
            self._dispatcher.cut(exchange)

    def _end(self) -> None:
        self._service.forget(self)
        if self._reader is not None:
            self._reader.cancel()
            self._reader = None
        self._exchange = self._body = None
        self._outbox.clear()

    def _wake(self) -> None:
        woken = self._woken
        if woken is not None and not woken.done():
            woken.set_result(None)

    async def _wait(self) -> None:
        self._woken = asyncio.get_running_loop().create_future()
        try:
            await self._woken
        finally:
            self._woken = None


async def answer_refused(host: Host, refused: RequestRefused) -> None:
    """Answer a request in the application's place."""
    logger.warning("a request was refused with %d: %s", refused.status, refused.reason)
    line = f"{refused.status} {HTTPStatus(refused.status).phrase}"
    body = f"{line}\n".encode("ascii")
    headers: RawHeaders = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
    ]
    if refused.status == 503:
        headers.append((b"retry-after", b"1"))
    with contextlib.suppress(ClientDisconnected):
        await host.start(Head(line, headers, body, is_whole=True), body, is_last=True)
