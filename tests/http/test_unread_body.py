"""What becomes of a request body that the application did not read (RFC 9112 9.3 and 9.6)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pytest

from asyncwsgi.testing import Authority
from tests.apps import echo, hello
from tests.client import TIMEOUT, Client, connect
from tests.conftest import Serve
from tests.http.helpers import MIB, ClientOf, Clock, Paths, come_round, messages

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

pytestmark = pytest.mark.usefixtures("lent_to_few")


def first_byte(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    """Reads one byte of the body and answers with it."""
    body = environ["wsgi.input"].read(1)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]


def send_without_end(client: Client) -> None:
    while True:
        client.send(b"x" * 1000)


@pytest.mark.parametrize("app", [hello, first_byte])
def test_a_body_that_came_with_its_head_does_not_disturb_the_next_request(
    serve: Serve, client_of: ClientOf, app: Any
) -> None:
    client = client_of(serve(app))
    assert [client.post(body=b"spam" * 1000).status for _ in range(3)] == [200] * 3
    assert client.get().status == 200


@pytest.mark.parametrize(
    ("framing", "first", "rest"),
    [
        pytest.param({"Content_Length": "100001"}, b"x", b"x" * 100_000, id="with a length"),
        pytest.param(
            {"Transfer_Encoding": "chunked"},
            b"1\r\nx\r\n",
            b"186a0\r\n" + b"x" * 100_000 + b"\r\n0\r\n\r\n",
            id="in chunks",
        ),
    ],
)
def test_the_rest_of_a_body_is_read_and_the_connection_kept(
    serve: Serve, client_of: ClientOf, framing: dict[str, str], first: bytes, rest: bytes
) -> None:
    app = Paths()
    client = client_of(
        serve(app, body_buffer_size=1, drain_size=110_000, stream_chunked_bodies=True)
    )
    client.request("POST", "/upload", None, **framing)
    client.send(first)
    assert client.reply().body == b"/upload"  # one byte filled the buffer, and the answer is there
    client.send(rest)
    assert client.get("/next").body == b"/next"
    assert app.calls == ["POST /upload", "GET /next"]


def test_an_unread_body_in_very_many_chunks_is_read_to_its_end(
    serve: Serve, client_of: ClientOf
) -> None:
    client = client_of(serve(Paths(), body_buffer_size=100))
    for target in ("/first", "/second"):
        client.request("POST", target, Transfer_Encoding="chunked")
        client.send(b"1\r\nx\r\n" * 5000 + b"0\r\n\r\n")
    assert [client.reply().body for _ in range(2)] == [b"/first", b"/second"]
    assert client.get("/third").body == b"/third"


def test_requests_pipelined_behind_an_unread_body_are_answered(
    serve: Serve, client_of: ClientOf
) -> None:
    client = client_of(serve(Paths(), body_buffer_size=100))
    for number in range(5):
        client.request("POST", f"/{number}", b"x" * 50_000)
        client.request("GET", "/get")
    bodies = [client.reply().body for _ in range(10)]
    assert bodies[::2] == [b"/%d" % number for number in range(5)]
    assert bodies[1::2] == [b"/get"] * 5


def test_a_body_beyond_drain_size_closes_the_connection_behind_a_whole_response(
    serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    # RFC 9112 9.6: a server that closes while the client sends resets the connection, and the
    # reset may take the response with it. So it reads on for a while.
    app = Paths()
    client = client_of(serve(app, body_buffer_size=1000, drain_size=10_000))
    client.request("POST", "/upload", b"x" * 8 * MIB)
    assert client.reply().body == b"/upload"
    assert client.is_closed()
    assert (app.calls, messages(caplog.records)) == (["POST /upload"], [])


def test_a_malformed_rest_closes_the_connection_behind_a_whole_response(
    serve: Serve, client_of: ClientOf
) -> None:
    app = Paths()
    client = client_of(serve(app, body_buffer_size=1, stream_chunked_bodies=True))
    client.request("POST", "/upload", Transfer_Encoding="chunked")
    client.send(b"1\r\nx\r\n")
    assert client.reply().body == b"/upload"
    client.send(b"spam\r\nGET /never HTTP/1.1\r\nHost: test\r\n\r\n")
    assert client.is_closed()
    assert app.calls == ["POST /upload"]


def test_an_unread_body_that_stops_is_waited_for_no_longer_than_drain_timeout(
    serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    client = client_of(serve(hello, body_buffer_size=1, drain_timeout=0.1))
    client.request("POST", Content_Length="9")
    client.send(b"x")
    assert client.reply().body == b"Hello, world!"
    assert client.is_closed()
    assert messages(caplog.records) == []


def test_a_client_that_never_stops_sending_is_cut_after_drain_timeout(
    serve: Serve, client_of: ClientOf
) -> None:
    client = client_of(serve(hello, body_buffer_size=1, drain_size=1000, drain_timeout=0.1))
    client.request("POST", Content_Length=str(2**60))
    client.send(b"x")
    assert client.reply().body == b"Hello, world!"
    with pytest.raises(OSError, match=r"reset|[Bb]roken pipe"):
        send_without_end(client)


def test_a_body_left_in_mid_stream_ends_the_exchange_well(
    serve: Serve, client_of: ClientOf
) -> None:
    # The application answers, block by block, while it has read only a part.
    def half(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield environ["wsgi.input"].read(4)
        yield environ["wsgi.input"].read(4)

    client = client_of(serve(half, body_buffer_size=2))
    assert client.post(body=b"spameggs" * 1000).body == b"spameggs"
    assert client.post(body=b"eggsspam" * 1000).body == b"eggsspam"


def test_a_body_that_fills_the_buffer_exactly_is_read(serve: Serve, client_of: ClientOf) -> None:
    client = client_of(serve(echo, body_buffer_size=4))
    assert client.post(body=b"spam").body == b"spam"
    assert client.post(body=b"spams").body == b"spams"


def test_a_client_that_still_sends_when_the_drain_is_over_is_not_reset(
    serve: Serve, client_of: ClientOf, clock: Clock
) -> None:
    # RFC 9112 9.6: a reset may overtake the response that the client has not read yet.
    server = serve(hello, body_buffer_size=1, drain_timeout=1.0)
    client = client_of(server)
    client.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\nspam")
    assert client.reply().status == 200
    server.wait_for_request()
    clock.pass_time(server, 1.0)
    assert client.is_closed()
    for _ in range(3):
        client.send(b"more")
        assert client.sock.recv(1) == b""


@pytest.mark.parametrize("tls", [None, Authority()], ids=["TCP", "TLS"])
@pytest.mark.parametrize(
    ("connection", "max_body_size", "status"),
    [
        pytest.param("keep-alive", 0, 200, id="kept"),
        pytest.param("close", 0, 200, id="not kept"),
        pytest.param("keep-alive", 1, 413, id="refused"),
    ],
)
def test_a_client_that_still_sends_when_the_server_stops_is_not_reset(
    serve: Serve, tls: Authority | None, connection: str, max_body_size: int, status: int
) -> None:
    # Its response may be on its way still, and it reads it when it has sent all.
    options: dict[str, Any] = {} if tls is None else {"tls": tls}
    options |= {"body_buffer_size": 1, "max_body_size": max_body_size, "drain_timeout": TIMEOUT}
    server = serve(hello, **options)
    address, context = ("127.0.0.1", server.port), tls.client_context() if tls else None
    with connect(address, context) as idle, connect(address, context) as client:
        client.request("POST", Content_Length=str(8 * MIB + 2), Connection=connection)
        client.send(b"x")
        assert client.reply().status == status
        client.send(b"x")
        come_round(server)
        server.started.result().call_soon_threadsafe(server.server.begin_shutdown)
        assert idle.is_closed()  # and so is whoever shall be
        client.send(b"x" * 8 * MIB)
        assert client.is_closed()
