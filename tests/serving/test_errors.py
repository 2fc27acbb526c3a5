"""What an application raises: the page, the log, the debugger, or out of the server."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from http.client import IncompleteRead
from typing import Any

import pytest
from werkzeug.debug import DebuggedApplication

from asyncwsgi.serving import ThreadedWSGIServer
from tests.client import Client
from tests.serving.apps import PLAIN, hello, raising
from tests.serving.conftest import Running, Start

ClientOf = Callable[[Running], Client]


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, "werkzeug"):
        yield caplog


@pytest.fixture
def uncaught(monkeypatch: pytest.MonkeyPatch) -> list[threading.ExceptHookArgs]:
    """What threads end with."""
    seen: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", seen.append)
    return seen


class TestWithoutPassthrough:
    @pytest.mark.parametrize("threaded", [True, False])
    def test_the_client_gets_werkzeugs_page_and_the_log_the_traceback(
        self,
        start: Start,
        client_of: ClientOf,
        log: pytest.LogCaptureFixture,
        threaded: bool,
    ) -> None:
        running = start(raising(ValueError("oops")), threaded=threaded)
        reply = client_of(running).get()
        running.close()
        assert (reply.status, reply.reason) == (500, "INTERNAL SERVER ERROR")
        assert b"<h1>Internal Server Error</h1>" in reply.body
        (record,) = [r for r in log.records if r.levelname == "ERROR"]
        assert record.name == "werkzeug"
        assert record.getMessage().startswith("Error on request:\nTraceback")
        assert "ValueError: oops" in record.getMessage()

    def test_it_is_logged_as_a_request_that_failed(
        self, start: Start, client_of: ClientOf, log: pytest.LogCaptureFixture
    ) -> None:
        client_of(start(raising(ValueError("oops")))).get("/there")
        assert any(
            "GET /there" in r.getMessage() and " 500 -" in r.getMessage() for r in log.records
        )

    def test_a_head_that_has_not_left_is_taken_back(
        self, start: Start, client_of: ClientOf
    ) -> None:
        def application(environ: Any, start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", [*PLAIN, ("X-Kept", "no")])
            raise ValueError("late")
            yield b""

        reply = client_of(start(application)).get()
        assert (reply.status, reply.header("X-Kept")) == (500, None)

    def test_a_body_that_breaks_off_is_seen_to_be_incomplete(
        self, start: Start, client_of: ClientOf
    ) -> None:
        def application(environ: Any, start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", list(PLAIN))
            yield b"first"
            raise ValueError("in the middle")

        client = client_of(start(application))
        with pytest.raises(IncompleteRead):
            client.get()

    def test_the_server_lives_on(self, start: Start, client_of: ClientOf) -> None:
        running = start(raising(ValueError("oops")))
        assert [client_of(running).get().status for _ in range(3)] == [500, 500, 500]

    def test_a_keyboard_interrupt_of_a_view_ends_its_connection_alone(
        self, start: Start, client_of: ClientOf, uncaught: list[threading.ExceptHookArgs]
    ) -> None:
        running = start(raising(KeyboardInterrupt()))
        client = client_of(running)
        client.request()
        assert client.is_closed()
        running.server.app = hello
        assert client_of(running).get().status == 200


class TestWithPassthrough:
    def test_threads_end_with_it_and_the_client_gets_nothing(
        self, start: Start, client_of: ClientOf, uncaught: list[threading.ExceptHookArgs]
    ) -> None:
        running = start(raising(ValueError("oops")), passthrough_errors=True)
        client = client_of(running)
        client.request()
        assert client.is_closed()
        (details,) = uncaught
        assert isinstance(details.exc_value, ValueError)

    def test_the_server_lives_on(
        self, start: Start, client_of: ClientOf, uncaught: list[threading.ExceptHookArgs]
    ) -> None:
        running = start(raising(ValueError("oops")), passthrough_errors=True)
        client = client_of(running)
        client.request()
        assert client.is_closed()
        running.server.app = hello
        assert client_of(running).get().body == b"hello"

    @pytest.mark.parametrize("error", [ValueError("oops"), SystemExit(7)], ids=repr)
    def test_it_leaves_serve_forever_of_a_server_without_threads(
        self, start: Start, client_of: ClientOf, error: BaseException
    ) -> None:
        running = start(raising(error), threaded=False, passthrough_errors=True)
        client = client_of(running)
        client.request()
        assert client.is_closed()
        running.thread.join()
        assert running.error is error
        assert running.server.fileno() == -1

    def test_system_exit_leaves_it_without_passthrough_too(
        self, start: Start, client_of: ClientOf
    ) -> None:
        running = start(raising(SystemExit(3)), threaded=False)
        client = client_of(running)
        client.request()
        assert client.is_closed()
        running.thread.join()
        assert isinstance(running.error, SystemExit)

    def test_a_servers_own_handle_error_hears_of_it(
        self, start: Start, client_of: ClientOf
    ) -> None:
        heard = []

        class Own(ThreadedWSGIServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                import sys

                heard.append((sys.exc_info()[1], client_address[0]))

        error = ValueError("oops")
        running = start(raising(error), server_class=Own, passthrough_errors=True)
        client = client_of(running)
        client.request()
        assert client.is_closed()
        assert heard == [(error, "127.0.0.1")]


class TestTheDebugger:
    def test_it_logs_the_traceback_behind_its_page(
        self, start: Start, client_of: ClientOf, capsys: pytest.CaptureFixture[str]
    ) -> None:
        running = start(DebuggedApplication(raising(ValueError("oops")), pin_security=False))
        assert b"ValueError: oops" in client_of(running).get().body
        running.close()
        assert "ValueError: oops" in capsys.readouterr().err

    def test_it_shows_its_page(self, start: Start, client_of: ClientOf) -> None:
        reply = client_of(start(DebuggedApplication(raising(ValueError("oops"))))).get()
        assert reply.status == 500
        assert b"Werkzeug Debugger" in reply.body

    def test_a_response_that_had_begun_ends_with_the_original_status(
        self, start: Start, client_of: ClientOf
    ) -> None:
        # Its second start_response has no exc_info and relies on being refused.
        def application(environ: Any, start_response: Any) -> Iterator[bytes]:
            start_response("202 Accepted", list(PLAIN))
            yield b"begun"
            raise ValueError("late")

        client = client_of(start(DebuggedApplication(application), validate=False))
        client.request()
        assert client.read_line() == b"HTTP/1.1 202 Accepted\r\n"
