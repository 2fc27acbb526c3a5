"""The header Server can be left off."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import pytest

from asyncwsgi.testing import LiveServer
from tests.apps import hello
from tests.client import Client
from tests.conftest import Serve

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

ClientOf = Callable[[LiveServer], Client]


def signs_itself(_environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Server", "spam"), ("Content-Type", "text/plain")])
    return [b"eggs"]


def fails(_environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    raise LookupError("on purpose")


@pytest.mark.parametrize(
    ("application", "sent", "status"),
    [
        pytest.param(hello, b"GET / HTTP/1.1\r\nHost: test\r\n\r\n", 200, id="a response"),
        pytest.param(fails, b"GET / HTTP/1.1\r\nHost: test\r\n\r\n", 500, id="an error"),
        pytest.param(hello, b"no HTTP\r\n\r\n", 400, id="a refusal"),
    ],
)
@pytest.mark.parametrize(("is_on", "name"), [(True, "asyncwsgi"), (False, None)])
def test_it_is_there_unless_it_is_switched_off(
    serve: Serve,
    client_of: ClientOf,
    application: Any,
    sent: bytes,
    status: int,
    is_on: bool,
    name: str | None,
) -> None:
    client = client_of(serve(application, server_header=is_on))
    client.send(sent)
    reply = client.reply()
    assert (reply.status, reply.header("Server")) == (status, name)
    assert reply.header("Date") is not None


def test_that_of_the_application_stays(serve: Serve, client_of: ClientOf) -> None:
    client = client_of(serve(signs_itself, server_header=False))
    assert client.get().header("Server") == "spam"
