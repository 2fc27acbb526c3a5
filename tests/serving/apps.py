"""Applications for the tests of the drop-in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

PLAIN = [("Content-Type", "text/plain")]


def hello(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Reads nothing of the request."""
    start_response("200 OK", list(PLAIN))
    return [b"hello"]


def echo(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response("200 OK", list(PLAIN))
    return [body]


def show(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """The environ as JSON."""
    start_response("200 OK", list(PLAIN))
    shown = {
        key: value if isinstance(value, str) else repr(value) for key, value in environ.items()
    }
    return [json.dumps(shown).encode()]


def calling(function: Callable[[], Any]) -> WSGIApplication:
    """Answers with what a function says."""

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        answer = str(function())
        start_response("200 OK", list(PLAIN))
        return [answer.encode()]

    return application


def raising(error: BaseException) -> WSGIApplication:
    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        raise error

    return application
