"""A body that goes on elsewhere: the block that says so, and what is left of the call behind it.

Frameworks wrap what an application returns, so a server does not see whether a body could be
iterated without a thread. A block passes through their wrappers as it is: an empty one, which any
other reader takes for nothing.

The life of such a body. The application returns an iterable whose first block is an `AsyncBody`; by
yielding it, it offers the async iterator that has the others. Whoever iterates decides. The server
takes the offer (`is_taken`) as soon as it sees the block: it sends the head, and keeps what is left
of the application's call as a `SuspendedCall`, in whose thread another request may run meanwhile.
Anybody else - another server, a middleware that changes blocks and so must see all of them - just
asks for the next block; the offer is then void (`is_void`), and the iterable yields the blocks of
the same iterator itself, one by one, in the thread that asks. Behind a taken offer the server goes
on with the very same application iterator: it ends there, or raises what the async iterator has
raised, so that the wrappers in between see the errors and the end of a body whose blocks they never
saw. `close()` is called last, as of any iterable.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextvars import Context
from typing import Self

from asyncwsgi.errors import ClientDisconnected
from asyncwsgi.wsgi.file_wrapper import FilePart


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


class SuspendedCall:
    """What is left of a call whose body is sent elsewhere.

    Args:
        body: what is sent: an async iterator's blocks, or a part of a file.
        proceed: takes the rest of the application's iterator and sends it; ends the response.
        blocks: the application's iterable, still to be closed.
        iterator: the iterator over it.
    """

    __slots__ = ("_blocks", "_iterator", "_proceed", "body")

    def __init__(
        self,
        body: AsyncBody | FilePart,
        proceed: Callable[[Iterable[bytes], Iterator[bytes]], SuspendedCall | None],
        blocks: Iterable[bytes],
        iterator: Iterator[bytes],
    ) -> None:
        self.body = body
        self._proceed = proceed
        self._blocks = blocks
        self._iterator = iterator

    def tell_error(self, error: BaseException | None) -> None:
        """Say what the async iterator has raised, before `resume`."""
        if isinstance(self.body, AsyncBody):
            self.body.error = error

    def resume(self, *, is_cut: bool = False) -> SuspendedCall | None:
        """Go on behind what was sent elsewhere, and close the iterable.

        What an async iterator has raised is raised by the application's iterable, through its
        wrappers. If it was cut, the iteration ends instead: nobody is left to send to.
        """
        suspended = self._proceed(self._blocks, _cut() if is_cut else self._iterator)
        if suspended is None and isinstance(self.body, AsyncBody):
            self.body.raise_error()  # that a wrapper has not asked for
        return suspended


def _cut() -> Iterator[bytes]:
    raise ClientDisconnected("the client left")
    yield
