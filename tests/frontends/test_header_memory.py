"""What connections remember of the headers they have had, and which of them."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import Any

import pytest

from tests.frontends.fakes import Stage

HEAD = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: keep-alive\r\n"


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(b"Cookie: " + b"a" * 60_000 + b"\r\n", id="one long line"),
        pytest.param(b"".join(b"X-%d: %0600d\r\n" % (i, i) for i in range(100)), id="many lines"),
    ],
)
def test_nothing_is_left_of_a_large_head(lines: bytes) -> None:
    # Connections stay for as long as their clients like, and one such head costs a client nothing.
    large = HEAD + lines + b"\r\n"

    async def serve() -> int:
        stage = Stage()
        stage.connect()
        for data in (HEAD + b"\r\n", large):  # what all connections share is there afterwards
            stage.send(data)
            stage.answer()
        stage.send(HEAD + b"\r\n")
        stage.answer()
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        stage.send(large)
        stage.answer()
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return after - before

    assert asyncio.run(serve()) < 4096


def test_the_connections_of_a_server_know_the_same_lines_and_no_secrets() -> None:
    async def serve() -> list[dict[str, Any]]:
        stage = Stage()
        stage.connect()
        other = stage.connect_another()
        environs = []
        for connection in (stage.connection, other):
            connection.data_received(HEAD + b"Cookie: a=b\r\n\r\n")
            assert connection.exchange is not None
            environs.append(connection.exchange.environ)
        return environs

    first, second = asyncio.run(serve())
    # What is known is not made again.
    assert first["HTTP_CONNECTION"] is second["HTTP_CONNECTION"]
    assert first["HTTP_COOKIE"] == second["HTTP_COOKIE"]
    assert first["HTTP_COOKIE"] is not second["HTTP_COOKIE"]
