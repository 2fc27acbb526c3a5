"""When a connection is kept for the next request and when it is closed (RFC 9112 9)."""

from __future__ import annotations

import pytest

from tests.apps import hello
from tests.client import TIMEOUT, Client
from tests.conftest import Serve
from tests.http.helpers import MIB, Blocks, ClientOf, Gate, Paths, answer, messages
from tests.http.wire import PLAIN, read_head

pytestmark = pytest.mark.usefixtures("lent_to_few")


def test_a_connection_is_kept_for_the_next_request(serve: Serve, client_of: ClientOf) -> None:
    client = client_of(serve(hello))
    replies = [client.get("/first"), client.get("/second")]
    assert [(reply.status, reply.body) for reply in replies] == [(200, b"Hello, world!")] * 2
    assert [reply.header("Connection") for reply in replies] == [None, None]


def test_every_request_of_a_connection_gets_its_own_answer(
    serve: Serve, client_of: ClientOf
) -> None:
    # The same headers again take the short way past the parser, new ones the long one.
    client = client_of(serve(Paths()))
    bodies = [client.get(f"/{n}", **({"X_New": "1"} if n % 3 else {})).body for n in range(12)]
    assert bodies == [b"/%d" % n for n in range(12)]


def test_a_client_that_asks_to_close_is_answered_and_the_connection_closes(
    serve: Serve, client_of: ClientOf
) -> None:
    client = client_of(serve(hello))
    reply = client.get(Connection="keep-alive,\tCLOSE ,x")  # RFC 9110 7.6.1: a list
    assert (reply.body, reply.header("Connection")) == (b"Hello, world!", "close")
    assert client.is_closed()


def test_an_application_that_asks_to_close_is_heard(serve: Serve, client_of: ClientOf) -> None:
    headers = [*PLAIN, ("connection", "Close")]
    client = client_of(serve(answer(lambda: [b"spam"], headers)))
    reply = client.get()
    assert (reply.body, reply.header("Connection")) == (b"spam", "close")
    assert client.is_closed()


@pytest.mark.parametrize("connection", ["", "Connection: keep-alive\r\n"], ids=["bare", "asking"])
def test_http_1_0_is_answered_without_chunks_and_the_connection_closes(
    serve: Serve, client_of: ClientOf, connection: str
) -> None:
    client = client_of(serve(Blocks(3, block_size=1)))
    client.send(f"GET / HTTP/1.0\r\n{connection}\r\n".encode())
    head = read_head(client)
    # RFC 9112 9.3: whoever does not say keep-alive to an HTTP/1.0 client closes. 6.1: no
    # Transfer-Encoding unless the request was HTTP/1.1 or later.
    assert b"Connection: close" in head
    assert not any(line.startswith(b"Transfer-Encoding") for line in head)
    assert client.read_all() == b"xxx"


@pytest.mark.parametrize(
    "leftover",
    [
        pytest.param(b"GET /next HTTP/1.1\r\nHost: test\r\n\r\n", id="a request"),
        pytest.param(b"\x00\xff garbage", id="garbage"),
        pytest.param(b"\x00" * MIB, id="more than is buffered"),
    ],
)
@pytest.mark.parametrize(
    "last",
    [
        pytest.param(b"HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n", id="close"),
        pytest.param(b"HTTP/1.0\r\nContent-Length: 4\r\n\r\nspam", id="HTTP/1.0"),
    ],
)
def test_what_follows_a_last_request_is_ignored_and_resets_nothing(
    serve: Serve,
    client_of: ClientOf,
    caplog: pytest.LogCaptureFixture,
    last: bytes,
    leftover: bytes,
) -> None:
    # RFC 9112 9.6: no request behind close is answered; a reset could overtake the response.
    app = Paths()
    client = client_of(serve(app))
    client.send(b"GET /last " + last + leftover)
    assert client.reply().body == b"/last"
    assert client.is_closed()
    assert (app.calls, messages(caplog.records)) == (["GET /last"], [])


class TestHalfClose:
    """RFC 9112 9.6 and SAFETY of the peers: a client that shut its side still reads."""

    def test_the_response_is_delivered(self, serve: Serve, client_of: ClientOf) -> None:
        gate = Gate()
        server = serve(gate)
        client, other = client_of(server), client_of(server)
        client.request(target="/held")
        gate.wait_until_entered()
        client.half_close()
        other.get()  # the loop has come round, and has seen the end
        gate.open()
        assert client.reply().body == b"/held"
        assert client.is_closed()

    def test_a_streamed_response_is_delivered_whole(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        client = client_of(serve(Blocks(MIB), response_buffer_size=4096))
        client.request()
        client.half_close()
        assert len(client.reply().body) == MIB
        assert client.is_closed()

    def test_the_connection_closes_when_the_client_has_read_a_response_that_waited_for_it(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        # The application is done when half of this has been taken: socket buffers are smaller
        # than the rest.
        app = Blocks(28 * MIB)
        server = serve(app, response_buffer_size=32 * MIB)
        client, other = client_of(server), client_of(server)
        client.request()
        client.half_close()
        assert app.was_closed.wait(TIMEOUT)
        other.request("HEAD")
        other.reply("HEAD")  # the loop has come round
        assert len(client.reply().body) == 28 * MIB
        assert client.is_closed()

    def test_pipelined_requests_are_all_answered(self, serve: Serve, client_of: ClientOf) -> None:
        gate = Gate()
        server = serve(gate)
        client, other = client_of(server), client_of(server)
        for target in ("/held", "/second", "/third"):
            client.request(target=target)
        gate.wait_until_entered()
        client.half_close()
        other.get()
        gate.open()
        bodies = [client.reply().body for _ in range(3)]
        assert bodies == [b"/held", b"/second", b"/third"]
        assert client.is_closed()

    @pytest.mark.parametrize(
        "sent",
        [
            pytest.param(b"", id="nothing"),
            pytest.param(b"\r\n", id="an empty line"),
            pytest.param(b"GET / HTTP/1.1\r\nHost: te", id="half a head"),
            pytest.param(
                b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nspam", id="half a body"
            ),
            pytest.param(
                b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nspam\r\n",
                id="no last chunk",
            ),
        ],
    )
    def test_an_unfinished_request_is_never_run(
        self, serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture, sent: bytes
    ) -> None:
        app = Paths()
        client = client_of(serve(app))
        client.send(sent)
        client.half_close()
        client.read_all()  # RFC 9112 8: it may be answered with an error, or not
        assert (app.calls, messages(caplog.records)) == ([], [])


def test_connections_do_not_wait_for_each_other(serve: Serve, client_of: ClientOf) -> None:
    gate = Gate()
    server = serve(gate)
    clients: list[Client] = [client_of(server) for _ in range(5)]
    clients[0].request(target="/held")
    gate.wait_until_entered()
    clients[1].send(b"GET / HT")
    assert [client.get().status for client in clients[2:]] == [200, 200, 200]
    gate.open()
    assert clients[0].reply().status == 200
