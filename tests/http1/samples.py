"""Requests as bytes, and as what they mean."""

from __future__ import annotations

from asyncwsgi.http1.parser import HeadLimits
from tests.http1.feeding import Request

# Small enough for a table to pass each of them, large enough for its other rows.
LIMITS = HeadLimits(max_head_size=512, max_headers=10, max_target_size=128)

HOST = (b"Host", b"test")
VISIBLE = bytes(range(0x21, 0x7F)).decode("ascii")
OBS_TEXT = bytes(range(0x80, 0x100))

CHUNKED_HEAD = b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKED = (HOST, (b"Transfer-Encoding", b"chunked"))


def get(lines: bytes = b"", line: bytes = b"GET / HTTP/1.1") -> bytes:
    """A request head with a Host, and `lines` behind it."""
    return line + b"\r\nHost: test\r\n" + lines + b"\r\n"


def sized(size: bytes, body: bytes = b"spam\n") -> bytes:
    """A request with a Content-Length."""
    return get(b"Content-Length: " + size + b"\r\n", b"POST / HTTP/1.1") + body


def coded(value: bytes) -> bytes:
    """A request with a Transfer-Encoding."""
    return get(b"Transfer-Encoding: " + value + b"\r\n", b"POST / HTTP/1.1")


def head_of_size(size: int) -> bytes:
    """A request head of `size` bytes."""
    padding = size - len(get(b"A: \r\n"))
    return get(b"A: " + b"1" * padding + b"\r\n")


def with_target(target: str, method: str = "GET") -> bytes:
    return get(line=f"{method} {target} HTTP/1.1".encode("ascii"))


def with_connection(*values: bytes) -> bytes:
    return get(b"".join(b"Connection: " + value + b"\r\n" for value in values))


def one_header(name: bytes, value: bytes) -> Request:
    return Request("GET", "/", (HOST, (name, value)))


def posted(body: bytes, size: bytes) -> Request:
    return Request("POST", "/", (HOST, (b"Content-Length", size)), body=body)


def connections(keep_alive: bool, *values: bytes) -> Request:
    headers = (HOST, *((b"Connection", value) for value in values))
    return Request("GET", "/", headers, keep_alive=keep_alive)


def chunked(body: bytes) -> Request:
    return Request("POST", "/", CHUNKED, body=body)
