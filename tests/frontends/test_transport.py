"""A client's transport: what it has not sent yet, and what it calls the client."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest

from asyncwsgi.config import Loop
from asyncwsgi.event_loops import loop_factory
from asyncwsgi.frontends.buffer_budget import BufferBudget
from asyncwsgi.frontends.proxy_protocol import UNTOLD
from asyncwsgi.frontends.socket_loan import LentOutput
from asyncwsgi.frontends.transport import ClientTransport, peer_name
from tests.frontends.fakes import FakeTransport
from tests.loops import LOOPS


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


@contextlib.asynccontextmanager
async def connected() -> AsyncIterator[tuple[ClientTransport, socket.socket]]:
    """A transport of the running loop that may hold 1,000 bytes, and the socket of its client."""
    ours, theirs = socket.socketpair()
    with theirs:
        running = asyncio.get_running_loop()
        made, _ = await running.connect_accepted_socket(asyncio.Protocol, ours)
        yield ClientTransport(made, 1000, BufferBudget()), theirs


@pytest.mark.parametrize("loop", LOOPS)
def test_the_bound_of_what_is_unsent_holds_again_when_the_socket_was_lent(loop: Loop) -> None:
    async def lend() -> None:
        async with connected() as (transport, _):
            made = transport.transport
            lent: list[LentOutput | None] = []
            transport.lend_output(lent.append)
            assert lent[0] is not None
            assert made.get_write_buffer_limits()[1] == 1000
            transport.abort()
            assert lent[0].send(b"x") == 0

    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        runner.run(lend())


@pytest.mark.parametrize("loop", LOOPS)
def test_the_socket_is_not_lent_ahead_of_what_is_unsent(loop: Loop) -> None:
    async def lend() -> None:
        async with connected() as (transport, theirs):
            while not transport.unsent_size:
                transport.write(b"x" * 65536)
            assert transport.lend_output_now() is None
            theirs.setblocking(False)
            while transport.unsent_size:
                with contextlib.suppress(BlockingIOError):
                    theirs.recv(65536)
                await asyncio.sleep(0)
            output = transport.lend_output_now()
            assert output is not None
            output.end()
            transport.abort()
            assert transport.lend_output_now() is None

    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        runner.run(lend())


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (("127.0.0.1", 47770), "127.0.0.1:47770"),
        (("::1", 47770, 0, 0), "[::1]:47770"),
        ("", "unix client"),
        (None, "unknown client"),
    ],
)
def test_log_lines_tell_the_address_of_a_client_from_its_port(address: Any, name: str) -> None:
    assert peer_name(address) == name


@pytest.mark.parametrize(
    ("sockname", "peername", "address"),
    [
        pytest.param(("127.0.0.1", 80), ("192.0.2.7", 1234), "192.0.2.7", id="TCP"),
        pytest.param(("::1", 80, 0, 0), ("2001:db8::7", 1, 0, 0), "2001:db8::7", id="IPv6"),
        pytest.param("/run/spam.sock", "", "unix", id="a Unix socket"),
        pytest.param(b"\0spam", b"", "unix", id="an abstract Unix socket"),
        pytest.param("/run/spam.sock", None, "unix", id="a Unix socket, left"),
        # Not a peer on a Unix socket, which may be trusted.
        pytest.param(("127.0.0.1", 80), None, "", id="TCP, left"),
        pytest.param(None, None, "", id="nothing known"),
    ],
)
def test_a_peer_that_has_left_is_nobody(sockname: Any, peername: Any, address: str) -> None:
    transport = FakeTransport()
    transport._extra = {"sockname": sockname, "peername": peername}  # type: ignore[attr-defined]
    assert ClientTransport(transport, 1, BufferBudget()).peer_address == address


@pytest.mark.parametrize("sockname", [("127.0.0.1", 80), "/run/spam.sock"])
def test_a_client_of_whom_its_proxy_tells_nothing_is_nobody(sockname: Any) -> None:
    transport = FakeTransport()
    transport._extra = {"sockname": sockname, "peername": ("127.0.0.1", 1)}  # type: ignore[attr-defined]
    client = ClientTransport(transport, 1, BufferBudget(), ends=UNTOLD)
    assert (client.peer_address, client.peer) == ("", "unknown client")
    assert client.environ_keys()["REMOTE_ADDR"] == ""


class TlsTransport(FakeTransport):
    """One that says nothing of what it holds."""

    def __init__(self, sock: socket.socket, tls: ssl.SSLObject) -> None:
        super().__init__()
        self._below = {"socket": sock, "ssl_object": tls}

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._below.get(name, default)
