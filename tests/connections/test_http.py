"""HTTP/1.1 connections over real sockets: keep-alive, pipelining, framing, ends."""

from __future__ import annotations

from collections.abc import Callable

from asyncwsgi import ServerThread
from tests.apps import echo, hello
from tests.client import Client
from tests.conftest import Serve

ClientOf = Callable[[ServerThread], Client]


def test_a_connection_is_kept_for_the_next_request(serve: Serve, client_of: ClientOf) -> None:
    client = client_of(serve(hello))
    replies = [client.get("/first"), client.get("/second")]
    assert [(reply.status, reply.body) for reply in replies] == [(200, b"Hello, world!")] * 2


def test_a_body_is_echoed(serve: Serve, client_of: ClientOf) -> None:
    assert client_of(serve(echo)).post(body=b"spam").body == b"spam"
