"""Bodies out of async iterables: `stream`, which needs no worker thread on this server.

On other servers, and wherever its blocks are asked for one by one, the same object is an ordinary
iterable with an event loop of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterable, AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

from asyncwsgi.coroutines.current import current_request
from asyncwsgi.errors import ApplicationError
from asyncwsgi.wsgi.async_body import AsyncBody

T = TypeVar("T")
Block = bytes | str

_END = object()


class stream:  # noqa: N801 - named like Flask's stream_with_context, in whose place it stands
    """A response body out of an async iterable, iterated by the server's loop.

    Return it from a WSGI application, or give it to a framework's response. Its head leaves, the
    worker thread goes back to its pool, and the loop iterates as fast as the client reads. The
    iterable's code runs in a copy of the Context in which this object is made, so that Flask's
    ``request``, ``session`` and ``g`` can be read in it.

    Args:
        blocks: yields bytes, or str to be encoded as UTF-8.
        idle_block: sent when nothing else was for `idle_timeout` seconds.
        idle_timeout: None for never; the server's clock may add a second.

    Raises:
        TypeError: `blocks` is not an async iterable.
    """

    def __init__(
        self,
        blocks: AsyncIterable[Block],
        *,
        idle_block: bytes = b"",
        idle_timeout: float | None = None,
    ) -> None:
        if not hasattr(blocks, "__aiter__"):
            cure = " (call it first)" if inspect.isasyncgenfunction(blocks) else ""
            raise TypeError(
                f"stream() got a {type(blocks).__name__}{cure}; it wants an async iterable, such "
                "as what a function with 'async def' and 'yield' returns"
            )
        self._offer = AsyncBody(
            aiter(blocks), copy_context(), idle_block=idle_block, idle_timeout=idle_timeout
        )
        self._was_offered = False
        self._private: _PrivateLoop | None = None
        self._is_over = False

    def __iter__(self) -> stream:
        return self

    def __next__(self) -> bytes:
        offer = self._offer
        if offer.is_taken:
            offer.raise_error()
            raise StopIteration
        if not self._was_offered and current_request() is not None:
            self._was_offered = True
            return offer
        offer.is_void = True
        return self._next_by_private_loop()

    def close(self) -> None:
        """Close the iterable, unless the server's loop has done so."""
        self._is_over = True
        if self._private is not None:
            private, self._private = self._private, None
            private.close()
        elif not (self._offer.is_taken or self._offer.is_void):
            self._offer.is_void = True
            _close_unused(self._offer)

    def _next_by_private_loop(self) -> bytes:
        if self._is_over:
            raise StopIteration
        if self._private is None:
            _refuse_to_block()
            self._private = _PrivateLoop(self._offer)
        try:
            block = self._private.next()
        except BaseException:
            self.close()
            raise
        if block is None:
            self.close()
            raise StopIteration
        return block


class _PrivateLoop:
    """An event loop for one body, run from block to block."""

    def __init__(self, offer: AsyncBody) -> None:
        self._offer = offer
        self._runner = asyncio.Runner()
        self._waiting: asyncio.Task[Any] | None = None
        self._thread: ThreadPoolExecutor | None = None

    def next(self) -> bytes | None:
        """The next block; None at the end."""
        return self._run(self._next())

    def close(self) -> None:
        try:
            self._run(self._close())
        finally:
            if self._thread is None:
                self._runner.close()
            else:
                self._thread.submit(self._runner.close).result()
                self._thread.shutdown()

    async def _next(self) -> bytes | None:
        offer = self._offer
        if self._waiting is None:
            step: Coroutine[Any, Any, Any] = _step(offer.blocks)
            loop = asyncio.get_running_loop()
            self._waiting = loop.create_task(step, context=offer.context)
        done, _ = await asyncio.wait({self._waiting}, timeout=offer.idle_timeout)
        if not done:
            return offer.idle_block
        waiting, self._waiting = self._waiting, None
        block = waiting.result()
        return None if block is _END else encode(block)

    async def _close(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await waiting
        loop = asyncio.get_running_loop()
        await loop.create_task(close_iterator(self._offer.blocks), context=self._offer.context)

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if self._thread is None:
            try:
                asyncio.get_running_loop()
            except RuntimeError:
                return self._runner.run(coroutine)
            # A test client in a coroutine: this thread has a loop, and cannot run a second one.
            self._thread = ThreadPoolExecutor(1, "asyncwsgi-stream")
        return self._thread.submit(self._runner.run, coroutine).result()


def _refuse_to_block() -> None:
    request = current_request()
    if request is not None and request.tasks.is_loop_thread():
        raise RuntimeError(
            "the blocks of a stream were asked for on the server's loop, which would serve nobody "
            "until they have come; in async code, collect them with asyncio.to_thread()"
        )


async def _step(blocks: AsyncIterator[Block]) -> object:
    return await anext(blocks, _END)


def _close_unused(offer: AsyncBody) -> None:
    """Close an iterator that was never asked for a block; a generator then runs no code."""
    if inspect.isasyncgen(offer.blocks):
        with contextlib.suppress(StopIteration):
            offer.blocks.aclose().send(None)
    elif hasattr(offer.blocks, "aclose"):
        _PrivateLoop(offer).close()


async def close_iterator(blocks: AsyncIterator[Block]) -> None:
    """Close an async iterator that can be closed, as generators can."""
    aclose = getattr(blocks, "aclose", None)
    if aclose is not None:
        await aclose()


def encode(block: Block) -> bytes:
    """A block as bytes.

    Raises:
        ApplicationError: it is neither bytes nor str.
    """
    if isinstance(block, str):
        return block.encode()
    if isinstance(block, bytes):
        return block
    raise ApplicationError(
        f"the async iterable of a body yielded a {type(block).__name__}; expected bytes or str"
    )
