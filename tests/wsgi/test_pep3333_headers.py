"""PEP 3333 on status and headers: what may be sent, and what the server adds."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import TYPE_CHECKING, Any

import pytest

from tests.client import Reply
from tests.conftest import Serve
from tests.wsgi.staging import PLAIN, ClientOf, Environ, Headers, answer, read_head

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication


def reply_of(serve: Serve, client_of: ClientOf, application: WSGIApplication) -> Reply:
    return client_of(serve(application)).get()


REFUSED: list[Any] = [
    pytest.param(b"200 OK", PLAIN, id="status as bytes"),
    pytest.param(200, PLAIN, id="status as a number"),
    pytest.param("200", PLAIN, id="status without a space"),
    pytest.param("OK", PLAIN, id="status without a number"),
    pytest.param("2000 OK", PLAIN, id="status of four digits"),
    pytest.param("100 Continue", PLAIN, id="status that is not final"),
    pytest.param("200 OK\r\nX-Evil: 1", PLAIN, id="status with a line end"),
    pytest.param("200 \u20ac", PLAIN, id="status beyond latin-1"),
    pytest.param("200 OK", tuple(PLAIN), id="headers as a tuple"),
    pytest.param("200 OK", dict(PLAIN), id="headers as a dict"),
    pytest.param("200 OK", iter(PLAIN), id="headers as an iterator"),
    pytest.param("200 OK", None, id="no headers"),
    pytest.param("200 OK", [["X-Spam", "1"]], id="a header as a list"),
    pytest.param("200 OK", ["ab"], id="a header as a string"),
    pytest.param("200 OK", [("X-Spam",)], id="a header of one"),
    pytest.param("200 OK", [("X-Spam", "1", "2")], id="a header of three"),
    pytest.param("200 OK", [(b"X-Spam", "1")], id="name as bytes"),
    pytest.param("200 OK", [("X-Spam", b"1")], id="value as bytes"),
    pytest.param("200 OK", [("X-Spam", 1)], id="value as a number"),
    pytest.param("200 OK", [("X-Spam", None)], id="value None"),
    pytest.param("200 OK", [("", "1")], id="no name"),
    pytest.param("200 OK", [("X Spam", "1")], id="name with a space"),
    pytest.param("200 OK", [("X-Spam:", "1")], id="name with a colon"),
    pytest.param("200 OK", [("X-Spam\r\nX-Evil", "1")], id="name with a line end"),
    pytest.param("200 OK", [("X-Sp\u00e4m", "1")], id="name beyond ASCII"),
    pytest.param("200 OK", [("X-Spam", "1\r\nX-Evil: 1")], id="value with a line end"),
    pytest.param("200 OK", [("X-Spam", "1\nX-Evil: 1")], id="value with a bare LF"),
    pytest.param("200 OK", [("X-Spam", "1\rX-Evil: 1")], id="value with a bare CR"),
    pytest.param("200 OK", [("X-Spam", "1\n")], id="value with a line end at its end"),
    pytest.param("200 OK", [("X-Spam", "\0")], id="value with a NUL"),
    pytest.param("200 OK", [("X-Spam", "\x7f")], id="value with a DEL"),
    pytest.param("200 OK", [("X-Spam", "\u20ac")], id="value beyond latin-1"),
    pytest.param("200 OK", [("Content-Length", "spam")], id="length that is no number"),
    pytest.param("200 OK", [("Content-Length", "-1")], id="negative length"),
    pytest.param("200 OK", [("Content-Length", "1"), ("Content-Length", "2")], id="two lengths"),
    *[
        pytest.param("200 OK", [(name, "spam")], id=f"hop-by-hop {name}")
        for name in (
            "Proxy-Authenticate", "Proxy-Authorization", "TE", "Trailer", "Trailers",
            "Transfer-Encoding", "transfer-encoding", "Upgrade",
        )
    ],
]  # fmt: skip


@pytest.mark.parametrize(("status", "headers"), REFUSED)
def test_start_response_refuses_what_must_not_be_sent(
    status: Any, headers: Any, serve: Serve, client_of: ClientOf
) -> None:
    raised: list[BaseException] = []

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            start_response(status, headers)
        except AssertionError as error:
            raised.append(error)
            raise
        return [b"spam"]

    # Not validated: wsgiref.validate would refuse most of these in place of the server.
    reply = client_of(serve(application, validate=False)).get()
    assert len(raised) == 1, "start_response() let it pass"
    assert (reply.status, reply.header("X-Evil")) == (500, None)


def answer_with(status: str, headers: Headers) -> WSGIApplication:
    return answer(lambda: [b"spam"], headers, status)


def test_status_and_headers_are_sent_as_latin_1(serve: Serve, client_of: ClientOf) -> None:
    headers = [*PLAIN, ("X-Spam", "\xe9\xff")]
    client = client_of(serve(answer_with("200 \xe9 ok", headers)))
    client.request()
    head = read_head(client)
    assert head[0] == b"HTTP/1.1 200 \xe9 ok"
    assert b"X-Spam: \xe9\xff" in head


def test_an_enum_of_str_is_sent_as_its_value(serve: Serve, client_of: ClientOf) -> None:
    class Kind(str, Enum):  # noqa: UP042 - unlike a StrEnum it formats as "Kind.JSON"
        STATUS = "200 Fine"
        JSON = "application/json"

    headers: Headers = [("Content-Type", Kind.JSON)]
    # Not validated: wsgiref's validator accepts no subclass of str.
    client = client_of(serve(answer_with(Kind.STATUS, headers), validate=False))
    client.request()
    head = read_head(client)
    assert head[0] == b"HTTP/1.1 200 Fine"
    assert b"Content-Type: application/json" in head


@pytest.mark.parametrize("validate", [True, False], ids=["chunked", "with a derived length"])
def test_headers_keep_their_order_and_duplicates(
    validate: bool, serve: Serve, client_of: ClientOf
) -> None:
    headers = [("X-B", "1"), ("Set-Cookie", "a=1"), *PLAIN, ("Set-Cookie", "b=2"), ("x-a", "")]
    # Not validated, the server sees that there is one block, and adds Content-Length.
    server = serve(answer_with("200 OK", headers), validate=validate)
    assert client_of(server).get().headers[: len(headers)] == headers


def test_date_and_server_are_added(serve: Serve, client_of: ClientOf) -> None:
    reply = reply_of(serve, client_of, answer_with("200 OK", PLAIN))
    assert reply.header("Server") == "asyncwsgi"
    assert (reply.header("Date") or "").endswith(" GMT")


@pytest.mark.parametrize("name", ["Date", "date", "Server", "SERVER"])
def test_date_and_server_of_the_application_stay(
    name: str, serve: Serve, client_of: ClientOf
) -> None:
    reply = reply_of(serve, client_of, answer_with("200 OK", [*PLAIN, (name, "spam")]))
    assert reply.header(name) == "spam"


def test_the_list_of_headers_stays_as_it_was(serve: Serve, client_of: ClientOf) -> None:
    # PEP 3333 lets the server change it; applications that send a constant list live longer if
    # it does not.
    headers = [*PLAIN, ("Connection", "close")]
    reply_of(serve, client_of, answer_with("200 OK", headers))
    assert headers == [*PLAIN, ("Connection", "close")]


def test_connection_close_from_the_application_is_honoured(
    serve: Serve, client_of: ClientOf
) -> None:
    client = client_of(serve(answer_with("200 OK", [*PLAIN, ("connection", "Close")])))
    reply = client.get()
    assert (reply.header("Connection"), reply.body) == ("close", b"spam")
    assert client.is_closed()


@pytest.mark.parametrize(
    "header", [("Connection", "keep-alive"), ("Keep-Alive", "timeout=99")], ids=lambda h: h[0]
)
def test_keep_alive_from_the_application_is_not_sent(
    header: tuple[str, str], serve: Serve, client_of: ClientOf
) -> None:
    client = client_of(serve(answer_with("200 OK", [*PLAIN, header])))
    client.send(b"GET / HTTP/1.0\r\n\r\n")
    reply = client.reply()
    assert (reply.header("Connection"), reply.header("Keep-Alive")) == ("close", None)
    assert client.is_closed()
