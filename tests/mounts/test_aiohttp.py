"""What is aiohttp's own: routes, and what its server makes of a response."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from asyncwsgi.aiohttp import WSGIHandler
from tests.apps import echo, hello, show_environ
from tests.client import Client
from tests.mounts.hosts import by_aiohttp, hosted

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

Connect = Callable[[web.Application], Client]


@pytest.fixture
def connected() -> Iterator[Connect]:
    """A client of an aiohttp program."""
    with ExitStack() as stack:
        yield lambda app: stack.enter_context(
            stack.enter_context(hosted(app, by_aiohttp)).connect()
        )


def routed(route: str, application: Any, **options: Any) -> web.Application:
    """A program with one handler, on one route."""
    app = web.Application()
    handler = WSGIHandler(application, **options)
    app.router.add_route("*", route, handler)
    app.cleanup_ctx.append(handler.cleanup_ctx)
    return app


@pytest.mark.parametrize(
    ("route", "target", "expected"),
    [
        pytest.param("/{path:.*}", "/", ("", "/"), id="the root"),
        pytest.param("/{path:.*}", "/a/b?c", ("", "/a/b"), id="below the root"),
        pytest.param("/shop/{path:.*}", "/shop/a", ("/shop", "/a"), id="below a path"),
        pytest.param("/shop{path:.*}", "/shop", ("/shop", ""), id="nothing behind it"),
        pytest.param("/{name}/{path:.*}", "/x/a", ("/x", "/a"), id="below a variable"),
        pytest.param("/fixed", "/fixed", ("", "/fixed"), id="no variable"),
        pytest.param("/shop/{path:.*}", "/shop/a%2Fb", ("/shop", "/a/b"), id="an escaped slash"),
        pytest.param("/{path:.*}", "/%C3%A4", ("", "/\xc3\xa4"), id="UTF-8"),
        pytest.param("/{path:.*}", "/%FF", ("", "/\xff"), id="no UTF-8"),
    ],
)
def test_the_last_variable_of_a_route_is_the_path(
    connected: Connect, route: str, target: str, expected: tuple[str, str]
) -> None:
    environ = json.loads(connected(routed(route, show_environ)).get(target).body)
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == expected
    assert environ["REQUEST_URI"] == target


def test_below_a_subapp(connected: Connect) -> None:
    app = web.Application()
    app.add_subapp("/shop", routed("/{path:.*}", show_environ))
    environ = json.loads(connected(app).get("/shop/a").body)
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/shop", "/a")


def test_a_path_that_is_told_goes_before_the_route(connected: Connect) -> None:
    client = connected(routed("/a/{path:.*}", show_environ, root_path="/a/b"))
    environ = json.loads(client.get("/a/b/c").body)
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/a/b", "/c")


def test_addresses_scheme_and_the_request_are_in_the_environ(connected: Connect) -> None:
    client = connected(routed("/{path:.*}", show_environ))
    environ = json.loads(client.get("/").body)
    host, port = client.sock.getsockname()
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == (host, str(port))
    assert environ["SERVER_PORT"] == str(client.sock.getpeername()[1])
    assert environ["wsgi.url_scheme"] == "http"
    assert environ["aiohttp.request"] == "Request"


def test_middleware_may_correct_the_address_of_the_client(connected: Connect) -> None:
    @web.middleware
    async def correct(request: web.Request, handler: Any) -> web.StreamResponse:
        response: web.StreamResponse = await handler(
            request.clone(remote="192.0.2.1", scheme="https")
        )
        return response

    handler = WSGIHandler(show_environ)
    app = web.Application(middlewares=[correct])
    app.router.add_route("*", "/{path:.*}", handler)
    app.cleanup_ctx.append(handler.cleanup_ctx)
    environ = json.loads(connected(app).get("/").body)
    assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == ("192.0.2.1", "https")


def answers(status: str, *headers: tuple[str, str], blocks: Iterable[bytes] = ()) -> Any:
    def app(_: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        start_response(status, list(headers))
        return blocks

    return app


def test_the_reason_and_repeated_headers_arrive(connected: Connect) -> None:
    app = answers("299 Nearly", ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), blocks=[b"x"])
    reply = connected(routed("/", app)).get("/")
    assert (reply.status, reply.reason, reply.body) == (299, "Nearly", b"x")
    assert [v for k, v in reply.headers if k.lower() == "set-cookie"] == ["a=1", "b=2"]


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        pytest.param("\xc3\xa4", "\xc3\xa4", id="UTF-8 arrives as it is"),
        pytest.param("\xe4", "\xc3\xa4", id="Latin-1 is converted"),
    ],
)
def test_header_values_beyond_ascii(connected: Connect, value: str, sent: str) -> None:
    reply = connected(routed("/", answers("200 OK", ("X-Name", value), blocks=[b"x"]))).get("/")
    assert reply.header("X-Name") == sent


def test_an_end_of_the_connection_is_honoured(connected: Connect) -> None:
    client = connected(routed("/", answers("200 OK", ("Connection", "close"), blocks=[b"x"])))
    assert client.get("/").header("Connection") == "close"
    assert client.is_closed()


def test_a_compressed_body_arrives_as_aiohttp_has_decoded_it(connected: Connect) -> None:
    seen: list[dict[str, Any]] = []

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        seen.append(environ.copy())
        size = int(environ["CONTENT_LENGTH"])
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["wsgi.input"].read(size)]

    body = gzip.compress(b"spam" * 1000)
    reply = connected(routed("/", app)).post("/", body, Content_Encoding="gzip")
    assert reply.body == b"spam" * 1000
    assert "HTTP_CONTENT_ENCODING" not in seen[0]


def test_a_compressed_body_that_aiohttp_leaves_alone_arrives_as_it_was_sent() -> None:
    body = gzip.compress(b"spam" * 1000)
    app = routed("/", echo, auto_decompress=False)
    serving = partial(by_aiohttp, auto_decompress=False)
    with hosted(app, serving) as served, served.connect() as client:
        assert client.post("/", body, Content_Encoding="gzip").body == body


def test_a_malformed_body_is_refused(connected: Connect) -> None:
    client = connected(routed("/", echo))
    assert client.post("/", b"this is no gzip", Content_Encoding="gzip").status == 400


def test_a_body_that_is_too_large_is_refused(connected: Connect) -> None:
    assert connected(routed("/", hello, max_body_size=5)).post("/", b"abcdef").status == 413


def test_a_handler_serves_several_routes(connected: Connect) -> None:
    handler = WSGIHandler(show_environ)
    app = web.Application()
    for route in ("/a/{path:.*}", "/b/{path:.*}"):
        app.router.add_get(route, handler)
    app.on_cleanup.append(lambda _: handler.aclose())
    client = connected(app)
    names = [json.loads(client.get(f"{name}/x").body)["SCRIPT_NAME"] for name in ("/a", "/b")]
    assert names == ["/a", "/b"]
