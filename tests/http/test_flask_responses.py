"""Flask on top: streamed responses, files, and what is closed behind them."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import flask
import pytest
from flask import Flask, current_app, g, session, stream_with_context
from flask.typing import ResponseReturnValue

from tests.client import TIMEOUT, Client
from tests.conftest import Serve
from tests.http.helpers import ClientOf, take
from tests.http.wire import read_head

CONTENT = bytes(range(256)) * 1000


@pytest.fixture
def app() -> Flask:
    app = Flask(__name__)
    app.secret_key = "only for tests"
    return app


# Streams.


def test_a_stream_keeps_its_context(app: Flask, serve: Serve, client_of: ClientOf) -> None:
    @app.get("/<name>")
    def stream(name: str) -> ResponseReturnValue:
        g.name = name

        def generate() -> Iterator[str]:
            for _ in range(3):
                yield f"{g.name} {flask.request.args['q']} {current_app.name};"

        return flask.Response(stream_with_context(generate()))

    client = client_of(serve(app))
    for name in ("first", "second"):
        expected = f"{name} {name[::-1]} {app.name};" * 3
        assert client.get(f"/{name}?q={name[::-1]}").body == expected.encode()


def test_each_event_reaches_the_client_before_the_next_is_made(
    app: Flask, serve: Serve, client_of: ClientOf
) -> None:
    goes_on = threading.Semaphore(0)

    @app.get("/")
    def events() -> ResponseReturnValue:
        def generate() -> Iterator[str]:
            for number in range(3):
                yield f"data: {flask.request.method} {number}\n\n"
                assert goes_on.acquire(timeout=TIMEOUT), "the client did not get the event"

        return flask.Response(stream_with_context(generate()), mimetype="text/event-stream")

    client = client_of(serve(app))
    client.request()
    read_head(client)
    for number in range(3):
        event = b"d\r\ndata: GET %d\n\n\r\n" % number
        assert client.read(len(event)) == event
        goes_on.release()
    assert client.read(5) == b"0\r\n\r\n"


def test_a_session_that_the_view_opened_is_there_in_the_stream(
    app: Flask, serve: Serve, client_of: ClientOf
) -> None:
    @app.get("/")
    def stream() -> ResponseReturnValue:
        session["name"] = "spam"

        def generate() -> Iterator[str]:
            yield session["name"]

        return flask.Response(stream_with_context(generate()))

    reply = client_of(serve(app)).get()
    assert reply.body == b"spam"
    assert (reply.header("Set-Cookie") or "").startswith("session=")


class Ends:
    """An application with streams, and a log of everything that ends in it.

    How often Flask tears a stream's context down is its own affair (3.1 does it with the view and
    again with the stream), so the server is held against Flask's test client.
    """

    def __init__(self, app: Flask) -> None:
        self.log: list[str] = []
        self.has_closed = threading.Semaphore(0)
        app.add_url_rule("/<int:count>", view_func=self.stream)
        app.teardown_request(lambda error: self.log.append(f"request torn down: {error!r}"))
        app.teardown_appcontext(lambda error: self.log.append(f"context torn down: {error!r}"))

    def stream(self, count: int) -> ResponseReturnValue:
        def generate() -> Iterator[bytes]:
            try:
                for _ in range(count):
                    yield flask.request.path.encode() * 16384
                raise LookupError("spam")
            finally:
                self.log.append("generator ended")

        response = flask.Response(stream_with_context(generate()))
        response.call_on_close(self.close)
        return response

    def close(self) -> None:
        self.log.append("closed")
        self.has_closed.release()

    def take(self) -> list[str]:
        """What ended since the last call."""
        log, self.log = self.log, []
        return log


def test_a_stream_that_fails_is_torn_down_and_cut(
    app: Flask, serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    ends = Ends(app)
    response = app.test_client().get("/1")
    with pytest.raises(LookupError, match="spam"):
        response.get_data()
    response.close()
    expected = ends.take()
    assert expected.count("closed") == 1

    server = serve(app)
    client = client_of(server)
    client.request(target="/1")
    read_head(client)
    assert client.read_all() == b"8000\r\n" + b"/1" * 16384 + b"\r\n"
    server.close()
    assert ends.take() == expected
    [record] = caplog.records
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], LookupError)


@pytest.mark.parametrize("leave", [Client.close, Client.reset], ids=["closed", "reset"])
def test_a_stream_is_torn_down_when_the_client_leaves(
    leave: Callable[[Client], None],
    app: Flask,
    serve: Serve,
    client_of: ClientOf,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ends = Ends(app)
    response = app.test_client().get("/999999999")
    next(response.iter_encoded())
    response.close()
    expected = ends.take()
    assert expected.count("closed") == 1

    server = serve(app)
    client = client_of(server)
    client.request(target="/999999999")
    read_head(client)
    leave(client)
    take(ends.has_closed)
    server.close()
    assert sorted(ends.take()) == sorted(expected)
    assert caplog.records == []


# call_on_close.


def plain() -> flask.Response:
    return flask.Response("spam")


def streamed() -> flask.Response:
    return flask.Response(iter(["spam", "eggs"]))


def failing() -> flask.Response:
    def generate() -> Iterator[str]:
        yield "spam"
        raise LookupError("eggs")

    return flask.Response(generate())


def too_long() -> flask.Response:
    return flask.Response(iter(["spam", "eggs"]), headers={"Content-Length": "4"})


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("make", [plain, streamed, failing, too_long])
def test_call_on_close_is_called_once(
    make: Callable[[], flask.Response],
    method: str,
    app: Flask,
    serve: Serve,
    client_of: ClientOf,
) -> None:
    closings: list[str] = []

    @app.get("/<name>")
    def view(name: str) -> ResponseReturnValue:
        response = make()
        response.call_on_close(lambda: closings.append(name))
        return response

    server = serve(app)
    for name in ("first", "second"):
        client = client_of(server)
        client.request(method, f"/{name}", Connection="close")
        client.read_all()
    server.close()
    assert closings == ["first", "second"]


def test_call_on_close_is_called_after_the_response(
    app: Flask, serve: Serve, client_of: ClientOf
) -> None:
    may_close = threading.Semaphore(0)
    closings: list[bool] = []

    @app.get("/")
    def view() -> ResponseReturnValue:
        response = flask.Response("spam")
        response.call_on_close(lambda: closings.append(may_close.acquire(timeout=TIMEOUT)))
        return response

    server = serve(app)
    assert client_of(server).get().body == b"spam"
    may_close.release()
    server.close()
    assert closings == [True]


# Files.


@pytest.fixture(params=[True, False], ids=["in middleware", "returned"])
def files(
    request: pytest.FixtureRequest, app: Flask, serve: Serve, client_of: ClientOf, tmp_path: Path
) -> Client:
    """A connection to an application that sends `CONTENT` from a path, a file and memory."""
    path = tmp_path / "spam.bin"
    path.write_bytes(CONTENT)

    @app.get("/path")
    def from_path() -> ResponseReturnValue:
        return flask.send_file(path)

    @app.get("/file")
    def from_file() -> ResponseReturnValue:
        return flask.send_file(path.open("rb"), "application/octet-stream")

    @app.get("/memory")
    def from_memory() -> ResponseReturnValue:
        return flask.send_file(io.BytesIO(CONTENT), "application/octet-stream", conditional=True)

    @app.get("/directory/<path:name>")
    def from_directory(name: str) -> ResponseReturnValue:
        return flask.send_from_directory(tmp_path, name)

    # Both ways, because wsgiref.validate hides the file wrapper from the server.
    return client_of(serve(app, validate=request.param))


SOURCES = pytest.mark.parametrize("target", ["/path", "/file", "/memory", "/directory/spam.bin"])


@SOURCES
def test_a_file_is_sent(target: str, files: Client) -> None:
    for _ in range(2):
        reply = files.get(target)
        assert (reply.status, reply.body == CONTENT) == (200, True)


@SOURCES
def test_a_file_is_not_sent_to_head(target: str, files: Client) -> None:
    for _ in range(2):
        files.request("HEAD", target)
        reply = files.reply("HEAD")
        assert (reply.status, reply.body) == (200, b"")


@pytest.mark.parametrize("target", ["/path", "/memory", "/directory/spam.bin"])
@pytest.mark.parametrize(
    ("ranges", "start", "end"),
    [
        pytest.param("bytes=0-9", 0, 10, id="the beginning"),
        pytest.param("bytes=1000-200999", 1000, 201000, id="many blocks within"),
        pytest.param("bytes=255000-", 255000, 256000, id="to the end"),
        pytest.param("bytes=-5", 255995, 256000, id="from the end"),
        pytest.param("bytes=255990-999999", 255990, 256000, id="beyond the end"),
    ],
)
def test_a_range_of_a_file_is_sent(
    ranges: str, start: int, end: int, target: str, files: Client
) -> None:
    for _ in range(2):
        reply = files.get(target, Range=ranges)
        assert (reply.status, reply.body == CONTENT[start:end]) == (206, True)
        assert reply.header("Content-Range") == f"bytes {start}-{end - 1}/256000"
        assert reply.header("Content-Length") == str(end - start)


def test_a_range_that_is_not_there_is_refused(files: Client) -> None:
    assert files.get("/path", Range="bytes=999999-").status == 416
    assert files.get("/path").body == CONTENT


def test_a_file_that_has_not_changed_is_not_sent_again(files: Client) -> None:
    etag = files.get("/path").header("ETag")
    assert etag
    for _ in range(2):
        reply = files.get("/path", If_None_Match=etag)
        assert (reply.status, reply.body, reply.header("ETag")) == (304, b"", etag)


class Counted(io.BytesIO):
    """Counts its closings."""

    closings = 0

    def close(self) -> None:
        self.closings += 1
        super().close()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("ranges", ["", "bytes=10-19"], ids=["whole", "a range"])
def test_a_file_that_was_sent_is_closed(
    ranges: str, method: str, app: Flask, serve: Serve, client_of: ClientOf
) -> None:
    file = Counted(CONTENT)

    @app.get("/")
    def send() -> ResponseReturnValue:
        return flask.send_file(file, "application/octet-stream", conditional=True)

    server = serve(app)
    client = client_of(server)
    client.request(method, Range=ranges)
    client.reply(method)
    server.close()
    assert file.closed
