"""A body that goes on elsewhere: the block that says so.

Frameworks wrap what an application returns, so a server does not see whether a body could be
iterated without a thread. A block passes through their wrappers as it is: an empty one, which any
other reader takes for nothing.

The life of such a body. The application returns an iterable whose first block is an `AsyncBody`; by
yielding it, it offers the async iterator that has the others. Whoever iterates decides. The server
takes the offer (`is_taken`) as soon as it sees the block: it sends the head, and keeps what is left
of the application's call (see `asyncwsgi.wsgi.suspended_call`), in whose thread another request may
run meanwhile.
Anybody else - another server, a middleware that changes blocks and so must see all of them - just
asks for the next block; the offer is then void (`is_void`), and the iterable yields the blocks of
the same iterator itself, one by one, in the thread that asks. Behind a taken offer the server goes
on with the very same application iterator: it ends there, or raises what the async iterator has
raised, so that the wrappers in between see the errors and the end of a body whose blocks they never
saw. `close()` is called last, as of any iterable.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextvars import Context
from typing import Self


class AsyncBody(bytes):
    """The empty first block of a body whose other blocks come out of an async iterator.

    Whoever asks for the second block instead of taking the iterator gets the body the ordinary
    way, and the offer is void: so a wrapper that changes blocks gets all of them to see.
    """

    blocks: AsyncIterator[bytes | str]
    context: Context
    """Where the iterator's code runs."""
    idle_block: bytes
    """Sent when nothing else was for `idle_timeout` seconds."""
    idle_timeout: float | None
    is_void: bool
    is_taken: bool
    error: BaseException | None
    """What the iterator has raised, for whoever asks for the next block."""

    def __new__(
        cls,
        blocks: AsyncIterator[bytes | str],
        context: Context,
        *,
        idle_block: bytes = b"",
        idle_timeout: float | None = None,
    ) -> Self:
        offer = super().__new__(cls)
        offer.blocks = blocks
        offer.context = context
        offer.idle_block = idle_block
        offer.idle_timeout = idle_timeout
        offer.is_void = offer.is_taken = False
        offer.error = None
        return offer

    def raise_error(self) -> None:
        """Raise what the iterator has raised; once."""
        error, self.error = self.error, None
        try:
            if error is not None:
                raise error
        finally:
            del error  # it knows this frame: no cycle

    def __bytes__(self) -> bytes:
        # Django makes bytes of every block.
        return self
