"""The Context in which each request runs."""

from __future__ import annotations

import contextvars
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pytest

from asyncwsgi import ConfigError, Server
from tests.apps import hello
from tests.client import connect
from tests.conftest import Serve

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

NAME: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="unset")


def remember(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Answers with a variable's value, and sets it for whoever shares its Context."""
    body = NAME.get().encode()
    NAME.set(f"left by {environ['PATH_INFO']}")
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def answers(serve: Serve, **options: Any) -> list[bytes]:
    """What two requests get that are served by the same thread."""
    server = serve(remember, validate=False, threads=1, **options)
    with connect(server.addresses[0]) as client:
        return [client.get(path).body for path in ("/one", "/two")]


def test_is_empty_and_new_for_each_request(serve: Serve) -> None:
    NAME.set("set by the program")
    assert answers(serve) == [b"unset", b"unset"]


def test_can_be_a_copy_of_the_programs_for_each_request(serve: Serve) -> None:
    token = NAME.set("set by the program")
    try:
        replies = answers(serve, context=contextvars.copy_context)
    finally:
        NAME.reset(token)
    assert replies == [b"set by the program"] * 2


def test_is_asked_for_once_when_the_server_is_made(serve: Serve) -> None:
    calls: list[str] = []

    def context() -> contextvars.Context:
        calls.append("context")
        return contextvars.Context()

    server = Server(remember, port=0, context=context)
    assert calls == ["context"]
    del server
    calls.clear()
    assert answers(serve, context=context) == [b"unset", b"unset"]
    assert calls == ["context"]


def test_what_is_no_context_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"context must return a contextvars\.Context, got dict"):
        Server(hello, context=dict)


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(ConfigError, match="context must be callable with no argument, got 5"):
        Server(hello, context=5)
