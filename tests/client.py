"""A raw HTTP client: what is sent is exactly what the test says."""

from __future__ import annotations

import io
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse
from types import TracebackType
from typing import Any, Self, cast

TIMEOUT = 30.0
"""Seconds after which a silent server fails a test; never waited for in a test that passes."""


@dataclass(frozen=True)
class Reply:
    """One response as it was received."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes
    version: str

    def header(self, name: str) -> str | None:
        """The only value of a header; None if it is absent."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(values) < 2, f"{name} is repeated: {values}"
        return values[0] if values else None


class Client:
    """One connection to a server."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(TIMEOUT)
        self.sock = sock
        self.file = sock.makefile("rb")

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def request(
        self, method: str = "GET", target: str = "/", body: bytes | None = None, **headers: str
    ) -> None:
        """Send an HTTP/1.1 request; header names are given with underscores for hyphens."""
        headers = {"Host": "test"} | {k.replace("_", "-"): v for k, v in headers.items()}
        if body is not None:
            headers.setdefault("Content-Length", str(len(body)))
        lines = [f"{method} {target} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
        self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b""))

    def reply(self, method: str = "GET") -> Reply:
        """Read one whole response; `method` is that of its request."""
        response = HTTPResponse(cast("Any", _Kept(self.file)), method=method)
        response.begin()
        body = response.read()
        version = "HTTP/1.1" if response.version == 11 else "HTTP/1.0"
        return Reply(response.status, response.reason, response.getheaders(), body, version)

    def get(self, target: str = "/", **headers: str) -> Reply:
        self.request("GET", target, None, **headers)
        return self.reply()

    def post(self, target: str = "/", body: bytes = b"", **headers: str) -> Reply:
        self.request("POST", target, body, **headers)
        return self.reply()

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes, or fewer at the end."""
        return self.file.read(size)

    def read_line(self) -> bytes:
        return self.file.readline()

    def read_all(self) -> bytes:
        """Everything until the server closes."""
        return self.file.read()

    def is_closed(self) -> bool:
        """Wait for the server to close; anything it still sends is an error."""
        assert self.file.read() == b""
        return True

    def half_close(self) -> None:
        """Say that nothing more will be sent."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Leave the rude way: with a reset instead of an end."""
        linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close()

    def close(self) -> None:
        self.file.close()
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _Kept:
    """Lets `HTTPResponse` read from the connection's one buffer and not close it."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file

    def makefile(self, _mode: str) -> _Kept:
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def close(self) -> None:
        pass

    def flush(self) -> None:
        pass


def connect(address: tuple[str, int] | str, tls: ssl.SSLContext | None = None) -> Client:
    """Connect to (host, port) or to the path of a Unix socket."""
    if isinstance(address, str):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(TIMEOUT)
        try:
            sock.connect(address)
        except OSError:
            sock.close()
            raise
    else:
        sock = socket.create_connection(address, TIMEOUT)
    if tls is not None:
        sock = tls.wrap_socket(sock, server_hostname="localhost")
    return Client(sock)


@contextmanager
def reserved_port() -> Iterator[int]:
    """A port of 127.0.0.1 that the system gives to nobody else; one's own server may take it.

    Whoever connects to it when nobody listens is refused.
    """
    with socket.socket() as sock:
        # As servers do: two sockets that both ask for it may share a port until one listens.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]
