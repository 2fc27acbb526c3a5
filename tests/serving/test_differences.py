"""What holds where Werkzeug's or Flask's tests do not: see `tests.conformance.differences`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from wsgiref.types import StartResponse, WSGIEnvironment

    from tests.client import Client
    from tests.serving.conftest import Running, Start


def tell_headers(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """Answer with the request's headers as the application sees them, and its body."""
    told: dict[str, Any] = {k: v for k, v in environ.items() if k.startswith("HTTP_")}
    told["CONTENT_LENGTH"] = environ.get("CONTENT_LENGTH")
    told["body"] = environ["wsgi.input"].read(100).decode("latin-1")
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(told).encode()]


@pytest.fixture(params=[False, True], ids=["not threaded", "threaded"])
def client(request: pytest.FixtureRequest, start: Start) -> Iterator[Client]:
    """A connection to a server that runs `tell_headers`."""
    with start(tell_headers, threaded=request.param).connect() as client:
        yield client


def test_values_of_a_repeated_header_are_joined_without_outer_whitespace(client: Client) -> None:
    # RFC 9112 5: whitespace around a field value is no part of it. RFC 3875 4.1.18: one variable.
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nXYZ: a \r\nXYZ:  \tb\r\nXYZ:c \t\r\nXYZ: d\r\n\r\n")
    assert json.loads(client.reply().body)["HTTP_XYZ"] == "a,b,c,d"


def test_a_folded_header_is_unfolded_with_spaces(client: Client) -> None:
    # RFC 9112 5.2: one or more spaces in the place of each obs-fold.
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nXYZ: first\r\n\tsecond\r\n third\r\n\r\n")
    assert json.loads(client.reply().body)["HTTP_XYZ"] == "first second third"


@pytest.mark.parametrize("length", [b"invalid", b"-1", b"+5", b"5, 6", b"5\r\nContent-Length: 6"])
def test_an_invalid_content_length_beside_chunked_is_refused(client: Client, length: bytes) -> None:
    # RFC 9112 6.3: an invalid length is unrecoverable; what follows may be another's request.
    client.send(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Length: " + length + b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    )
    reply = client.reply()
    assert (reply.status, reply.header("Connection")) == (400, "close")
    assert client.is_closed()


def test_a_valid_content_length_beside_chunked_is_not_passed_on(client: Client) -> None:
    # RFC 9112 6.1: chunked overrides it, and the connection is not used again.
    client.send(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"
        b"5\r\nhello\r\n0\r\n\r\n"
    )
    reply = client.reply()
    assert json.loads(reply.body)["body"] == "hello"
    assert reply.header("Connection") == "close"
    assert client.is_closed()


def test_a_chunked_body_has_a_length_and_no_transfer_encoding(client: Client) -> None:
    # It is decoded before the call; programs that look for the header would decode it again.
    client.send(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    )
    environ = json.loads(client.reply().body)
    assert environ["CONTENT_LENGTH"] == "5"
    assert "HTTP_TRANSFER_ENCODING" not in environ


def test_a_request_target_may_take_all_of_a_head(client: Client) -> None:
    # Werkzeug's bound is 64 KiB for the line; here it is 64 KiB for the head as a whole.
    assert client.get("/" + "a" * 60_000).status == 200
    assert client.get("/" + "a" * 70_000).status == 414


def flask_app(torn_down: list[BaseException | None]) -> Flask:
    app = Flask(__name__)
    app.teardown_appcontext(torn_down.append)

    @app.get("/")
    def index() -> str:
        raise LookupError("on purpose")

    return app


def test_teardown_hears_once_of_an_unhandled_exception(
    start: Start, client_of: Callable[[Running], Client]
) -> None:
    torn_down: list[BaseException | None] = []
    running = start(flask_app(torn_down))
    assert client_of(running).get().status == 500
    running.close()
    assert [type(error) for error in torn_down] == [LookupError]


def test_teardown_hears_of_no_exception_that_was_handled(
    start: Start, client_of: Callable[[Running], Client]
) -> None:
    torn_down: list[BaseException | None] = []
    app = flask_app(torn_down)
    app.register_error_handler(LookupError, lambda error: "handled")
    running = start(app)
    assert client_of(running).get().body == b"handled"
    running.close()
    assert torn_down == [None]
