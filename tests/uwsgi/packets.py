"""Packets of the uwsgi protocol, put together by hand."""

from __future__ import annotations

from collections.abc import Iterable

Pair = tuple[bytes, bytes]


def packet(pairs: Iterable[Pair], *, modifier1: int = 0, modifier2: int = 0) -> bytes:
    """A packet with these variables, in order."""
    block = b"".join(sized(text) for pair in pairs for text in pair)
    return bytes([modifier1]) + len(block).to_bytes(2, "little") + bytes([modifier2]) + block


def sized(text: bytes) -> bytes:
    return len(text).to_bytes(2, "little") + text


def request(method: str = "GET", target: str = "/", size: int | None = None, **more: str) -> bytes:
    """A packet with what nginx's uwsgi_params have; `more` of it, or in place of it."""
    path, _, query = target.partition("?")
    variables = {
        "QUERY_STRING": query,
        "REQUEST_METHOD": method,
        "CONTENT_TYPE": "",
        "CONTENT_LENGTH": "" if size is None else str(size),
        "REQUEST_URI": target,
        "PATH_INFO": path,
        "DOCUMENT_ROOT": "/usr/share/nginx/html",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REQUEST_SCHEME": "http",
        "REMOTE_ADDR": "192.0.2.7",
        "REMOTE_PORT": "5555",
        "SERVER_PORT": "80",
        "SERVER_NAME": "example.org",
        "HTTP_HOST": "example.org",
        **more,
    }
    return packet((k.encode("ascii"), v.encode("latin-1")) for k, v in variables.items())
