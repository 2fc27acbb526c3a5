"""Clients that speak the uwsgi protocol, over real sockets.

What the connection shares with HTTP's (see `asyncwsgi.frontends.uwsgi`) is tried once: that it is
shared.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asyncwsgi import Config, ConfigError, stream
from asyncwsgi.server.listeners import open_listeners
from asyncwsgi.testing import LiveServer
from tests.apps import echo, hello, show_environ
from tests.client import TIMEOUT, Client, Reply, connect
from tests.conftest import Serve
from tests.http.conftest import clock as clock
from tests.http.conftest import serve as serve
from tests.http.helpers import (
    MIB,
    Blocks,
    Clock,
    Gate,
    Paths,
    answer,
    come_round,
    fill,
    listen,
    messages,
    wait_for,
)
from tests.http.wire import bytewise, whole
from tests.server.certificates import Certificates
from tests.uwsgi.packets import packet, request

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

Send = Callable[[Client, bytes], None]
Connect = Callable[[LiveServer], Client]

UWSGI = "uwsgi://127.0.0.1:0"
AMPLE = 10.0
"""For deadlines that pass on the test's clock."""
TOTAL = 64 * MIB
BOUND = 24 * MIB

sends = pytest.mark.parametrize("send", [whole, bytewise])


@pytest.fixture
def client_of() -> Iterator[Connect]:
    """Connections to the last listener of a server, closed when the test ends."""
    with ExitStack() as stack:
        yield lambda server: stack.enter_context(connect(server.addresses[-1]))


def reply_to(client: Client, data: bytes) -> Reply:
    """The answer, behind which the connection ends."""
    client.send(data)
    method = "HEAD" if b"HEAD" in data else "GET"
    reply = client.reply(method)
    assert client.is_closed()
    return reply


