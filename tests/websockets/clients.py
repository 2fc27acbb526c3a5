"""Clients of WebSockets: one that keeps to the rules, and one that sends what the test says."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as websockets_connect
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, Event, TextMessage

from asyncwsgi import ServerThread
from tests.client import TIMEOUT, Client, Reply, connect

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 0x1, 0x2, 0x0, 0x8, 0x9, 0xA
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
"""The one of RFC 6455 1.3."""
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
UPGRADE = {
    "Connection": "keep-alive, Upgrade",
    "Upgrade": "websocket",
    "Sec_WebSocket_Version": "13",
    "Sec_WebSocket_Key": KEY,
}
_LINES = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in UPGRADE.items())
HEAD = f"GET / HTTP/1.1\r\nHost: test\r\n{_LINES}\r\n".encode()


@contextmanager
def open_websocket(
    server: ServerThread, path: str = "/", **options: Any
) -> Iterator[ClientConnection]:
    """A client by the library websockets; it waits for nothing longer than the tests do."""
    url = server.url.replace("http", "ws", 1) + path
    options = {"open_timeout": TIMEOUT, "close_timeout": TIMEOUT, "proxy": None, **options}
    with websockets_connect(url, **options) as websocket:
        yield websocket


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
    """A frame of a client (RFC 6455 5.2)."""
    first = (fin << 7) | (rsv << 4) | opcode
    if len(payload) < 126:
        head = struct.pack("!BB", first, 0x80 | len(payload))
    elif len(payload) < 2**16:
        head = struct.pack("!BBH", first, 0x80 | 126, len(payload))
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, len(payload))
    mask = os.urandom(4)
    key = int.from_bytes(mask * (len(payload) // 4 + 1))
    whole = int.from_bytes(payload.ljust(len(mask) * (len(payload) // 4 + 1), b"\0"))
    masked = (whole ^ key).to_bytes(len(mask) * (len(payload) // 4 + 1))
    return head + mask + masked[: len(payload)]


def close_frame(code: int, reason: str = "") -> bytes:
    return frame(CLOSE, struct.pack("!H", code) + reason.encode())


class RawWebSocket:
    """A client that has opened a WebSocket, and sends what the test says."""

    def __init__(self, client: Client, target: str = "/", **headers: str) -> None:
        self.client = client
        self._frames = Connection(ConnectionType.CLIENT)
        self._events: list[Event] = []
        client.request("GET", target, None, **{**UPGRADE, **headers})
        self.reply = read_head(client)
        assert self.reply.status == 101, self.reply

    def send(self, data: bytes) -> None:
        self.client.send(data)

    def exchange(self) -> None:
        """Send a message to a handler that sends it back, and wait for that."""
        self.send(frame(TEXT, b"spam"))
        assert self.receive() == TextMessage("spam")

    def receive(self) -> Event:
        """The next thing that the server says."""
        while not self._events:
            data = self.client.file.read1(65536)
            assert data, "the server has closed without a Close frame"
            self._frames.receive_data(data)
            self._events = list(self._frames.events())
        return self._events.pop(0)

    def receive_close(self, *, answers: bool = False) -> tuple[int, str]:
        """Skip to the Close frame of the server, and to the end of the connection behind it.

        A server that did not fail the connection waits for an answer, or for its timeout.
        """
        while not isinstance(event := self.receive(), CloseConnection):
            pass
        if answers:
            self.send(close_frame(event.code))
        assert self.client.read_all() == b""
        return event.code, event.reason or ""


def read_head(client: Client) -> Reply:
    """The head of a response, and not what follows it."""
    _, status, *reason = client.read_line().decode().split(maxsplit=2)
    headers = []
    while (line := client.read_line()) not in (b"\r\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        headers.append((name, value.strip()))
    return Reply(int(status), " ".join(reason).strip(), headers, b"", "HTTP/1.1")


@contextmanager
def raw_websocket(
    server: ServerThread, target: str = "/", **headers: str
) -> Iterator[RawWebSocket]:
    with connect(server.addresses[0]) as client:
        yield RawWebSocket(client, target, **headers)
