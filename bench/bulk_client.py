"""The load of large bodies: `bulk_client.py CONNECTIONS SECONDS HOST PORT SIZE REQUEST_FILE`.

Sends the request over and over on each connection, reads up to a MiB at a time, and follows the
framing of every response to its end, without keeping it. An answer whose status is not 200, or
whose body has not `SIZE` bytes, ends the run with a message. Prints what wrk's script prints
(`lua/load.lua`).
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

BUFFER_SIZE = 1024 * 1024
LONGEST_LINE = 1024
PERCENTILES = (25, 50, 75, 90, 95, 99, 99.9)


class AnswerError(Exception):
    """A response is not the one that was expected."""


class Response:
    """A response as it comes: its framing is read, its body counted."""

    def __init__(self) -> None:
        self.body_size = 0
        self.is_complete = False
        self.is_last = False
        """The server says that it closes the connection."""
        self._parts = self._framing()
        self._due = next(self._parts)
        self._line = b""
        """What has come of the line that is due."""

    def _framing(self) -> Generator[int, bytes, None]:
        """Yields the size of the part of the body that is due; 0 for a line, which it is sent."""
        status = yield 0
        if status.split()[1:2] != [b"200"]:
            raise AnswerError(f"expected status 200, got {status!r}")
        headers = {}
        while line := (yield 0):
            name, _, value = line.lower().partition(b":")
            headers[name] = value.strip()
        self.is_last = headers.get(b"connection") == b"close"
        if b"content-length" in headers:
            yield int(headers[b"content-length"])
            return
        while size := int((yield 0).partition(b";")[0], 16):
            yield size
            yield 0
        while (yield 0):
            """What follows the last chunk ends with an empty line."""

    def receive(self, data: memoryview) -> None:
        while data:
            if self.is_complete:
                raise AnswerError("more came than one response")
            data = self._receive_body(data) if self._due else self._receive_line(data)

    def _receive_body(self, data: memoryview) -> memoryview:
        size = min(len(data), self._due)
        self._due -= size
        self.body_size += size
        if not self._due:
            self._advance(b"")
        return data[size:]

    def _receive_line(self, data: memoryview) -> memoryview:
        text, newline, _ = bytes(data[:LONGEST_LINE]).partition(b"\n")
        self._line += text
        if newline:
            line, self._line = self._line.strip(), b""
            self._advance(line)
        return data[len(text) + len(newline) :]

    def _advance(self, line: bytes) -> None:
        try:
            self._due = self._parts.send(line)
        except StopIteration:
            self.is_complete = True


class Connection:
    """One connection, with one request under way."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._connect()

    def _connect(self) -> None:
        self.socket = socket.create_connection(self._load.address)
        self.socket.setblocking(False)
        self._load.selector.register(self.socket, selectors.EVENT_WRITE, self)
        self._begin()

    def _begin(self) -> None:
        self._unsent = memoryview(self._load.request)
        self._response = Response()
        self._began = time.perf_counter()
        self._watch()

    def _watch(self) -> None:
        # A server may answer before it has read a request, so reading goes on while it is sent.
        writing = selectors.EVENT_WRITE if self._unsent else 0
        self._load.selector.modify(self.socket, selectors.EVENT_READ | writing, self)

    def handle(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._unsent = self._unsent[self.socket.send(self._unsent) :]
            if not self._unsent:
                self._watch()
        if events & selectors.EVENT_READ:
            self._receive()

    def _receive(self) -> None:
        size = self.socket.recv_into(self._load.buffer)
        if not size:
            raise AnswerError(f"the connection was closed after {self._response.body_size} bytes")
        self._response.receive(self._load.buffer[:size])
        if self._response.is_complete:
            self._end()

    def _end(self) -> None:
        if self._response.body_size != self._load.size:
            raise AnswerError(f"expected {self._load.size} bytes, got {self._response.body_size}")
        self._load.latencies.append(time.perf_counter() - self._began)
        if self._response.is_last:
            self._load.selector.unregister(self.socket)
            self.socket.close()
            self._connect()
        else:
            self._begin()

    @property
    def progress(self) -> float:
        """How much of its request and response is done: 0 to 1."""
        sent = len(self._load.request) - len(self._unsent)
        whole = len(self._load.request) + self._load.size
        return (sent + self._response.body_size) / whole


class Load:
    """All connections, and what they share."""

    def __init__(self, address: tuple[str, int], request: bytes, size: int) -> None:
        self.address = address
        self.request = request
        self.size = size
        self.selector = selectors.DefaultSelector()
        self.buffer = memoryview(bytearray(BUFFER_SIZE))
        self.latencies: list[float] = []

    def run(self, connections: int, seconds: float) -> dict[str, object]:
        """Make the load, and sum it up."""
        began = time.perf_counter()
        end = began + seconds
        running = [Connection(self) for _ in range(connections)]
        while (rest := end - time.perf_counter()) > 0:
            for key, events in self.selector.select(rest):
                key.data.handle(events)
        # Few are complete within the time, so that parts must count; but not parts alone.
        parts = sum(connection.progress for connection in running) if self.latencies else 0
        done = len(self.latencies) + parts
        return {
            "requests": done,
            "microseconds": (time.perf_counter() - began) * 1e6,
            "latency": self._percentiles(),
            "errors": {"status": 0},
        }

    def _percentiles(self) -> dict[str, float]:
        """In microseconds; of nothing, none."""
        values = sorted(self.latencies)
        return {
            f"{percent:g}": values[min(int(len(values) * percent / 100), len(values) - 1)] * 1e6
            for percent in PERCENTILES
            if values
        }


def main() -> None:
    connections, seconds, host, port, size, request_file = sys.argv[1:]
    load = Load((host, int(port)), Path(request_file).read_bytes(), int(size))
    try:
        print(json.dumps(load.run(int(connections), float(seconds))))
    except (AnswerError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
