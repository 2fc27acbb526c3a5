"""What is left of a call whose body is sent elsewhere: by the loop, or by the kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from asyncwsgi.errors import ClientDisconnected
from asyncwsgi.wsgi.async_body import AsyncBody
from asyncwsgi.wsgi.file_wrapper import FilePart


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
