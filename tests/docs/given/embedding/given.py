"""Names of docs/embedding.md's fragments."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import asyncwsgi
from asyncwsgi import from_thread
from asyncwsgi.testing import LiveServer

__all__ = [
    "ThreadPoolExecutor",
    "app",
    "argument",
    "asyncwsgi",
    "coroutine_function",
    "from_thread",
    "something_else",
]

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

argument = b"spam"


def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [])
    return [b"Hello!"]


async def something_else() -> None:
    pass


async def coroutine_function(argument: bytes) -> bytes:
    return argument


def check_view(view: Callable[[], bytes]) -> None:
    def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [view()]

    with LiveServer(application) as server, urlopen(server.url) as response:
        assert response.read() == argument


def check_QuietServer(server_class: type[asyncwsgi.Server]) -> None:  # noqa: N802
    with (
        asyncwsgi.ServerThread(server_class(app, port=0)) as server,
        urlopen(server.url) as response,
    ):
        assert response.read() == b"Hello!"
