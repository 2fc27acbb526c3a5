"""The access log of a running server: which requests have a line, and what it says."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asyncwsgi import Server
from asyncwsgi.access_log import AccessEntry, AccessLogger
from asyncwsgi.frontends.http import HttpConnection
from tests.apps import Endless, Held, echo, hello
from tests.client import connect
from tests.conftest import Serve
from tests.server.helpers import get

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

ACCESS = "asyncwsgi.access"
Records = Callable[[], list[Any]]


@pytest.fixture
def access(caplog: pytest.LogCaptureFixture) -> Records:
    """The access records so far; complete once the server is closed."""
    caplog.set_level(logging.INFO, "asyncwsgi")
    return lambda: [record for record in caplog.records if record.name == ACCESS]


class Telling(AccessLogger):
    """Remembers the entries it was given."""

    entries: list[AccessEntry]

    def __init__(self, line_format: str) -> None:
        super().__init__(line_format)
        type(self).entries = []

    def log(self, entry: AccessEntry) -> None:
        self.entries.append(entry)
        super().log(entry)


class TellingServer(Server):
    access_logger_class = Telling


class Noticing(HttpConnection):
    """Tells when the server has noticed that the client left."""

    noticed = threading.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.noticed.clear()
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.noticed.set()


class NoticingServer(Server):
    connection_class = Noticing


def failing(_environ: dict[str, Any], _start_response: StartResponse) -> Iterable[bytes]:
    raise RuntimeError("a fault of the application")


def tracing(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    environ["spam.user"] = "ham\n"
    start_response("200 OK", [("Content-Type", "text/x-spam"), ("Content-Length", "0")])
    return []


class TestANamedField:
    FORMAT = (
        "%(request:traceparent)s %(request:content-type)s %(response:Content-Type)s "
        "%(environ:spam.user)s %(request:absent)s"
    )

    def test_is_a_header_or_a_key_of_the_environ(self, serve: Serve, access: Records) -> None:
        server = serve(tracing, access_log_format=self.FORMAT)
        trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        with connect(server.addresses[0]) as client:
            client.get("/", traceparent=trace, Content_Type='te"xt')
        server.close()
        (record,) = access()
        assert record.getMessage() == f"{trace} te\\x22xt text/x-spam ham\\x0a -"
        assert record.__dict__["request:traceparent"] == trace


class TestARecord:
    def test_carries_the_fields_of_its_request(self, serve: Serve, access: Records) -> None:
        server = serve(hello)
        with connect(server.addresses[0]) as client:
            client.get("/path?query=1", Referer="http://a/", User_Agent="tests/1")
        server.close()
        (record,) = access()
        fields = ("client", "method", "target", "protocol", "status", "referer", "user_agent")
        assert [getattr(record, field) for field in fields] == [
            "127.0.0.1", "GET", "/path?query=1", "HTTP/1.1", 200, "http://a/", "tests/1",
        ]  # fmt: skip
        assert (record.levelno, record.seconds >= 0) == (logging.INFO, True)

    def test_is_a_line_in_the_format_that_was_asked_for(
        self, serve: Serve, access: Records
    ) -> None:
        server = serve(hello, access_log_format="%(status)d %(method)s %(target)s")
        get(server.addresses[0], "/path")
        server.close()
        assert [record.getMessage() for record in access()] == ["200 GET /path"]

    def test_counts_the_bytes_that_went_over_the_wire(self, serve: Serve, access: Records) -> None:
        server = serve(hello)
        with connect(server.addresses[0]) as client:
            client.request(Connection="close")
            received = client.read_all()
        server.close()
        assert [record.size for record in access()] == [len(received)]

    def test_has_a_dash_for_what_is_unknown(
        self, serve: Serve, access: Records, tmp_path: Path
    ) -> None:
        server = serve(hello, bind=f"unix:{tmp_path}/socket")
        get(server.addresses[0])
        server.close()
        (record,) = access()
        assert (record.client, record.referer, record.user_agent) == ("-", "-", "-")

    def test_holds_no_control_characters_of_the_client(self, serve: Serve, access: Records) -> None:
        # h11 lets ESC pass in header values; on a terminal it would begin a command.
        server = serve(hello, access_log_format='"%(user_agent)s" "%(referer)s"')
        with connect(server.addresses[0]) as client:
            client.get(User_Agent='\x1b[31m" 200 "', Referer="\x7f\x9b\\")
        server.close()
        (record,) = access()
        assert record.user_agent == r"\x1b[31m\x22 200 \x22"
        assert record.referer == r"\x7f\x9b\x5c"
        assert record.getMessage() == rf'"{record.user_agent}" "{record.referer}"'


class TestEveryRequestTheApplicationGets:
    def test_has_one_line(self, serve: Serve, access: Records) -> None:
        server = serve(hello)
        with connect(server.addresses[0]) as client:
            for number in range(5):
                client.get(f"/{number}")
        server.close()
        assert [record.target for record in access()] == ["/0", "/1", "/2", "/3", "/4"]

    def test_has_one_with_500_if_the_application_fails(self, serve: Serve, access: Records) -> None:
        server = serve(failing)
        assert get(server.addresses[0]).status == 500
        server.close()
        assert [record.status for record in access()] == [500]

    def test_has_one_with_499_if_the_client_left_before_the_response(
        self, serve: Serve, access: Records
    ) -> None:
        # 499 is nginx's, for the same. The application does answer, but nobody gets it.
        held = Held()
        server = serve(held, validate=False, server_class=NoticingServer)
        with connect(server.addresses[0]) as client:
            client.request()
            held.wait_until_entered()
            client.reset()
        assert Noticing.noticed.wait(10)
        held.release()
        server.close()
        assert [(record.status, record.size) for record in access()] == [(499, 0)]

    def test_has_one_with_499_if_the_client_left_before_its_body_was_complete(
        self, serve: Serve, access: Records
    ) -> None:
        server = serve(echo)
        with connect(server.addresses[0]) as client:
            client.send(
                b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n"
                b"Expect: 100-continue\r\n\r\n"
            )
            assert client.read_line() == b"HTTP/1.1 100 Continue\r\n"
            client.read_line()
            client.reset()
        server.close()
        assert [record.status for record in access()] == [499]

    def test_has_one_with_its_status_if_the_client_left_in_the_middle(
        self, serve: Serve, access: Records
    ) -> None:
        app = Endless()
        server = serve(app)
        with connect(server.addresses[0]) as client:
            client.request()
            assert client.read_line() == b"HTTP/1.1 200 OK\r\n"
        assert app.was_closed.wait(10)
        server.close()
        (record,) = access()
        assert (record.status, record.size > 0) == (200, True)


class TestRequestsTheServerRefuses:
    def test_have_no_access_line_but_one_line_of_the_server(
        self, serve: Serve, access: Records, caplog: pytest.LogCaptureFixture
    ) -> None:
        server = serve(hello)
        with connect(server.addresses[0]) as client:
            client.send(b"GET / HTTP/1.1\r\nNo Host\r\n\r\n")
            assert client.reply().status == 400
        server.close()
        assert access() == []
        warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
        assert len(warnings) == 1
        assert "refused with 400: " in warnings[0]


class TestNobodyListens:
    """Then entries are not even made."""

    def test_because_the_option_says_so(self, serve: Serve, access: Records) -> None:
        server = serve(hello, server_class=TellingServer, access_log=False)
        get(server.addresses[0])
        server.close()
        assert (Telling.entries, access()) == ([], [])

    def test_because_the_level_is_higher(
        self, serve: Serve, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.WARNING, ACCESS)
        server = serve(hello, server_class=TellingServer)
        get(server.addresses[0])
        server.close()
        assert Telling.entries == []

    def test_until_the_level_is_lowered_while_it_runs(
        self, serve: Serve, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.WARNING, ACCESS)
        server = serve(hello, server_class=TellingServer)
        with connect(server.addresses[0]) as client:
            client.get("/unseen", Connection="close")
            assert client.is_closed()  # which comes when the request has been logged, or not
        caplog.set_level(logging.INFO, ACCESS)
        get(server.addresses[0], "/seen")
        server.close()
        assert [entry.target for entry in Telling.entries] == ["/seen"]
