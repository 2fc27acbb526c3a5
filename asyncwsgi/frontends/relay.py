"""Bytes between a client and the application's end of a socket pair, with back-pressure."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from asyncwsgi.frontends.transport import shut_down
from asyncwsgi.requests import forks


def _tell_nobody() -> None:
    """Stands in for who need not be told any more."""


def _take_no_notice(_: bytes) -> None:
    """Stands in for who wanted the first bytes only."""


class Relay(asyncio.Protocol):
    """The loop's end of the pair. All of it runs on the loop.

    Args:
        client: the client's transport.
        on_data: called with what the application sends first.
        on_end: called when the application sends no more; more than once, perhaps.
    """

    def __init__(
        self,
        client: asyncio.Transport,
        on_data: Callable[[bytes], None],
        on_end: Callable[[], None],
    ) -> None:
        self.has_ended = False
        """Whether the application sends no more."""
        self._client = client
        self._waiting = b""
        self._on_data = on_data
        self._on_end = on_end
        self._transport: asyncio.Transport | None = None
        self._is_client_slow = False
        self._has_client_ended = False
        self._has_client_gone = False
        self._opening: asyncio.Task[object] | None = None

    def open(self, end: socket.socket, first: bytes) -> None:
        """Begin to pass bytes to and from `end`; `first` had come before."""
        self._waiting = first
        loop = asyncio.get_running_loop()
        self._opening = loop.create_task(loop.connect_accepted_socket(lambda: self, end))
        self._opening.add_done_callback(lambda task: self._opened(task, end))

    def _opened(self, opening: asyncio.Task[object], end: socket.socket) -> None:
        self._opening = None
        # A loop that ends before that is done cancels it, and would leave the application waiting.
        if opening.cancelled() or opening.exception() is not None:
            end.close()
            self.has_ended = True
            self._on_end()

    # From the application.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._waiting)
        self._waiting = b""
        if self._has_client_gone:
            self._close(self._transport)
        elif self._has_client_ended:
            self._transport.write_eof()
        if self._is_client_slow:
            self._transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        self._on_data(data)
        self._on_data = _take_no_notice
        if not self._client.is_closing():
            self._client.write(data)

    def eof_received(self) -> bool:
        self.has_ended = True
        self._on_end()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.has_ended = True
        self._on_end()
        # Each of them knows this: no cycle outlives the connection.
        self._on_data, self._on_end = _take_no_notice, _tell_nobody
        self._transport = None

    def pause_writing(self) -> None:
        if not self._client.is_closing():
            self._client.pause_reading()

    def resume_writing(self) -> None:
        if not self._client.is_closing():
            self._client.resume_reading()

    # From the client.

    def receive(self, data: bytes) -> None:
        """The client has sent bytes."""
        if self.has_ended:
            return
        if self._transport is None:
            self._waiting += data
        elif not self._transport.is_closing():
            self._transport.write(data)

    def end(self) -> None:
        """The client sends no more."""
        self._has_client_ended = True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write_eof()

    def pause(self) -> None:
        """The client does not keep up."""
        self._is_client_slow = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        """The client keeps up again."""
        self._is_client_slow = False
        if self._transport is not None:
            self._transport.resume_reading()

    def close(self) -> None:
        """The client has gone."""
        self._has_client_gone = True
        if self._transport is not None:
            self._close(self._transport)

    def _close(self, transport: asyncio.Transport) -> None:
        transport.close()
        if forks.have_begun and not transport.get_write_buffer_size():
            # A child that a view has forked holds this end, too, and the other one would hear
            # nothing of its being closed.
            shut_down(transport.get_extra_info("socket"))
