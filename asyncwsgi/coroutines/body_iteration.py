"""The part of an exchange that needs no thread: its body comes out of an async iterator.

Runs on the loop. When the iterator ends, fails or is cut, a worker thread does the rest of the
application's call - the end of the response, ``close()``, the access line - in the call's Context.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextvars import Context
from typing import TYPE_CHECKING

from asyncwsgi.coroutines.stream import close_iterator, encode
from asyncwsgi.errors import ClientDisconnected

if TYPE_CHECKING:
    from asyncwsgi.requests.exchange import Exchange
    from asyncwsgi.wsgi.async_body import SuspendedCall

MOST_BLOCKS = 16
"""Blocks that are sent before others have their turn."""
# What an iterator ends with when it was cut.
_LEAVINGS = (type(None), asyncio.CancelledError, ClientDisconnected)


class BodyIteration:
    """Iterates a body on the loop; then it is the job of a worker thread that does the rest.

    Args:
        exchange: whose body it is.
        suspended: the body, and what is left of the application's call.
        context: that of the call.
    """

    __slots__ = (
        "_context",
        "_error",
        "_exchange",
        "_is_iterating",
        "_sent_at",
        "_suspended",
        "_task",
        "_thread_id",
    )  # fmt: skip

    def __init__(self, exchange: Exchange, suspended: SuspendedCall, context: Context) -> None:
        self._exchange = exchange
        self._suspended = suspended
        self._context = context
        self._task: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._is_iterating = False
        self._thread_id = 0
        self._sent_at = time.monotonic()

    # On the loop.

    def begin(self, _: None) -> None:
        """Take over from the worker thread."""
        exchange, offer = self._exchange, self._suspended.async_body
        exchange.dispatcher.workers.job_ended()
        exchange.dispatcher.loop_work.watch.task_began()
        self._thread_id = threading.get_ident()
        self._task = asyncio.get_running_loop().create_task(self._run(), context=offer.context)
        self._task.add_done_callback(self._end)

    def is_on_this_thread(self) -> bool:
        """Whether the caller is the loop, where this has taken over."""
        return self._thread_id == threading.get_ident()

    def cut(self) -> None:
        """The client has gone: interrupt the iterator wherever it waits."""
        if self._is_iterating:
            assert self._task is not None
            self._is_iterating = False  # once: its tidying up is not interrupted
            self._task.cancel()

    @property
    def blocks(self) -> AsyncIterator[bytes | str]:
        """What it iterates."""
        return self._suspended.async_body.blocks

    def tick(self, now: float) -> None:
        """Say that the server is still there, if nothing else was said for long."""
        offer = self._suspended.async_body
        if offer.idle_timeout is None or now - self._sent_at < offer.idle_timeout:
            return
        if self._is_iterating and self._exchange.has_room():
            self._send(offer.idle_block)

    async def _run(self) -> None:
        blocks = self.blocks
        try:
            # A task that is cancelled before its first step would not even close the iterator.
            if not self._exchange.is_disconnected:
                self._is_iterating = True
                await self._send_all(blocks)
        except BaseException as error:
            self._error = error
        self._is_iterating = False
        try:
            await close_iterator(blocks)
        except BaseException as error:
            self._error = self._error or error

    async def _send_all(self, blocks: AsyncIterator[bytes | str]) -> None:
        exchange = self._exchange
        count = 0
        async for block in blocks:
            count += 1
            if not self._send(block):
                self._suspended.is_complete = True
                return
            if not exchange.has_room():
                await exchange.wait_for_room()
            elif not count % MOST_BLOCKS:
                await asyncio.sleep(0)  # an iterator that never waits would keep the loop

    def _send(self, block: bytes | str) -> bool:
        if self._exchange.is_disconnected:
            raise ClientDisconnected("the client left")
        self._sent_at = time.monotonic()
        return self._exchange.send(encode(block))

    def _end(self, _: asyncio.Task[None]) -> None:
        """Have a worker thread do the rest."""
        self._exchange.dispatcher.loop_work.watch.task_ended()
        if self._exchange.is_disconnected and isinstance(self._error, _LEAVINGS):
            self._error = ClientDisconnected("the client left")
        self._exchange.dispatcher.workers.resume(self)

    # In the worker thread.

    def run(self) -> None:
        """Do the rest."""
        exchange, suspended = self._exchange, self._suspended
        exchange.iteration = None
        is_cut = isinstance(self._error, ClientDisconnected)
        # Given away: the error knows the frames that know this, and no cycle outlives the request.
        suspended.async_body.error, self._error = None if is_cut else self._error, None
        exchange.resume_in_thread(suspended, self._context, is_cut=is_cut)

    def cancel(self) -> None:
        """Do the rest in a thread of its own: whoever was begun is closed."""
        threading.Thread(target=self.run, name="asyncwsgi-closing", daemon=True).start()
