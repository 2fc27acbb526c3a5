"""nginx in front, by HTTP: over TCP and a Unix socket, as examples/deployment/nginx.conf has it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask

from asyncwsgi import Event, EventStream
from asyncwsgi.testing import Authority, LiveServer
from tests.apps import hello, show_environ
from tests.client import TIMEOUT, Client, connect
from tests.conftest import Serve
from tests.deployment.neighbours import Neighbour, nginx
from tests.http.helpers import MIB, Gate

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication

UNBUFFERED = ("proxy_http_version 1.1;", "proxy_http_version 1.1;\n        proxy_buffering off;")
Front = Callable[..., tuple[LiveServer, Neighbour]]
bufferings = pytest.mark.parametrize("changes", [[], [UNBUFFERED]], ids=["buffers", "no buffers"])


@pytest.fixture(params=["TCP", "Unix socket"])
def front(request: pytest.FixtureRequest, serve: Serve, shared: Path) -> Iterator[Front]:
    """Starts an application and nginx in front of it."""
    with ExitStack() as stack:

        def start(
            application: WSGIApplication, *changes: tuple[str, str], **options: Any
        ) -> tuple[LiveServer, Neighbour]:
            if request.param != "TCP":
                options["bind"] = f"unix:{shared / 'app.sock'}"
            options.setdefault("forwarded_allow_ips", "127.0.0.1,unix")
            server = serve(application, **options)
            return server, stack.enter_context(nginx(shared, server.addresses[0], *changes))

        yield start


def connected(neighbour: Neighbour) -> Client:
    return connect(("127.0.0.1", neighbour.port))


def environ_by(client: Client, target: str = "/", **headers: str) -> dict[str, Any]:
    reply = client.get(target, **headers)
    assert reply.status == 200
    environ: dict[str, Any] = json.loads(reply.body)
    return environ


def test_the_application_sees_the_client_and_what_it_asked_for(front: Front) -> None:
    _, proxy = front(show_environ)
    forged = {
        "X_Forwarded_For": "6.6.6.6",
        "X_Forwarded_Proto": "https",
        "Forwarded": "for=6.6.6.6",
    }
    with connected(proxy) as client:
        environ = environ_by(client, "/a%20b?c=d", Host="shop.example:81", **forged)
    assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == ("127.0.0.1", "http")
    assert environ["HTTP_HOST"] == "shop.example:81"
    assert (environ["PATH_INFO"], environ["REQUEST_URI"]) == ("/a b", "/a%20b?c=d")
    assert not [key for key in environ if "FORWARDED" in key]


def test_tls_that_ends_at_nginx_is_the_scheme(serve: Serve, shared: Path) -> None:
    authority = Authority()
    server = serve(show_environ, forwarded_allow_ips="127.0.0.1")
    with (
        nginx(shared, server.addresses[0], authority=authority) as proxy,
        connect(("127.0.0.1", proxy.tls_port), authority.client_context()) as client,
    ):
        assert environ_by(client)["wsgi.url_scheme"] == "https"


def test_connections_are_kept_for_the_next_client(front: Front) -> None:
    server, proxy = front(hello)
    for _ in range(20):
        with connected(proxy) as client:
            assert client.get().status == 200
    connections = server.server.snapshot().connections
    assert len(connections) == 1
    assert server.server.frontend.registry.accepted_count == 1


@bufferings
def test_events_arrive_as_they_happen(front: Front, changes: list[tuple[str, str]]) -> None:
    heard = threading.Semaphore(0)

    async def events() -> AsyncIterator[Event]:
        for number in range(3):
            yield Event(str(number))
            # The next one is not sent before the client has this one.
            assert await asyncio.to_thread(heard.acquire, timeout=TIMEOUT)

    app = Flask(__name__)
    app.add_url_rule("/", view_func=lambda: EventStream(events()))
    _, proxy = front(app, *changes, validate=False)
    with connected(proxy) as client:
        client.request()
        for number in range(3):
            while (line := client.read_line()) != f"data: {number}\n".encode():
                assert line, "the stream ended"
            heard.release()


@bufferings
def test_a_large_response_arrives_whole(front: Front, changes: list[tuple[str, str]]) -> None:
    def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return (bytes([number]) * MIB for number in range(20))

    _, proxy = front(application, *changes)
    with connected(proxy) as client:
        body = client.get().body
    assert body == b"".join(bytes([number]) * MIB for number in range(20))


@pytest.mark.parametrize("target", ["/", "/upload"], ids=["buffered", "as it comes"])
def test_an_upload_of_100_mb_arrives_whole(front: Front, target: str) -> None:
    def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        digest = hashlib.sha256()
        while block := environ["wsgi.input"].read(MIB):
            digest.update(block)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [digest.hexdigest().encode()]

    _, proxy = front(application)
    expected = hashlib.sha256()
    with connected(proxy) as client:
        head = f"POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {100 * MIB}\r\n\r\n"
        client.send(head.encode())
        for number in range(100):
            block = bytes([number]) * MIB
            expected.update(block)
            client.send(block)
        assert client.reply().body.decode() == expected.hexdigest()


def test_a_view_reads_an_upload_while_it_is_sent(front: Front) -> None:
    begun = threading.Event()

    def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        body = environ["wsgi.input"]
        size = len(body.read(MIB))
        begun.set()
        while block := body.read(MIB):
            size += len(block)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(size).encode()]

    _, proxy = front(application)
    with connected(proxy) as client:
        head = f"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: {2 * MIB}\r\n\r\n"
        client.send(head.encode() + bytes(MIB))
        assert begun.wait(TIMEOUT), "nginx holds it back"
        client.send(bytes(MIB))
        assert client.reply().body == str(2 * MIB).encode()


@pytest.mark.parametrize("leave", [Client.close, Client.reset], ids=["end", "reset"])
def test_a_view_hears_that_its_client_has_left(
    front: Front, leave: Callable[[Client], None]
) -> None:
    entered, left = threading.Event(), threading.Event()

    def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        entered.set()
        if environ["asyncwsgi.disconnected"].wait(TIMEOUT):
            left.set()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b""]

    _, proxy = front(application)
    client = connected(proxy)
    client.request()
    assert entered.wait(TIMEOUT)
    leave(client)
    assert left.wait(TIMEOUT), "nobody told the view"


def test_a_slow_client_holds_no_worker_thread(front: Front) -> None:
    gate = Gate()
    _, proxy = front(gate, threads=1)
    with connected(proxy) as slow, connected(proxy) as client:
        slow.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nx")
        assert client.get("/other").status == 200
