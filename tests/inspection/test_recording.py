"""What happened to each request, as the worker reports it."""

from __future__ import annotations

import asyncio
import base64
import contextvars
import io
import json
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import asyncwsgi
from asyncwsgi import Server
from asyncwsgi.inspection import reporter
from asyncwsgi.inspection.entries import Entry
from asyncwsgi.inspection.records import Record
from asyncwsgi.testing import Authority, LiveServer
from asyncwsgi.websockets import WebSocket
from tests.client import TIMEOUT, Client, connect
from tests.conftest import Serve
from tests.inspection.recorded import Recorded, marks_of
from tests.uwsgi.packets import request

Open = Callable[[LiveServer], Client]
PLAIN = [("Content-Type", "text/plain")]


def body_of(entry: Entry, name: str = "response_body") -> bytes:
    return base64.b64decode(entry[name]["data"])


def echo(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    body = environ["wsgi.input"].read(-1)
    start_response("200 OK", [("Content-Type", environ.get("CONTENT_TYPE") or "text/plain")])
    return [body or b"nothing"]


def answer(start_response: Any) -> list[bytes]:
    start_response("200 OK", PLAIN)
    return [b"done"]


class Held:
    """An application that goes on when it is told to."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()
        self.may_go_on = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.wait_in_view()
        return answer(start_response)

    def wait_in_view(self) -> None:
        self.has_begun.set()
        assert self.may_go_on.wait(TIMEOUT)


@pytest.fixture
def held() -> Iterator[Held]:
    app = Held()
    yield app
    app.may_go_on.set()


class TestTimeline:
    def test_of_a_request_with_a_body(
        self, serve: Serve, recorded: Recorded, client_of: Open
    ) -> None:
        client = client_of(serve(echo, server_class=recorded.server_class))
        reply = client.post("/spam", b"eggs", **{"X-A": "b"})
        entry = recorded.reports.entry("/spam")
        assert marks_of(entry) == [
            "accepted", "head", "body", "thread", "application", "first_byte", "last_byte",
            "closed",
        ]  # fmt: skip
        times = [mark["at"] for mark in entry["marks"]]
        assert times == sorted(times)
        assert times[0] <= 0.0 == times[1]
        assert entry["duration"] == times[-1]
        assert entry["state"] == "ended"
        assert (entry["status"], entry["reason"]) == (200, "OK")
        assert (entry["method"], entry["protocol"], entry["scheme"]) == ("POST", "HTTP/1.1", "http")
        assert entry["client"] == "127.0.0.1"
        assert ["X-A", "b"] in entry["request_headers"]
        assert entry["response_headers"] == [list(pair) for pair in reply.headers]
        assert (body_of(entry, "request_body"), body_of(entry)) == (b"eggs", b"eggs")

    def test_only_the_first_request_of_a_connection_was_accepted(
        self, serve: Serve, recorded: Recorded, client_of: Open
    ) -> None:
        client = client_of(serve(echo, server_class=recorded.server_class))
        client.get("/one")
        client.get("/two")
        assert "accepted" in marks_of(recorded.reports.entry("/one"))
        assert "accepted" not in marks_of(recorded.reports.entry("/two"))

    def test_a_request_that_hangs_is_seen_with_its_stack(
        self, serve: Serve, recorded: Recorded, client_of: Open, held: Held
    ) -> None:
        server = serve(held, server_class=recorded.server_class, threads=1)
        client_of(server).send(b"GET /hangs HTTP/1.1\r\nHost: a\r\n\r\n")
        assert held.has_begun.wait(TIMEOUT)
        client_of(server).send(b"GET /waits HTTP/1.1\r\nHost: a\r\n\r\n")
        running = recorded.reports.entry("/hangs", lambda entry: entry["state"] == "running")
        recorded.reports.entry("/waits", lambda entry: entry["state"] == "waiting")
        assert recorded.recorder is not None
        now = recorded.recorder.now()
        assert now["threads"] == {"busy": 1, "limit": 1, "queued": 1, "parked": 0}
        assert list(now["stacks"]) == [running["id"]]
        assert "in wait_in_view" in now["stacks"][running["id"]]
        held.may_go_on.set()
        assert recorded.reports.entry("/hangs")["status"] == 200
        assert recorded.reports.entry("/waits")["status"] == 200

    def test_over_tls(self, serve: Serve, recorded: Recorded) -> None:
        authority = Authority()
        server = serve(echo, server_class=recorded.server_class, tls=authority)
        with connect(server.addresses[0], authority.client_context()) as client:
            client.post("/", b"abc")
        entry = recorded.reports.entry("/")
        assert (entry["scheme"], body_of(entry)) == ("https", b"abc")

    def test_by_a_unix_socket(self, serve: Serve, recorded: Recorded, client_of: Open) -> None:
        client_of(serve(echo, server_class=recorded.server_class, unix_socket=True)).get("/")
        assert recorded.reports.entry("/")["client"] == ""

    def test_of_a_proxy_by_the_uwsgi_protocol(
        self, serve: Serve, recorded: Recorded, client_of: Open
    ) -> None:
        bind = ("uwsgi://127.0.0.1:0",)
        client = client_of(serve(echo, server_class=recorded.server_class, bind=bind))
        client.send(request("POST", "/x", 3, HTTP_X_A="b", HTTP_COOKIE="hunter2") + b"abc")
        client.read_all()
        entry = recorded.reports.entry("/x")
        assert (entry["client"], entry["host"]) == ("192.0.2.7", "example.org")
        assert ["X-A", "b"] in entry["request_headers"]
        assert ["Cookie", "***"] in entry["request_headers"]
        assert body_of(entry, "request_body") == b"abc"


class TestBodies:
    def test_the_first_64_kib_are_kept(
        self, serve: Serve, recorded: Recorded, client_of: Open
    ) -> None:
        body = b"0123456789" * 7000
        client_of(serve(echo, server_class=recorded.server_class)).post("/", body)
        entry = recorded.reports.entry("/")
        for name in ("request_body", "response_body"):
            assert (entry[name]["size"], entry[name]["is_cut"]) == (len(body), True)
            assert body_of(entry, name) == body[: 64 * 1024]

    def test_secrets_are_masked_when_they_are_kept(
        self, serve: Serve, recorded: Recorded, client_of: Open
    ) -> None:
        client = client_of(serve(echo, server_class=recorded.server_class))
        headers = {"Cookie": "hunter2", "Content-Type": "application/json"}
        client.post("/?token=hunter2", b'{"password": "hunter2", "a": 1}', **headers)
        entry = recorded.reports.entry("/?token=***")
        assert ["Cookie", "***"] in entry["request_headers"]
        assert json.loads(body_of(entry)) == {"password": "***", "a": 1}
        kept = json.dumps(recorded.reports.messages) + str(body_of(entry, "request_body"))
        assert "hunter2" not in kept

    def test_secrets_are_kept_where_that_is_wanted(
        self, serve: Serve, recorded: Recorded, client_of: Open
    ) -> None:
        recorded.keeps_secrets = True
        client_of(serve(echo, server_class=recorded.server_class)).post("/?token=x", b"pwd=y")
        entry = recorded.reports.entry("/?token=x")
        assert body_of(entry) == b"pwd=y"

    def test_a_file_that_the_kernel_sends_has_its_size(
        self, serve: Serve, recorded: Recorded, client_of: Open, tmp_path: Path
    ) -> None:
        path = tmp_path / "file"
        path.write_bytes(bytes(200_000))

        def app(environ: dict[str, Any], start_response: Any) -> Any:
            start_response("200 OK", PLAIN)
            return environ["wsgi.file_wrapper"](path.open("rb"))

        server = serve(app, server_class=recorded.server_class, validate=False)
        client_of(server).get("/")
        body = recorded.reports.entry("/")["response_body"]
        assert (body["size"], body["is_cut"]) == (200_000, True)


class TestStreams:
    def test_one_that_is_open_is_seen_at_once(
        self, serve: Serve, recorded: Recorded, client_of: Open, held: Held
    ) -> None:
        def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", PLAIN)
            yield b"first"
            held.wait_in_view()
            yield b"last"

        client = client_of(serve(app, server_class=recorded.server_class))
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        entry = recorded.reports.entry("/", lambda entry: entry["response_body"])
        assert (entry["state"], entry["status"]) == ("streaming", 200)
        held.may_go_on.set()
        assert body_of(recorded.reports.entry("/")) == b"firstlast"

    @pytest.mark.parametrize("is_async", [False, True])
    def test_the_events_of_an_event_stream(
        self, serve: Serve, recorded: Recorded, client_of: Open, is_async: bool
    ) -> None:
        may_end = threading.Event()

        async def blocks() -> Any:
            yield b"data: one\n\n"
            yield b'data: {"token": "hunter2"}\n\n'
            await asyncio.to_thread(may_end.wait, TIMEOUT)

        def sync_blocks() -> Iterator[bytes]:
            yield b"data: one\n\n"
            yield b'data: {"token": "hunter2"}\n\n'
            may_end.wait(TIMEOUT)

        def app(environ: dict[str, Any], start_response: Any) -> Any:
            start_response("200 OK", [("Content-Type", "text/event-stream")])
            return asyncwsgi.stream(blocks()) if is_async else sync_blocks()

        server = serve(app, server_class=recorded.server_class, validate=False)
        client_of(server).send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        entry = recorded.reports.entry("/", lambda entry: len(entry["events"]) == 2)
        may_end.set()
        assert entry["state"] == "streaming"
        texts = [event["text"] for event in entry["events"]]
        assert texts == ["data: one\n\n", 'data: {"token": "***"}\n\n']

    def test_a_websocket_goes_on_behind_its_request(
        self, serve: Serve, recorded: Recorded, client_of: Open
    ) -> None:
        ended = threading.Event()

        async def talk(socket: Any) -> None:
            async for message in socket:
                await socket.send(message)
            ended.set()

        def app(environ: dict[str, Any], start_response: Any) -> Any:
            return WebSocket(talk)(environ, start_response)

        server = serve(app, server_class=recorded.server_class, validate=False)
        client = client_of(server)
        client.send(
            b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        frame = bytes([0x81, 0x85, 0, 0, 0, 0]) + b"hello"
        entry = recorded.reports.entry("/ws", lambda entry: entry["status"] == 101)
        assert entry["state"] == "streaming"
        client.send(frame)
        entry = recorded.reports.entry(
            "/ws", lambda entry: (entry["request_body"] or {}).get("size")
        )
        assert entry["request_body"] == {"size": len(frame), "data": "", "is_cut": True}
        client.close()
        assert recorded.reports.entry("/ws")["state"] == "ended"
        assert ended.wait(TIMEOUT)


def fails(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    return raise_it()


def raise_it() -> list[bytes]:
    raise ValueError("no eggs")


class TestFaults:
    def test_what_was_raised_and_where(
        self, serve: Serve, recorded: Recorded, client_of: Open
    ) -> None:
        client_of(serve(fails, server_class=recorded.server_class)).get("/boom?token=hunter2")
        entry = recorded.reports.entry("/boom?token=***")
        assert entry["status"] == 500
        assert entry["traceback"].endswith("ValueError: no eggs\n")
        last = entry["frames"][-1]
        assert (last["file"], last["function"]) == (__file__, "raise_it")
        assert (last["source"], last["is_own"]) == ('raise ValueError("no eggs")', True)
        assert not entry["frames"][0]["is_own"]
        [line] = entry["logs"]
        assert line["text"] == "GET /boom?token=*** failed"

    def test_a_client_that_leaves_is_no_fault(
        self, serve: Serve, recorded: Recorded, client_of: Open
    ) -> None:
        client = client_of(serve(echo, server_class=recorded.server_class, body_buffer_size=1024))
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n\r\n" + b"x" * 2000)
        recorded.reports.entry("/", lambda entry: entry["state"] == "running")
        client.reset()
        entry = recorded.reports.entry("/")
        assert (entry["state"], entry["status"], entry["traceback"]) == ("ended", None, None)
        assert entry["request_body"]["size"] == 2000

    def test_one_that_leaves_before_its_body_is_there(
        self, serve: Serve, recorded: Recorded, client_of: Open
    ) -> None:
        client = client_of(serve(echo, server_class=recorded.server_class))
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 90\r\n\r\nabc")
        recorded.reports.entry("/", lambda entry: entry["state"] == "waiting")
        client.reset()
        entry = recorded.reports.entry("/")
        assert (entry["status"], body_of(entry, "request_body")) == (None, b"abc")

    def test_what_the_server_refuses_has_its_status(
        self, serve: Serve, recorded: Recorded, client_of: Open
    ) -> None:
        server = serve(echo, server_class=recorded.server_class, max_body_size=10)
        assert client_of(server).post("/", b"x" * 20).status == 413
        assert recorded.reports.entry("/")["status"] == 413


class TestLogLines:
    def test_those_of_a_request_and_no_others(
        self,
        serve: Serve,
        recorded: Recorded,
        client_of: Open,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level(logging.INFO, "asyncwsgi.access")
        log = logging.getLogger("spam")

        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            log.warning("hello %s", "world")
            log.debug("not enabled")
            threads = [
                threading.Thread(target=log.warning, args=("of nobody",)),
                threading.Thread(
                    target=contextvars.copy_context().run, args=(log.error, "in its context")
                ),
            ]
            for thread in threads:
                thread.start()
                thread.join()
            return echo(environ, start_response)

        server = serve(app, server_class=recorded.server_class, access_log=True)
        client_of(server).get("/")
        logs = recorded.reports.entry("/")["logs"]
        assert [(line["level"], line["logger"], line["text"]) for line in logs] == [
            ("WARNING", "spam", "hello world"),
            ("ERROR", "spam", "in its context"),
        ]

    def test_an_exception_that_is_logged_is_in_its_line(
        self, serve: Serve, recorded: Recorded, client_of: Open
    ) -> None:
        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            try:
                raise_it()
            except ValueError:
                logging.getLogger("spam").exception("caught")
            return echo(environ, start_response)

        client_of(serve(app, server_class=recorded.server_class)).get("/")
        [line] = recorded.reports.entry("/")["logs"]
        assert line["text"].startswith("caught\nTraceback")
        assert line["text"].endswith("ValueError: no eggs\n")

    def test_what_is_logged_stays_as_it_was(
        self, serve: Serve, recorded: Recorded, client_of: Open
    ) -> None:
        # No handler is added: where the root logger has one, basicConfig() does nothing, Flask
        # adds none of its own, and the handler of last resort is silent.
        before = (logging.root.handlers[:], logging.root.level, logging.getLogRecordFactory())
        log = logging.getLogger("eggs")
        log.propagate = False
        stream = io.StringIO()
        handler = logging.StreamHandler(stream)
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s %(funcName)s"))
        log.addHandler(handler)

        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            log.warning("%d%%", 5)
            log.warning("wrong %d", "number") if environ["PATH_INFO"] == "/wrong" else None
            return echo(environ, start_response)

        try:
            client_of(serve(app, server_class=recorded.server_class)).get("/")
            recorded.reports.entry("/")
            assert logging.root.handlers == before[0]
            assert stream.getvalue() == "WARNING eggs 5% app\n"
        finally:
            log.removeHandler(handler)
            log.propagate = True
        recorded.close()
        assert (logging.root.handlers, logging.root.level) == before[:2]
        assert logging.getLogRecordFactory() == before[2]

    def test_a_line_that_cannot_be_formatted_is_kept_all_the_same(
        self, serve: Serve, recorded: Recorded, client_of: Open
    ) -> None:
        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            logging.getLogger("spam").info("wrong %d", "number")
            return echo(environ, start_response)

        log = logging.getLogger("spam")
        log.propagate, log.level = False, logging.INFO  # caplog would format it, and fail
        log.addHandler(null := logging.NullHandler())
        try:
            client_of(serve(app, server_class=recorded.server_class)).get("/")
            [line] = recorded.reports.entry("/")["logs"]
        finally:
            log.propagate, log.level = True, logging.NOTSET
            log.removeHandler(null)
        assert line["text"] == "wrong %d ('number',)"


class TestBounds:
    def test_a_report_is_never_larger_than_a_message(
        self, serve: Serve, recorded: Recorded, client_of: Open
    ) -> None:
        recorded.reports.largest_size = 20_000
        client_of(serve(echo, server_class=recorded.server_class)).post("/", b"x" * 60_000)
        entry = recorded.reports.entry("/")
        assert entry["request_body"] == {"size": 60_000, "data": "", "is_cut": True}
        assert entry["status"] == 200

    def test_more_log_lines_than_a_report_holds_come_with_the_next_ones(
        self, serve: Serve, recorded: Recorded, client_of: Open
    ) -> None:
        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            for number in range(100):
                logging.getLogger("spam").warning("%d%s", number, "\x01" * 3000)
            return echo(environ, start_response)

        client_of(serve(app, server_class=recorded.server_class)).get("/")
        entry = recorded.reports.entry("/", lambda entry: len(entry["logs"]) == 100)
        assert [line["text"].partition("\x01")[0] for line in entry["logs"]] == [
            str(number) for number in range(100)
        ]

    def test_while_nobody_takes_reports_none_is_made(
        self,
        serve: Serve,
        recorded: Recorded,
        client_of: Open,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(reporter, "MOST_AT_ONCE", 3)
        monkeypatch.setattr(reporter, "MOST_A_SECOND", 0)
        recorded.reports.congested = True
        client = client_of(serve(echo, server_class=recorded.server_class))
        for number in range(5):
            assert client.get(f"/{number}").status == 200
        for _ in range(2):  # what follows the first look is over when it looks again
            assert recorded.reports.looks.acquire(timeout=TIMEOUT)
        assert recorded.reports.messages == []
        recorded.reports.congested = False
        for number in range(3):
            recorded.reports.entry(f"/{number}")
        assert recorded.reports.wait_for("inspected-dropped")["count"] == 2


class TestSurviving:
    def test_a_fault_of_recording_is_logged_once_and_disturbs_nobody(
        self,
        serve: Serve,
        recorded: Recorded,
        client_of: Open,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        tried = threading.Semaphore(0)

        def broken(*_: object, **__: object) -> Any:
            tried.release()
            raise RuntimeError("broken")

        real = Record.report
        client = client_of(serve(echo, server_class=recorded.server_class))
        monkeypatch.setattr(Record, "report", broken)
        assert client.get("/one").status == 200
        assert client.get("/two").status == 200
        for _ in range(2):
            assert tried.acquire(timeout=TIMEOUT)
        monkeypatch.setattr(Record, "report", real)
        client.get("/three")
        recorded.reports.entry("/three")
        messages = [one.message for one in caplog.records if "could not be recorded" in one.message]
        assert len(messages) == 1

    @pytest.mark.parametrize("name", ["begin_at_head", "failure_of", "current_record"])
    def test_whatever_part_of_it_fails(
        self,
        serve: Serve,
        recorded: Recorded,
        client_of: Open,
        monkeypatch: pytest.MonkeyPatch,
        name: str,
    ) -> None:
        def broken(*_: object, **__: object) -> Any:
            raise RuntimeError("broken")

        places = {
            "begin_at_head": "asyncwsgi.inspection.recording.Record",
            "failure_of": "asyncwsgi.inspection.records.failure_of",
            "current_record": "asyncwsgi.inspection.log_lines.current_record",
        }

        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            logging.getLogger("spam").warning("hello")
            return (
                fails(environ, start_response)
                if environ["QUERY_STRING"]
                else answer(start_response)
            )

        monkeypatch.setattr(places[name], broken)
        client = client_of(serve(app, server_class=recorded.server_class))
        assert client.get("/").body == b"done"
        assert client.get("/?fail").status == 500


def test_a_server_that_does_not_record_is_made_of_its_own_classes() -> None:
    from asyncwsgi.frontends.http import HttpConnection
    from asyncwsgi.requests.exchange import Exchange
    from asyncwsgi.requests.request_body import RequestBody

    server = Server(echo)
    classes = (server.connection_class, server.exchange_class, server.request_body_class)
    assert classes == (HttpConnection, Exchange, RequestBody)
