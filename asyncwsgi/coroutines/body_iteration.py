"""A response body that the loop iterates, while the application's call needs no thread.

A view has returned an async iterable (see `asyncwsgi.coroutines.stream`). The application's call
stands still: its thread is back in the pool, and its Context and its iterable wait. When the
iterator ends, fails or is cut, the exchange goes on with the call in a worker thread: the end of
the response, ``close()``, the access line. All of it runs on the loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any, Protocol

from asyncwsgi.clock import clock
from asyncwsgi.coroutines.stream import close_iterator, encode
from asyncwsgi.coroutines.watch import LoopWatch
from asyncwsgi.errors import ClientDisconnected
from asyncwsgi.wsgi.async_body import AsyncBody

MOST_BLOCKS = 16
"""Blocks that are sent before others have their turn."""
# What an iterator ends with when it was cut.
_ENDS_OF_CUT = (type(None), asyncio.CancelledError, ClientDisconnected)


class StreamingExchange(Protocol):
    """The exchange whose body it is."""

    is_connection_lost: bool
    """Whether its client has gone, so that nothing can be sent any more."""

    def is_writable(self) -> bool:
        """Whether the client keeps up with what is sent."""

    async def wait_until_writable(self) -> None:
        """Wait until the client has taken enough to be sent more."""

    def send(self, block: bytes) -> bool:
        """Send a block. False: the body is complete."""

    def iteration_ended(self, error: BaseException | None) -> None:
        """Go on with the application's call.

        Args:
            error: what the iterator has raised; `ClientDisconnected` if it was cut.
        """


class BodyIteration:
    """Iterates one body.

    Args:
        exchange: whose body it is.
        body: what to iterate, and how.
        watch: is told while it runs.
    """

    __slots__ = (
        "_body", "_error", "_exchange", "_is_complete", "_is_iterating", "_sent_at", "_task",
        "_thread_id", "_watch",
    )  # fmt: skip

    def __init__(self, exchange: StreamingExchange, body: AsyncBody, watch: LoopWatch) -> None:
        self._exchange = exchange
        self._body = body
        self._watch = watch
        self._task: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._is_complete = False
        self._is_iterating = False
        self._thread_id = 0
        self._sent_at = clock.monotonic()

    def begin(self) -> None:
        """Take over from the worker thread."""
        self._watch.task_began()
        self._thread_id = threading.get_ident()
        coroutine = self._run()
        try:
            loop = asyncio.get_running_loop()
            task = loop.create_task(coroutine, context=self._body.context)
        except BaseException as error:  # a task factory, such as an instrumentation library's
            coroutine.close()
            self._error = error
            self._end()
        else:
            task.add_done_callback(self._end)

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
    def coroutine(self) -> Any:
        """What runs on the loop, to be looked at; None before that has begun."""
        return None if self._task is None else self._task.get_coro()

    def tick(self, now: float) -> None:
        """Say that the server is still there, if nothing else was said for long."""
        body = self._body
        if body.idle_timeout is None or now - self._sent_at < body.idle_timeout:
            return
        if self._is_iterating and self._exchange.is_writable():
            self._send(body.idle_block)

    async def _run(self) -> None:
        blocks = self._body.blocks
        self._task = asyncio.current_task()  # an eager one begins before it is given to its maker
        try:
            # A task that is cancelled before its first step would not even close the iterator.
            if not self._exchange.is_connection_lost:
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
                self._is_complete = True
                self._is_iterating = False  # a client that has all of it and leaves cuts nothing
                await self._see_end(blocks)
                return
            if not exchange.is_writable():
                await exchange.wait_until_writable()
            elif not count % MOST_BLOCKS:
                await asyncio.sleep(0)  # an iterator that never waits would keep the loop

    async def _see_end(self, blocks: AsyncIterator[bytes | str]) -> None:
        """Let a generator whose last byte is on its way run the code behind its last yield."""
        async for block in blocks:
            self._exchange.send(encode(block))
            return

    def _send(self, block: bytes | str) -> bool:
        if self._exchange.is_connection_lost:
            raise ClientDisconnected("the client left")
        self._sent_at = clock.monotonic()
        return self._exchange.send(encode(block))

    def _end(self, _: asyncio.Task[None] | None = None) -> None:
        self._watch.task_ended()
        # Given away: the error knows the frames that know this, and no cycle outlives the request.
        error, self._error = self._error, None
        was_cut = self._exchange.is_connection_lost and not self._is_complete
        if was_cut and isinstance(error, _ENDS_OF_CUT):
            error = ClientDisconnected("the client left")
        self._exchange.iteration_ended(error)
