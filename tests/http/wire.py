"""The bytes of requests and responses, and the ways they are sent and read."""

from __future__ import annotations

import socket

from tests.client import Client

Headers = list[tuple[str, str]]

PLAIN = [("Content-Type", "text/plain")]
GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
SIZED = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


def get(target: str) -> bytes:
    """A request for `target`."""
    return GET.replace(b"/", target.encode("ascii"), 1)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def sized(size: int) -> Headers:
    """The headers of a response whose body has `size` bytes."""
    return [*PLAIN, ("Content-Length", str(size))]


def whole(client: Client, data: bytes) -> None:
    """Send in one piece."""
    client.send(data)


def bytewise(client: Client, data: bytes) -> None:
    """Send byte by byte, each as a segment of its own."""
    client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for index in range(len(data)):
        client.send(data[index : index + 1])


def read_head(client: Client) -> list[bytes]:
    """The status line and the header lines of a response; its body is still to be read."""
    lines = []
    while (line := client.read_line()) != b"\r\n":
        assert line.endswith(b"\r\n"), "the response ends in its head"
        lines.append(line.removesuffix(b"\r\n"))
    return lines
