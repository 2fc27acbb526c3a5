"""A response body that the kernel sends out of a file, without a thread meanwhile.

As with a body that the loop iterates (see `asyncwsgi.coroutines.body_iteration`), the call stands
still meanwhile, and goes on in a worker thread when the connection says that it is through with the
file, for whatever reason. All of it runs on the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from asyncwsgi.errors import ClientDisconnected
from asyncwsgi.wsgi.file_wrapper import FilePart


class Output(Protocol):
    """The client's socket in the hands of the thread that sends the response."""

    def send(self, data: bytes | memoryview) -> int:
        """Send as much as the client takes without a longer wait; the bytes that were sent."""

    def end(self) -> None:
        """Let nobody use it any more."""


class FileTransport(Protocol):
    """What sends bytes that the connection need not see."""

    def lend_output(self, on_lent: Callable[[Output | None], None]) -> None:
        """Lend the socket, when all is sent that was written; None: it cannot be lent."""

    def lend_output_now(self) -> Output | None:
        """Lend the socket if all is sent that was written; None: it is not, or cannot be lent."""

    def send_file(self, part: FilePart, on_end: Callable[[], None]) -> None:
        """Send `part` behind what was written; nothing else is written meanwhile.

        Args:
            on_end: called once, when it is sent, when no more of it can be sent this way, or when
                the client has gone.
        """


class FileExchange(Protocol):
    """The exchange whose body it is."""

    is_connection_lost: bool

    def file_was_sent(self, size: int) -> None:
        """Hear how many bytes were sent."""

    def iteration_ended(self, error: BaseException | None) -> None:
        """Go on with the application's call; `ClientDisconnected` if the client has gone."""


class FileTransfer:
    """Has one file sent.

    Args:
        exchange: whose body it is.
        transport: sends it.
        part: what is to be sent, and is closed then.
    """

    __slots__ = ("_exchange", "_part", "_transport")

    coroutine = None
    """What runs on the loop, to be looked at: nothing does."""

    def __init__(self, exchange: FileExchange, transport: FileTransport, part: FilePart) -> None:
        self._exchange = exchange
        self._transport = transport
        self._part = part

    def begin(self) -> None:
        """Take over from the worker thread."""
        if self._exchange.is_connection_lost:
            self._end()
        else:
            self._transport.send_file(self._part, self._end)

    def is_on_this_thread(self) -> bool:
        """Whether blocks come from the loop: none come at all."""
        return False

    def cut(self) -> None:
        """The client has gone. Its connection knows that, and ends what it sends."""

    def tick(self, now: float) -> None:
        """A file has no pauses to fill."""

    def _end(self) -> None:
        exchange, part = self._exchange, self._part
        part.close()
        exchange.file_was_sent(part.sent_size)
        is_cut = exchange.is_connection_lost and part.sent_size < part.size
        exchange.iteration_ended(ClientDisconnected("the client left") if is_cut else None)
