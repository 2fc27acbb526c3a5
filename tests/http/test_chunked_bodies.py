"""Chunked request bodies, as programs see them that know a body by its CONTENT_LENGTH."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import bottle
import falcon
import pytest
from django.core.handlers.wsgi import WSGIRequest  # type: ignore[import-untyped]
from flask import Flask, request

from tests.client import Client
from tests.conftest import Serve
from tests.django_settings import set_up_django
from tests.http.helpers import ClientOf, Environ, Gate
from tests.http.wire import CHUNKED, LAST_CHUNK, PLAIN, chunk

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication

BODY = bytes(range(256)) * 400


def of_django() -> WSGIApplication:
    set_up_django()

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        body = WSGIRequest(environ).body
        start_response("200 OK", PLAIN)
        return [body]

    return application


def of_flask() -> WSGIApplication:
    app = Flask(__name__)
    app.add_url_rule("/", "echo", lambda: request.get_data(), methods=["POST"])
    return app


def of_falcon() -> WSGIApplication:
    class Echo:
        def on_post(self, req: Any, resp: Any) -> None:
            resp.data = req.bounded_stream.read()

    app: Any = falcon.App()
    app.add_route("/", Echo())
    application: WSGIApplication = app
    return application


def of_bottle() -> WSGIApplication:
    app: Any = bottle.Bottle()
    app.route("/", "POST", lambda: bottle.request.body.read())
    application: WSGIApplication = app
    return application


def begin(client: Client, *, waits: bool = True) -> None:
    """Send a head; wait until collecting has begun."""
    if waits:
        client.request("POST", Transfer_Encoding="chunked", Expect="100-continue")
        assert client.read_line() == b"HTTP/1.1 100 Continue\r\n"
        assert client.read_line() == b"\r\n"
    else:
        client.send(CHUNKED)


def tell(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """What the environ tells of a body, and how much of it is there."""
    start_response("200 OK", PLAIN)
    told = [environ.get("CONTENT_LENGTH"), environ.get("wsgi.input_terminated")]
    return [repr([*told, len(environ["wsgi.input"].read(-1))]).encode()]


@pytest.mark.parametrize("is_collected", [False, True], ids=["at once", "collected on disk"])
@pytest.mark.parametrize("make", [of_django, of_flask, of_falcon, of_bottle])
def test_every_framework_sees_all_of_it(
    serve: Serve,
    client_of: ClientOf,
    make: Callable[[], WSGIApplication],
    is_collected: bool,
) -> None:
    client = client_of(serve(make(), validate=False, body_buffer_size=1000))
    for _ in range(2):
        begin(client, waits=is_collected)
        client.send(chunk(BODY[:9]) + chunk(BODY[9:]) + LAST_CHUNK)
        assert client.reply().body == BODY


def test_the_100_goes_out_when_collecting_begins(serve: Serve, client_of: ClientOf) -> None:
    client = client_of(serve(tell, validate=False))
    begin(client)
    client.send(chunk(b"spam") + LAST_CHUNK)
    assert client.reply().body == b"['4', True, 4]"


def test_what_is_larger_than_max_spool_size_is_refused(
    serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[Environ] = []

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        calls.append(environ)
        return tell(environ, start_response)

    caplog.set_level("INFO", "asyncwsgi.server")
    server = serve(application, body_buffer_size=10, max_spool_size=100, validate=False)
    client = client_of(server)
    begin(client)
    client.send(chunk(b"x" * 100) + LAST_CHUNK)
    assert client.reply().body == b"['100', True, 100]"
    begin(client)
    client.send(chunk(b"x" * 101))
    assert client.reply().status == 413
    client.close()  # which the server waits for: the client may still be sending
    server.close()
    assert len(calls) == 1
    assert "raise max_spool_size" in caplog.text


def test_it_is_streamed_where_that_was_asked_for(serve: Serve, client_of: ClientOf) -> None:
    gate = Gate(tell)
    client = client_of(serve(gate, body_buffer_size=1, stream_chunked_bodies=True, validate=False))
    client.request("POST", "/held", Transfer_Encoding="chunked")
    client.send(chunk(b"spam"))
    gate.wait_until_entered()
    client.send(chunk(b"eggs") + LAST_CHUNK)
    gate.open()
    assert client.reply().body == b"[None, True, 8]"
