"""What a client has not been sent yet, as far as anybody tells."""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import Any

from asyncwsgi.frontends.buffer_budget import BufferBudget
from asyncwsgi.frontends.transport import ClientTransport
from tests.frontends.fakes import FakeTransport


def test_what_the_loop_holds_below_tls_is_told_by_the_kernel_that_takes_no_more() -> None:
    served, client = socket.socketpair()
    with served, client:
        served.setblocking(False)
        tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO())
        transport = ClientTransport(TlsTransport(served, tls), 1, BufferBudget())
        assert not transport.has_unsent
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                sent += served.send(b"x" * 65536)
        assert (transport.unsent_size, transport.has_unsent) == (0, True)
        while sent:
            sent -= len(client.recv(65536))
        assert not transport.has_unsent


class TlsTransport(FakeTransport):
    """One that says nothing of what it holds."""

    def __init__(self, sock: socket.socket, tls: ssl.SSLObject) -> None:
        super().__init__()
        self._below = {"socket": sock, "ssl_object": tls}

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._below.get(name, default)