class TestRequests:
    @sends
    def test_a_packet_may_come_in_any_pieces(
        self, serve: Serve, client_of: Connect, send: Send
    ) -> None:
        client = client_of(serve(echo, bind=UWSGI))
        send(client, request("POST", size=4) + b"spam")
        reply = client.reply()
        assert (reply.status, reply.body) == (200, b"spam")
        assert client.is_closed()

    def test_the_application_sees_the_client_as_the_proxy_sees_it(
        self, serve: Serve, client_of: Connect
    ) -> None:
        server = serve(show_environ, bind=UWSGI)
        environ = reply_to(client_of(server), request(target="/a?b", HTTPS="on")).body
        for expected in (b'"REMOTE_ADDR": "192.0.2.7"', b'"wsgi.url_scheme": "https"'):
            assert expected in environ

    def test_the_access_log_has_the_address_of_the_client(
        self, serve: Serve, client_of: Connect, caplog: pytest.LogCaptureFixture
    ) -> None:
        server = serve(hello, bind=UWSGI, access_log=True)
        with caplog.at_level(logging.INFO, "asyncwsgi.access"):
            reply_to(client_of(server), request(target="/a?b"))
        (line,) = [r.getMessage() for r in caplog.records if r.name == "asyncwsgi.access"]
        assert line.startswith('192.0.2.7 "GET /a?b HTTP/1.1" 200')

    def test_an_upload_is_read_no_further_than_the_application_reads(
        self, serve: Serve, client_of: Connect
    ) -> None:
        def digest(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
            sha = hashlib.sha256()
            while block := environ["wsgi.input"].read(100_000):
                sha.update(block)
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [sha.hexdigest().encode()]

        gate = Gate(digest)
        server = serve(gate, bind=UWSGI, body_buffer_size=64 * 1024)
        client = client_of(server)
        client.send(request("POST", "/held", size=TOTAL))
        part = random.Random(1).randbytes(MIB)
        sent = fill(client, part, lambda: reply_to(client_of(server), request()), limit=BOUND)
        gate.open()
        body = part * (TOTAL // MIB)
        client.send(body[sent:])
        assert client.reply().body.decode() == hashlib.sha256(body).hexdigest()

    def test_a_thread_is_taken_only_when_the_body_is_there(
        self, serve: Serve, client_of: Connect
    ) -> None:
        server = serve(echo, bind=UWSGI, threads=1)
        upload = client_of(server)
        upload.send(request("POST", size=4) + b"sp")
        assert reply_to(client_of(server), request()).status == 200
        assert reply_to(upload, b"am").body == b"spam"


class TestResponses:
    def test_a_body_of_unknown_length_ends_with_the_connection(
        self, serve: Serve, client_of: Connect
    ) -> None:
        client = client_of(serve(answer(lambda: iter([b"spam", b"eggs"])), bind=UWSGI))
        client.send(request())
        head, _, body = client.read_all().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"Transfer-Encoding" not in head
        assert body == b"spameggs"

    def test_a_block_leaves_as_soon_as_it_is_there(self, serve: Serve, client_of: Connect) -> None:
        go_on = threading.Event()

        def blocks() -> Iterator[bytes]:
            yield b"spam"
            wait_for(go_on)
            yield b"eggs"

        client = client_of(serve(answer(blocks), bind=UWSGI))
        client.send(request())
        while client.read_line() != b"\r\n":
            pass
        assert client.read(4) == b"spam"
        go_on.set()
        assert client.read_all() == b"eggs"

    def test_head_gets_the_head_alone(self, serve: Serve, client_of: Connect) -> None:
        reply = reply_to(client_of(serve(hello, bind=UWSGI)), request("HEAD"))
        assert (reply.header("Content-Length"), reply.body) == ("13", b"")

    def test_who_does_not_read_is_not_sent_more_than_the_buffers_hold(
        self, serve: Serve, client_of: Connect
    ) -> None:
        app = Blocks(TOTAL)
        server = serve(app, bind=UWSGI, threads=1)
        client = client_of(server)
        client.send(request())
        client.read(1)
        come_round(server)
        assert app.produced < BOUND
        client.read_all()
        assert app.produced == TOTAL

    def test_an_application_that_fails_is_answered_for(
        self, serve: Serve, client_of: Connect
    ) -> None:
        def fail(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
            raise ValueError("spam")

        assert reply_to(client_of(serve(fail, bind=UWSGI)), request()).status == 500

    def test_a_response_that_is_cut_does_not_seem_whole(
        self, serve: Serve, client_of: Connect
    ) -> None:
        # Proxies cache what seems whole.
        def blocks() -> Iterator[bytes]:
            yield b"spam"
            raise ValueError("eggs")

        client = client_of(serve(answer(blocks), bind=UWSGI))
        client.send(request())
        with pytest.raises(ConnectionResetError):
            client.read_all()

    def test_streams_of_async_iterators_hold_no_thread(
        self, serve: Serve, client_of: Connect
    ) -> None:
        go_on = threading.Event()

        async def events() -> AsyncIterator[bytes]:
            yield b"data: 1\n\n"
            await asyncio.to_thread(wait_for, go_on)
            yield b"data: 2\n\n"

        def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", [("Content-Type", "text/plain")])
            return stream(events())

        server = serve(application, validate=False, bind=UWSGI, threads=1)
        clients = [client_of(server) for _ in range(3)]
        for client in clients:
            client.send(request())
        for client in clients:
            while client.read_line() != b"data: 1\n":
                pass
        go_on.set()
        assert [client.read_all() for client in clients] == [b"\ndata: 2\n\n"] * 3


class TestRefusals:
    @pytest.mark.parametrize(
        ("data", "status", "reason"),
        [
            pytest.param(
                packet([], modifier1=5), 501, "modifier1 5 of the uwsgi protocol", id="modifier"
            ),
            pytest.param(b"GET / HTTP/1.1\r\n\r\n", 501, "this listener speaks uwsgi", id="HTTP"),
            pytest.param(packet([]), 400, "uwsgi packet without REQUEST_METHOD", id="incomplete"),
            pytest.param(
                request("POST", size=3) + b"abc", 413, "request body of 3 bytes", id="too large"
            ),
        ],
    )
    def test_what_cannot_be_served_is_answered_and_logged(
        self,
        serve: Serve,
        client_of: Connect,
        caplog: pytest.LogCaptureFixture,
        data: bytes,
        status: int,
        reason: str,
    ) -> None:
        app = Paths()
        client = client_of(serve(app, bind=UWSGI, max_body_size=2))
        listen(caplog)
        assert reply_to(client, data).status == status
        (line,) = messages(caplog.records)
        assert f"refused with {status}" in line
        assert reason in line
        assert app.calls == []

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (request()[:9], "no request head within 10 s"),
            (request("POST", size=9) + b"spam", "no byte of the request body for 10 s"),
        ],
    )
    def test_who_is_slow_is_refused(
        self,
        serve: Serve,
        client_of: Connect,
        clock: Clock,
        caplog: pytest.LogCaptureFixture,
        data: bytes,
        reason: str,
    ) -> None:
        server = serve(echo, bind=UWSGI, head_timeout=AMPLE, body_timeout=AMPLE)
        listen(caplog)
        client = client_of(server)
        client.send(data)
        clock.pass_time(server, AMPLE)
        assert client.reply().status == 408
        assert reason in messages(caplog.records)[0]

    def test_who_reads_nothing_is_cut(self, serve: Serve, client_of: Connect, clock: Clock) -> None:
        app = Blocks(TOTAL)
        server = serve(app, bind=UWSGI, send_timeout=AMPLE)
        client = client_of(server)
        client.send(request())
        client.read(1)
        while not app.was_closed.is_set():
            clock.pass_time(server, AMPLE)
        assert app.produced < TOTAL


class TestEnds:
    def test_the_application_hears_of_a_client_that_leaves(
        self, serve: Serve, client_of: Connect
    ) -> None:
        entered, told = threading.Event(), threading.Event()

        def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
            entered.set()
            if environ["asyncwsgi.disconnected"].wait(TIMEOUT):
                told.set()
            start_response("200 OK", [("Content-Type", "text/plain")])
            return []

        client = client_of(serve(application, bind=UWSGI))
        client.send(request())
        wait_for(entered)
        client.close()
        wait_for(told)

    def test_a_request_in_hand_is_answered_while_the_server_stops(
        self, serve: Serve, client_of: Connect
    ) -> None:
        gate = Gate()
        server = serve(gate, bind=UWSGI)
        client, idle = client_of(server), client_of(server)
        client.send(request(target="/held"))
        gate.wait_until_entered()
        stopping = threading.Thread(target=server.close)
        stopping.start()
        assert idle.is_closed()
        gate.open()
        assert client.reply().body == b"/held"
        assert client.is_closed()
        stopping.join()

    def test_who_waits_to_be_accepted_is_served_when_the_listeners_close(
        self, serve: Serve
    ) -> None:
        server = serve(hello, bind=UWSGI)

        async def stop() -> Client:
            client = connect(server.addresses[0])
            client.send(request())
            await server.server.stop_accepting()
            return client

        stopping = asyncio.run_coroutine_threadsafe(stop(), server.started.result())
        with stopping.result(TIMEOUT) as client:
            assert client.reply().status == 200


class TestListeners:
    def test_http_tls_and_uwsgi_are_served_side_by_side(self, serve: Serve, tmp_path: Path) -> None:
        certificates = Certificates(tmp_path)
        path = tmp_path / "socket"
        server = serve(
            Paths(),
            bind=("127.0.0.1:0", f"uwsgi+unix:{path}", UWSGI),
            certfile=certificates.files.both,
        )
        web, unix, tcp = server.addresses
        assert server.server.urls == (
            f"https://127.0.0.1:{web[1]}", f"uwsgi+unix:{path}", f"uwsgi://127.0.0.1:{tcp[1]}",
        )  # fmt: skip
        with connect(web, certificates.client_context()) as client:
            assert client.get("/web").body == b"/web"
        for address in (unix, tcp):
            with connect(address) as client:
                assert reply_to(client, request(target="/proxy")).body == b"/proxy"

    def test_an_inherited_socket_may_speak_uwsgi(
        self, serve: Serve, client_of: Connect, listener: socket.socket
    ) -> None:
        server = serve(hello, bind=f"uwsgi+fd://{listener.fileno()}")
        assert reply_to(client_of(server), request()).status == 200

    @pytest.mark.parametrize(
        "bind", ["uwsgi://0.0.0.0:0", "uwsgi://:0", "uwsgi+fd://{}"], ids=["any", "none", "fd"]
    )
    def test_whoever_could_connect_from_elsewhere_has_to_be_named(self, bind: str) -> None:
        with socket.socket() as sock:
            sock.bind(("0.0.0.0", 0))
            bind = bind.format(sock.fileno())
            with pytest.raises(ConfigError, match=r"name the proxies in uwsgi_allow_ips"):
                open_listeners(Config(bind=(bind,)))
            [listener] = open_listeners(Config(bind=(bind,), uwsgi_allow_ips="192.0.2.1"))
            listener.close()

    @pytest.mark.parametrize(
        ("allowed", "status"), [("127.0.0.0/8", 200), ("*", 200), ("192.0.2.1", 403)]
    )
    def test_only_proxies_that_are_named_are_served(
        self,
        serve: Serve,
        client_of: Connect,
        caplog: pytest.LogCaptureFixture,
        allowed: str,
        status: int,
    ) -> None:
        app = Paths()
        server = serve(app, bind="uwsgi://0.0.0.0:0", uwsgi_allow_ips=allowed)
        listen(caplog)
        with connect(("127.0.0.1", server.port)) as client:
            if status == 200:
                client.send(request())
            assert client.reply().status == status
        if status == 403:
            assert app.calls == []
            (line,) = messages(caplog.records)
            assert line.endswith("refused with 403: its address is not among uwsgi_allow_ips")

    def test_a_unix_socket_has_no_addresses_that_could_be_refused(
        self, serve: Serve, client_of: Connect, tmp_path: Path
    ) -> None:
        server = serve(hello, bind=f"uwsgi+unix:{tmp_path / 'socket'}", uwsgi_allow_ips="192.0.2.1")
        assert reply_to(client_of(server), request()).status == 200

    @pytest.mark.parametrize("host", ["127.0.0.2", "[::1]"])
    def test_only_this_machine_reaches_loopback(self, host: str) -> None:
        [listener] = open_listeners(Config(bind=(f"uwsgi://{host}:0",)))
        listener.close()

    @pytest.mark.parametrize("bind", ["uwsgi://", "uwsgi://unix:/x", "uwsgi://127.0.0.1"])
    def test_other_forms_are_refused(self, bind: str) -> None:
        with pytest.raises(ConfigError, match=r"uwsgi\+unix:PATH"):
            open_listeners(Config(bind=(bind,)))

    def test_a_host_may_be_called_uwsgi(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def resolve(host: str, port: int, **_: Any) -> list[Any]:
            assert host == "uwsgi"
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        [listener] = open_listeners(Config(bind=("uwsgi:0",)))
        assert not listener.is_uwsgi
        listener.close()

    def test_what_is_no_address_is_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"uwsgi_allow_ips: 'proxy' does not appear to be"):
            Config(uwsgi_allow_ips="proxy")
