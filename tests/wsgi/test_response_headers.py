"""The status and headers of an application: what is refused, what is sent, what the server adds."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Any

import pytest

from asyncwsgi.errors import ApplicationError
from asyncwsgi.http1.encoder import SERVER_NAME
from asyncwsgi.wsgi.response import Headers
from tests.wsgi.recording import DATE, PLAIN, Recording, length, started


class Claiming:
    """Says that it is a str, as a proxy of one does, and is none."""

    __class__ = property(lambda self: str)


REFUSED: list[Any] = [
    pytest.param(b"200 OK", PLAIN, id="status as bytes"),
    pytest.param(200, PLAIN, id="status as a number"),
    pytest.param(None, PLAIN, id="no status"),
    pytest.param(Claiming(), PLAIN, id="status that claims to be a str"),
    pytest.param("", PLAIN, id="empty status"),
    pytest.param("200", PLAIN, id="status without a space"),
    pytest.param("OK", PLAIN, id="status without a number"),
    pytest.param(" 200 OK", PLAIN, id="status behind a space"),
    pytest.param("20 OK", PLAIN, id="status of two digits"),
    pytest.param("2000 OK", PLAIN, id="status of four digits"),
    pytest.param("20\u0660 OK", PLAIN, id="status of other digits"),
    pytest.param("000 OK", PLAIN, id="status below all classes"),
    # RFC 9110 15.2: interim; nothing but the server's own 100 goes before the final response.
    pytest.param("100 Continue", PLAIN, id="status 100"),
    pytest.param("101 Switching Protocols", PLAIN, id="status 101"),
    pytest.param("200 OK\r\nX-Evil: 1", PLAIN, id="status with a line end"),
    pytest.param("200 OK\n", PLAIN, id="status with a line end at its end"),
    pytest.param("200 OK\0", PLAIN, id="status with a NUL"),
    pytest.param("200 \u20ac", PLAIN, id="status beyond latin-1"),
    pytest.param("200 OK", tuple(PLAIN), id="headers as a tuple"),
    pytest.param("200 OK", dict(PLAIN), id="headers as a dict"),
    pytest.param("200 OK", iter(PLAIN), id="headers as an iterator"),
    pytest.param("200 OK", None, id="no headers"),
    pytest.param("200 OK", [["X-A", "1"]], id="a header as a list"),
    pytest.param("200 OK", ["ab"], id="a header as a string"),
    pytest.param("200 OK", [None], id="a header as None"),
    pytest.param("200 OK", [()], id="a header of nothing"),
    pytest.param("200 OK", [("X-A",)], id="a header of one"),
    pytest.param("200 OK", [("X-A", "1", "2")], id="a header of three"),
    pytest.param("200 OK", [(b"X-A", "1")], id="name as bytes"),
    pytest.param("200 OK", [(["X-A"], "1")], id="name as a list"),
    pytest.param("200 OK", [(None, "1")], id="name as None"),
    pytest.param("200 OK", [("X-A", b"1")], id="value as bytes"),
    pytest.param("200 OK", [("X-A", 1)], id="value as a number"),
    pytest.param("200 OK", [("X-A", None)], id="value as None"),
    pytest.param("200 OK", [("X-A", Claiming())], id="value that claims to be a str"),
    pytest.param("200 OK", [("Content-Length", 1)], id="length as a number"),
    pytest.param("200 OK", [("", "1")], id="empty name"),
    pytest.param("200 OK", [("X A", "1")], id="name with a space"),
    pytest.param("200 OK", [("X-A ", "1")], id="name before a space"),
    pytest.param("200 OK", [("X-A:", "1")], id="name with a colon"),
    pytest.param("200 OK", [("X-A\r\nX-Evil", "1")], id="name with a line end"),
    pytest.param("200 OK", [("X-A\n", "1")], id="name with a line end at its end"),
    pytest.param("200 OK", [("X-\xe4", "1")], id="name beyond ASCII"),
    pytest.param("200 OK", [("X-A", "1\r\nX-Evil: 1")], id="value with a line end"),
    pytest.param("200 OK", [("X-A", "1\nX-Evil: 1")], id="value with a bare LF"),
    pytest.param("200 OK", [("X-A", "1\rX-Evil: 1")], id="value with a bare CR"),
    pytest.param("200 OK", [("X-A", "1\n")], id="value with a line end at its end"),
    pytest.param("200 OK", [("X-A", "1\r\n 2")], id="folded value"),
    pytest.param("200 OK", [("X-A", "\0")], id="value with a NUL"),
    pytest.param("200 OK", [("X-A", "\x1b[0m")], id="value with an escape"),
    pytest.param("200 OK", [("X-A", "\x7f")], id="value with a DEL"),
    pytest.param("200 OK", [("X-A", "\u20ac")], id="value beyond latin-1"),
    pytest.param("200 OK", [("X-A", "\udc80")], id="value with a surrogate"),
    pytest.param("200 OK", [("X-A", "1"), ("X-B", "\n")], id="second value"),
    pytest.param("200 OK", [("Content-Length", "spam")], id="length in words"),
    pytest.param("200 OK", [("Content-Length", "")], id="empty length"),
    pytest.param("200 OK", [("Content-Length", "-1")], id="negative length"),
    pytest.param("200 OK", [("Content-Length", "+1")], id="length with a sign"),
    pytest.param("200 OK", [("Content-Length", "1_0")], id="length with an underscore"),
    pytest.param("200 OK", [("Content-Length", "\xb2")], id="length of other digits"),
    pytest.param("200 OK", [("Content-Length", "1"), ("content-length", "2")], id="two lengths"),
    *[
        # RFC 9110 7.6.1; PEP 3333: "a server should consider it a fatal error".
        pytest.param("200 OK", [(name, "spam")], id=f"hop-by-hop {name}")
        for name in (
            "Proxy-Authenticate", "Proxy-Authorization", "TE", "Trailer", "Trailers",
            "Transfer-Encoding", "TRANSFER-encoding", "Upgrade",
        )
    ],
]  # fmt: skip


@pytest.mark.parametrize(("status", "headers"), REFUSED)
def test_what_must_not_be_sent_is_refused_at_once(status: Any, headers: Any) -> None:
    # Twice: statuses and the names of headers are remembered.
    for _ in range(2):
        response = Recording()
        with pytest.raises(ApplicationError) as refused:
            response.start_response(status, headers)
        assert isinstance(refused.value, AssertionError)
        assert str(refused.value).isprintable()
        assert response.transmitted == []


@pytest.mark.parametrize(
    "status", ["200 OK", "200 ", "204 No Content", "299 \xe9\ttab", "599 x", "999 y"]
)
def test_status_lines_are_sent_as_they_are(status: str) -> None:
    response = started(status)
    response.finish()
    assert response.wire.startswith(f"HTTP/1.1 {status}\r\n".encode("latin-1"))
    assert response.status == int(status[:3])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("X-A", "", id="empty value"),
        pytest.param("X-A", " 1\t2 ", id="spaces and tabs"),
        pytest.param("X-A", "\x80\xe9\xff", id="latin-1"),
        pytest.param("!#$%&'*+-.^_`|~0aZ", "1", id="name of every kind of character"),
    ],
)
def test_headers_are_sent_as_they_are(name: str, value: str) -> None:
    response = started(headers=[(name, value)])
    response.finish()
    assert f"\r\n{name}: {value}\r\n".encode("latin-1") in response.wire


def test_headers_keep_their_order_and_their_duplicates() -> None:
    headers = [("X-B", "1"), ("Set-Cookie", "a=1"), *PLAIN, ("Set-Cookie", "b=2"), ("x-a", "")]
    response = started(headers=headers)
    response.finish()
    sent = [(name.decode(), value.decode()) for name, value in response.received().headers]
    assert sent[: len(headers)] == headers


class MediaType(str, Enum):  # noqa: UP042 - unlike a StrEnum it formats as "MediaType.JSON"
    """As applications write them."""

    JSON = "application/json"


class Lying(str):
    """A str whose methods speak of another text, and find nothing wrong with it."""

    __slots__ = ()

    def __str__(self) -> str:
        return "spam\r\nX-Forged: 1"

    __repr__ = __str__

    def __format__(self, _: str) -> str:
        return str(self)

    def __eq__(self, _: object) -> bool:
        return True

    def __hash__(self) -> int:
        return hash("X-Known")

    def isascii(self) -> bool:
        return True

    def isprintable(self) -> bool:
        return True

    def lower(self) -> str:
        return "x-known"


class LyingStatus(Lying):
    """The same, but it passes for another text that is known."""

    __slots__ = ()

    def __hash__(self) -> int:
        return hash("200 OK")


class TestSubclassesOfStr:
    """PEP 3333 wants str; what is sent are the characters that were checked."""

    def test_an_enum_is_sent_as_its_value(self) -> None:
        response = started(headers=[("Content-Type", MediaType.JSON)])
        response.finish()
        assert response.received().header(b"content-type") == b"application/json"

    @pytest.mark.parametrize(
        ("status", "name", "value"),
        [
            pytest.param(Lying("200 Fine"), "X-A", "1", id="status"),
            pytest.param("200 Fine", Lying("X-A"), "1", id="name"),
            pytest.param("200 Fine", "X-A", Lying("1"), id="value"),
        ],
    )
    def test_their_characters_are_sent(self, status: str, name: str, value: str) -> None:
        response = started(status, [(name, value)])
        response.finish()
        assert response.wire.startswith(b"HTTP/1.1 200 Fine\r\nX-A: 1\r\n")

    @pytest.mark.parametrize("name", ["Connection", "Keep-Alive"])
    def test_their_characters_tell_special_names(self, name: str) -> None:
        response = started(headers=[(Lying(name), "timeout=5")])
        response.finish()
        assert b"timeout=5" not in response.wire

    @pytest.mark.parametrize(
        ("status", "header"),
        [
            pytest.param(LyingStatus("200 OK\r\nX-Evil: 1"), PLAIN[0], id="status"),
            pytest.param("200 OK", (Lying("X-Evil: 1\r\nX-A"), "1"), id="name"),
            pytest.param("200 OK", (Lying("Transfer-Encoding"), "chunked"), id="hop-by-hop name"),
            pytest.param("200 OK", ("X-A", Lying("1\r\nX-Evil: 1")), id="value"),
        ],
    )
    def test_their_characters_are_checked(self, status: str, header: tuple[str, str]) -> None:
        started("200 OK", [("X-Known", "1")])  # what the liars pass for
        with pytest.raises(ApplicationError):
            Recording().start_response(status, [header])


def test_a_list_that_reads_differently_each_time_is_read_once() -> None:
    class Fickle(list[tuple[str, str]]):
        def __iter__(self) -> Iterator[tuple[str, str]]:
            return iter(PLAIN)

    response = started(headers=Fickle([("X-A", "1\r\nX-Evil: 1")]))
    response.finish()
    assert b"Evil" not in response.wire
    assert response.received().header(b"content-type") == b"text/plain"


class TestServersHeaders:
    """Date, Server and Connection."""

    def test_date_and_server_are_added(self) -> None:
        response = started()
        response.finish()
        received = response.received()
        assert received.header(b"date") == DATE.encode()
        assert received.header(b"server") == b"asyncwsgi"

    @pytest.mark.parametrize("name", ["Date", "date", "Server", "SERVER"])
    def test_those_of_the_application_stay(self, name: str) -> None:
        response = started(headers=[(name, "spam")])
        response.finish()
        received = response.received()
        assert received.header(name.lower().encode()) == b"spam"
        assert {b"date", b"server"} <= {key.lower() for key, _ in received.headers}

    @pytest.mark.parametrize(
        "headers",
        [
            pytest.param([("Connection", "close")], id="close"),
            pytest.param([("connection", "Close")], id="close in other letters"),
            pytest.param([("Connection", "keep-alive, close")], id="close in a list"),
            pytest.param([("Connection", "x"), ("Connection", "close")], id="close in two lines"),
        ],
    )
    def test_a_close_of_the_application_is_honoured(self, headers: Headers) -> None:
        response = started(headers=[*length(4), *headers])
        response.send(b"spam")
        response.finish()
        received = response.received()
        assert received.header(b"connection") == b"close"
        assert (received.keep_alive, response.keep_alive) == (False, False)

    @pytest.mark.parametrize(
        "header",
        [("Connection", "keep-alive"), ("CONNECTION", "Keep-Alive"), ("Keep-Alive", "timeout=5")],
        ids="{0[0]}: {0[1]}".format,
    )
    def test_a_keep_alive_of_the_application_is_taken_off(self, header: tuple[str, str]) -> None:
        response = started(headers=[*PLAIN, header, ("X-A", "1")])
        response.finish()
        received = response.received()
        assert received.header(header[0].lower().encode()) is None
        assert received.header(b"x-a") == b"1"
        assert (received.keep_alive, response.keep_alive) == (True, True)

    def test_a_keep_alive_of_the_application_keeps_nothing_open(self) -> None:
        response = Recording(can_keep=False)
        response.start_response("200 OK", [*length(0), ("Connection", "keep-alive")])
        response.finish()
        assert response.received().header(b"connection") == b"close"
        assert not response.keep_alive


def test_statuses_and_names_without_number_are_no_different() -> None:
    # What is remembered of them is bounded; what is not remembered is checked each time.
    for number in range(2000):
        Recording().start_response(f"200 {number}", [(f"X-{number}", "1")])
    response = started(
        "200 Unheard Of",
        [("X-Unheard-Of", "1"), ("dAtE", "then"), ("cOnNeCtIoN", "close")],
    )
    response.finish()
    assert response.wire.startswith(b"HTTP/1.1 200 Unheard Of\r\nX-Unheard-Of: 1\r\n")
    assert response.received().header(b"date") == b"then"
    assert not response.keep_alive
    with pytest.raises(ApplicationError, match="hop-by-hop"):
        Recording().start_response("200 OK", [("tRaNsFeR-eNcOdInG", "chunked")])
    with pytest.raises(ApplicationError, match="final status"):
        Recording().start_response("200 Unheard\nOf", PLAIN)


def test_a_101_is_for_whoever_has_said_who_goes_on() -> None:
    headers = [("Upgrade", "websocket"), ("Content-Length", "0")]
    with pytest.raises(ApplicationError, match="final status"):
        Recording().start_response("101 Switching Protocols", headers)
    response = Recording(can_keep=False)
    response.may_switch = True
    response.start_response("101 Switching Protocols", headers)
    response.finish()
    # RFC 9110 8.6: no Content-Length; 7.8: who sends Upgrade says so in Connection.
    assert response.wire.splitlines() == [
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        f"Server: {SERVER_NAME}".encode(),
        f"Date: {DATE}".encode(),
        b"",
    ]
    assert response.responder.has_switched
    with pytest.raises(ApplicationError, match="final status"):  # the permission is one's own
        Recording().start_response("101 Switching Protocols", headers)


def test_a_426_says_to_what_it_would_upgrade() -> None:
    response = started("426 Upgrade Required", [*PLAIN, ("Upgrade", "websocket")])
    response.finish()
    assert response.received().header(b"upgrade") == b"websocket"
    assert response.received().header(b"connection") == b"Upgrade"
    assert response.keep_alive
    assert not response.responder.has_switched
