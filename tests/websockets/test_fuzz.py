"""Whatever a client sends: no handler gets a message that wsproto refuses, and nothing hangs."""

from __future__ import annotations

import socket
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from asyncwsgi import WebSocket, WebSocketConnection
from tests.client import connect
from tests.conftest import Serve
from tests.frontends.test_websocket_frames import FRAMES, reference
from tests.http.helpers import until
from tests.websockets.clients import frame, raw_websocket


def test_whatever_a_client_sends_and_however_it_leaves(serve: Serve) -> None:
    got: list[Any] = []
    ended: list[Any] = []

    async def handler(ws: WebSocketConnection) -> None:
        got.extend([message async for message in ws])
        ended.append(ws.close_code)

    server = serve(WebSocket(handler, queue_size=200), validate=False)

    @settings(
        deadline=None,
        derandomize=True,
        max_examples=60,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    @given(
        data=st.one_of(st.lists(FRAMES, max_size=8).map(b"".join), st.binary(max_size=200)),
        cut=st.integers(0, 3),
        leaves=st.sampled_from(["close", "reset", "half_close"]),
    )
    def fuzz(data: bytes, cut: int, leaves: str) -> None:
        got.clear()
        ended.clear()
        sent = data[: len(data) - cut] if cut else data
        with raw_websocket(server) as client:
            client.client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.send(sent)
            # The server says something, or closes, once it has read all of it.
            client.send(frame(9, b"last"))
            received = b""
            while b"\x8a\x04last" not in received:
                more = client.client.sock.recv(65536)
                received += more
                if not more:
                    break
            getattr(client.client, leaves)()
            until(server, lambda: bool(ended))
        expected = reference(sent + frame(9, b"last"))
        code = expected.pop() if expected and isinstance(expected[-1], int) else 1006
        assert got == expected
        assert ended == [code]
        until(server, lambda: not server.server.snapshot().connections)

    fuzz()
    with connect(server.addresses[0]) as client:
        assert client.get().status == 426, "the server goes on"
