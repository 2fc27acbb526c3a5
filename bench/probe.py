"""One request on a connection of its own, and its answer to the last byte."""

from __future__ import annotations

import http.client
import io
import socket
import ssl
from dataclasses import dataclass
from typing import Any

TIMEOUT = 30


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int
    tls: bool

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}/"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    size: int
    """Bytes on the wire, head and framing included."""


def ask(address: Address, request: bytes) -> Answer:
    """Send `request` as it is.

    Raises:
        OSError: the server cannot be reached or leaves.
        http.client.HTTPException: what it sends is no response, or a part of one.
    """
    with _connect(address) as client:
        client.sendall(request)
        counted = _Counted(client)
        response = http.client.HTTPResponse(counted)  # type: ignore[arg-type]
        response.begin()
        body = response.read()
        return Answer(response.status, body, counted.size)


def _connect(address: Address) -> socket.socket:
    client = socket.create_connection((address.host, address.port), TIMEOUT)
    if not address.tls:
        return client
    # Who the server is does not matter here: the certificate is its own authority.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(client)


class _Counted(io.RawIOBase):
    """What `http.client` reads a response from; knows how much has come."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client
        self.size = 0

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        received = self._client.recv_into(buffer)
        self.size += received
        return received
