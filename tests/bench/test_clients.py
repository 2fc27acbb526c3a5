"""What is sent, what the applications answer, and how the clients find out that it is right."""

from __future__ import annotations

import socket
from typing import Any

import apps
import h11
import idle_client
import pytest
from bulk_client import AnswerError, Response
from load import LoadError, check_length
from measuring import A_NUMBER
from probe import Address, ask
from traffic import FORM, HOST, NUMBER, TRAFFICS, Traffic

from asyncwsgi.testing import LiveServer

BODY = b"x" * 300
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n" + BODY
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"c8\r\n" + BODY[:200] + b"\r\n64;a=b\r\n" + BODY[200:] + b"\r\n0\r\nTrailer: 1\r\n\r\n"
)


def request_to(traffic: Traffic, host: str) -> bytes:
    return traffic.request.replace(HOST.encode(), host.encode()).replace(NUMBER.encode(), A_NUMBER)


@pytest.mark.parametrize("traffic", TRAFFICS, ids=lambda traffic: traffic.name)
def test_a_request_is_one_whole_request(traffic: Traffic) -> None:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(request_to(traffic, "127.0.0.1:80"))
    events: list[Any] = []
    while not events or not isinstance(events[-1], h11.EndOfMessage):
        events.append(connection.next_event())
        assert events[-1] is not h11.NEED_DATA
    assert connection.trailing_data == (b"", False)


def test_the_form_is_as_large_as_it_is_said_to_be() -> None:
    assert len(FORM) == 1024


@pytest.mark.parametrize(
    "traffic",
    # The file is made by the first run, and is no test's business.
    [traffic for traffic in TRAFFICS if traffic.name != "file" and not traffic.tls],
    ids=lambda traffic: traffic.name,
)
def test_an_application_answers_as_it_is_expected_to(traffic: Traffic) -> None:
    with LiveServer(getattr(apps, traffic.app)) as server:
        address = Address("127.0.0.1", server.port, tls=False)
        answer = ask(address, request_to(traffic, f"127.0.0.1:{server.port}"))
    assert answer.status == 200
    assert answer.body == traffic.answer.replace(NUMBER.encode(), A_NUMBER)


def test_the_size_of_an_answer_is_that_of_all_that_came() -> None:
    request = b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
    with LiveServer(apps.plain) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(request)
            received = client.makefile("rb").read()
        assert ask(Address("127.0.0.1", server.port, tls=False), request).size == len(received)


@pytest.mark.parametrize("received", [1000, 1250, 1299, 1300])
def test_answers_are_of_the_length_that_was_compared(received: int) -> None:
    """On each of three connections a last answer may have come in part."""
    check_length({"requests": 10, "bytes": received}, 100, 3)


@pytest.mark.parametrize("received", [999, 1301])
def test_answers_of_another_length_make_no_figure(received: int) -> None:
    with pytest.raises(LoadError, match=f"10 answers of 100 bytes came to {received}"):
        check_length({"requests": 10, "bytes": received}, 100, 3)


@pytest.mark.parametrize("step", [1, 7, 1000])
@pytest.mark.parametrize("response", [WHOLE, CHUNKED], ids=["whole", "chunked"])
def test_a_response_is_complete_with_its_last_byte(response: bytes, step: int) -> None:
    reader = Response()
    for begin in range(0, len(response), step):
        assert not reader.is_complete
        reader.receive(memoryview(response)[begin : begin + step])
    assert reader.is_complete
    assert reader.body_size == len(BODY)


def test_what_follows_a_response_is_an_error() -> None:
    with pytest.raises(AnswerError, match="more came"):
        Response().receive(memoryview(WHOLE + b"x"))


def test_another_status_is_an_error() -> None:
    with pytest.raises(AnswerError, match="503"):
        Response().receive(memoryview(b"HTTP/1.1 503 No\r\n\r\n"))


def test_a_connection_that_is_closed_is_not_idle() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        clients: list[socket.socket] = []
        idle_client.open_more(clients, 3, listener.getsockname())
        accepted = [listener.accept()[0] for _ in clients]
        assert idle_client.count_idle(clients) == 3
        accepted[0].close()
        clients[0].recv(1)
        assert idle_client.count_idle(clients) == 2
        for end in (*clients, *accepted):
            end.close()
