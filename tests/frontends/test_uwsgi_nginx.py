"""Behind a real nginx, by the file that the examples have for it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from asyncwsgi import EventStream
from asyncwsgi.testing import LiveServer
from tests.apps import echo, show_environ
from tests.client import TIMEOUT, Client, connect
from tests.conftest import Serve
from tests.frontends.uwsgi_nginx import Nginx
from tests.http.conftest import serve as serve
from tests.http.helpers import MIB, Environ, answer, wait_for
from tests.http.wire import read_head

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication

DOCS = Path(__file__).parents[2] / "docs" / "uwsgi.md"


class Behind(Protocol):
    """A connection to an nginx before a server of its own."""

    def __call__(
        self, application: WSGIApplication, *, speaks_http: bool = False, **options: Any
    ) -> Client: ...


def upstream_of(server: LiveServer) -> str:
    """Its first listener, as nginx writes it."""
    address = server.addresses[0]
    return f"unix:{address}" if isinstance(address, str) else f"127.0.0.1:{address[1]}"


@pytest.fixture
def behind(serve: Serve, tmp_path: Path) -> Iterator[Behind]:
    with ExitStack() as stack:

        def start(
            application: WSGIApplication, *, speaks_http: bool = False, **options: Any
        ) -> Client:
            directory = tmp_path / ("http" if speaks_http else "uwsgi")
            directory.mkdir()
            form = "unix" if speaks_http else "uwsgi+unix"
            options.setdefault("bind", f"{form}:{directory / 'socket'}")
            server = serve(application, **options)
            nginx = Nginx(directory, upstream_of(server), speaks_http=speaks_http)
            return stack.enter_context(stack.enter_context(nginx).connect())

        yield start


def test_requests_are_answered(behind: Behind) -> None:
    client = behind(echo, bind="uwsgi://127.0.0.1:0")
    assert client.get().status == 200
    assert client.post(body=b"spam").body == b"spam"
    client.request("HEAD")
    assert client.reply("HEAD").status == 200


def test_an_upload_that_is_chunked_has_a_length(behind: Behind) -> None:
    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["CONTENT_LENGTH"].encode(), environ["wsgi.input"].read(-1)]

    client = behind(application)
    client.request("POST", Transfer_Encoding="chunked")
    client.send(b"4\r\nspam\r\n0\r\n\r\n")
    assert client.reply().body == b"4spam"


def test_an_upload_of_100_megabytes_arrives(behind: Behind) -> None:
    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        sha = hashlib.sha256()
        while block := environ["wsgi.input"].read(100_000):
            sha.update(block)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [sha.hexdigest().encode()]

    client = behind(application)
    part, sha = bytes(range(256)) * (MIB // 256), hashlib.sha256()
    client.request("POST", Content_Length=str(100 * MIB))
    for _ in range(100):
        sha.update(part)
        client.send(part)
    assert client.reply().body.decode() == sha.hexdigest()


def test_events_arrive_one_by_one_and_hold_no_thread(behind: Behind) -> None:
    go_on = [threading.Event() for _ in range(3)]

    async def numbers() -> AsyncIterator[str]:
        for number in range(3):
            yield str(number)
            await asyncio.to_thread(go_on[number].wait)

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/events":
            return echo(environ, start_response)
        return EventStream(numbers())(environ, start_response)

    client = behind(application, validate=False, threads=1)
    client.request("GET", "/events")
    for number in range(3):
        while (line := client.read_line()) != b"data: %d\n" % number:
            assert line, "the stream has ended"
        with connect(client.sock.getpeername()) as other:
            assert other.get().status == 200
        go_on[number].set()


def test_the_application_hears_of_a_client_that_leaves_nginx(behind: Behind) -> None:
    entered, told = threading.Event(), threading.Event()

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        entered.set()
        if environ["asyncwsgi.disconnected"].wait(TIMEOUT):
            told.set()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return []

    client = behind(application)
    client.request()
    wait_for(entered)
    client.close()
    wait_for(told)


def test_an_application_that_fails_is_answered_for(behind: Behind) -> None:
    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        raise ValueError("spam")

    assert behind(application).get().status == 500


def test_a_response_that_is_cut_does_not_seem_whole(behind: Behind) -> None:
    # By TCP: on a Unix socket nothing but a Content-Length could tell.
    go_on = threading.Event()

    def blocks() -> Iterator[bytes]:
        yield bytes(MIB)
        wait_for(go_on)
        raise ValueError("eggs")

    client = behind(answer(blocks), bind="uwsgi://127.0.0.1:0")
    client.request()
    assert read_head(client)[0] == b"HTTP/1.1 200 OK"
    go_on.set()
    assert not client.read_all().endswith(b"\r\n0\r\n\r\n")  # the last chunk


REQUESTS: dict[str, Callable[[Client], None]] = {
    "a form": lambda client: client.request(
        "POST", "/", b"a=1", Content_Type="application/x-www-form-urlencoded", Cookie="a=1"
    ),
    "a path that nginx reads otherwise": lambda client: client.request(
        "GET", "/a%20b//c/../d%2Fe%C3%A9?x=%20y&z=a%2Fb"
    ),
    "an expectation": lambda client: client.request("POST", "/", b"a", Expect="100-continue"),
    "headers that repeat": lambda client: client.send(
        b"GET / HTTP/1.1\r\nHost: test\r\nX-Spam: a\r\nX-Spam: b\r\nCookie: a=1\r\nCookie: b=2\r\n"
        b"X_Spam: c\r\nREMOTE-ADDR: 1.2.3.4\r\nProxy: d\r\n\r\n"
    ),
    "chunks": lambda client: client.send(
        b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
    ),
}  # fmt: skip


@pytest.mark.parametrize("send", REQUESTS.values(), ids=REQUESTS)
def test_the_environ_is_that_of_http_but_for_what_the_docs_list(
    behind: Behind, send: Callable[[Client], None]
) -> None:
    environs: list[Environ] = []
    for speaks_http in (True, False):
        client = behind(show_environ, speaks_http=speaks_http)
        send(client)
        reply = client.reply()
        assert reply.status == 200
        environs.append(json.loads(reply.body))
    by_http, by_uwsgi = environs
    keys = by_http.keys() | by_uwsgi.keys()
    different = {key for key in keys if by_http.get(key) != by_uwsgi.get(key)}
    assert different <= listed()
    assert by_uwsgi["REMOTE_ADDR"] == "127.0.0.1"
    assert by_uwsgi["REQUEST_URI"] == by_http["REQUEST_URI"]


def listed() -> set[str]:
    """The keys in the table of differences."""
    _, _, table = DOCS.read_text().partition("| key | by HTTP | by uwsgi |\n|---|---|---|\n")
    rows = table.partition("\n\n")[0].splitlines()
    return {key for row in rows for key in re.findall(r"`(\w+)`", row.split("|")[1])}
