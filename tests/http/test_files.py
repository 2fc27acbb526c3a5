"""Files by ``wsgi.file_wrapper``: the kernel sends them, and the client sees no difference."""

from __future__ import annotations

import errno
import gzip
import io
import os
import random
import threading
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import pytest
from flask import Flask, Response, send_file

from asyncwsgi import Server
from asyncwsgi.access_log import AccessEntry, AccessLogger
from asyncwsgi.frontends.http import HttpConnection
from asyncwsgi.testing import LiveServer
from tests.apps import hello
from tests.client import TIMEOUT, Client, connect
from tests.conftest import Serve
from tests.http.helpers import MIB, ClientOf, Environ, messages, until, wait_for, watched
from tests.http.wire import Headers, read_head
from tests.server.certificates import Certificates

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication

OCTETS = [("Content-Type", "application/octet-stream")]
SIZE = 16 * MIB
"""More than the kernel holds between a server and a client that does not read."""

pytestmark = pytest.mark.skipif(not hasattr(os, "sendfile"), reason="no kernel that sends files")


class Files:
    """Answers ``/file`` with the file at `path`, and all else with a greeting."""

    def __init__(self, path: Path, *, offset: int = 0, headers: Headers = OCTETS) -> None:
        self.path = path
        self.was_closed = threading.Event()
        self.opened: list[io.BufferedReader] = []
        self._offset = offset
        self._headers = headers

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/file":
            return hello(environ, start_response)
        file: Any = self.path.open("rb")
        file.seek(self._offset)
        self.opened.append(file)
        file.close = self._closing(file.close)  # as Django does
        start_response("200 OK", list(self._headers))
        body: Iterable[bytes] = environ["wsgi.file_wrapper"](file)
        return body

    def _closing(self, close: Callable[[], None]) -> Callable[[], None]:
        def closing() -> None:
            close()
            self.was_closed.set()

        return closing


@pytest.fixture
def content() -> bytes:
    return random.Random(1).randbytes(MIB) * (SIZE // MIB)


@pytest.fixture
def files(tmp_path: Path, content: bytes) -> Files:
    path = tmp_path / "file"
    path.write_bytes(content)
    return Files(path)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what the kernel was asked to send."""
    sizes: list[int] = []
    sendfile = os.sendfile

    def note(out: int, file: int, offset: int, count: int) -> int:
        sizes.append(count)
        return sendfile(out, file, offset, count)

    monkeypatch.setattr(os, "sendfile", note)
    return sizes


def test_a_file_is_sent_by_the_kernel_and_says_its_size(
    serve: Serve, client_of: ClientOf, files: Files, content: bytes, sent: list[int]
) -> None:
    client = client_of(serve(files, validate=False))
    for _ in range(2):  # and the connection is kept
        reply = client.get("/file")
        assert reply.header("Content-Length") == str(SIZE)
        assert reply.body == content
    assert sent
    assert client.get().status == 200


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_it_begins_where_the_file_stands_and_ends_with_its_content_length(
    serve: Serve, client_of: ClientOf, files: Files, content: bytes, sent: list[int], version: str
) -> None:
    app = Files(files.path, offset=5, headers=[*OCTETS, ("Content-Length", "300000")])
    client = client_of(serve(app, validate=False))
    client.send(f"GET /file HTTP/{version}\r\nHost: a\r\n\r\n".encode())
    assert client.reply().body == content[5:300005]
    assert sent


def test_head_gets_no_byte_of_it(
    serve: Serve, client_of: ClientOf, files: Files, sent: list[int]
) -> None:
    app = Files(files.path, headers=[*OCTETS, ("Content-Length", str(SIZE))])
    client = client_of(serve(app, validate=False))
    client.request("HEAD", "/file")
    assert client.reply("HEAD").header("Content-Length") == str(SIZE)
    assert client.get().body == b"Hello, world!"
    assert sent == []


def test_what_was_asked_for_before_and_behind_it_is_sent_before_and_behind_it(
    serve: Serve, client_of: ClientOf, files: Files, content: bytes
) -> None:
    # The file must not overtake what its connection still has to send.
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/block":
            return files(environ, start_response)
        start_response("200 OK", [*OCTETS, ("Content-Length", str(SIZE))])
        return [content]

    client = client_of(serve(app, validate=False, response_buffer_size=2 * SIZE))
    targets = ["/block", "/file", "/", "/file"]
    for target in targets:
        client.request(target=target)
    assert [client.reply().body for _ in targets] == [content, content, b"Hello, world!", content]


def test_a_client_that_reads_slowly_holds_no_thread(
    serve: Serve, client_of: ClientOf, files: Files, content: bytes
) -> None:
    server = serve(files, validate=False, threads=1)
    client = client_of(server)
    client.request(target="/file")
    read_head(client)
    assert client_of(server).get().status == 200
    assert not files.was_closed.is_set()
    assert client.read(SIZE) == content
    wait_for(files.was_closed)


def test_a_client_that_leaves_ends_it(serve: Serve, client_of: ClientOf, files: Files) -> None:
    client = client_of(serve(files, validate=False))
    client.request(target="/file")
    read_head(client)
    client.reset()
    wait_for(files.was_closed)


def test_a_client_that_reads_nothing_is_cut(
    serve: Serve, client_of: ClientOf, files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    server_class, lost = watched()
    caplog.set_level("INFO", logger="asyncwsgi.server")
    client = client_of(serve(files, validate=False, server_class=server_class, send_timeout=0.1))
    client.request(target="/file")
    wait_for(lost)
    wait_for(files.was_closed)
    line = messages(caplog.records)[1]  # behind the one that tells where it listens
    assert line.endswith("reads nothing for 0.1 s; cut")


def test_a_file_that_is_cut_while_it_is_sent_cuts_the_response(
    serve: Serve, client_of: ClientOf, files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    client = client_of(serve(files, validate=False))
    client.request(target="/file")
    read_head(client)
    os.truncate(files.path, 14 * MIB)
    assert len(client.read_all()) < SIZE
    [line] = messages(caplog.records)
    missing = SIZE - 14 * MIB
    assert line == f"GET /file: the application sent {missing} bytes less than its Content-Length"


def test_a_file_that_grows_is_sent_as_far_as_was_said(
    serve: Serve, client_of: ClientOf, files: Files, content: bytes
) -> None:
    client = client_of(serve(files, validate=False))
    client.request(target="/file")
    read_head(client)
    with files.path.open("ab") as file:
        file.write(b"more")
    assert client.read(SIZE) == content
    assert client.get().status == 200


def test_a_graceful_shutdown_waits_for_it(
    serve: Serve, client_of: ClientOf, files: Files, content: bytes
) -> None:
    server = serve(files, validate=False)
    client = client_of(server)
    idle = client_of(server)
    idle.get()
    client.request(target="/file")
    read_head(client)
    stopping = threading.Thread(target=server.close)
    stopping.start()
    assert idle.is_closed()  # so draining has begun
    assert client.read(SIZE) == content
    assert client.is_closed()
    stopping.join(TIMEOUT)


def test_a_shutdown_that_has_waited_enough_cuts_it(
    serve: Serve, client_of: ClientOf, files: Files
) -> None:
    server = serve(files, validate=False, graceful_timeout=0.1)
    client = client_of(server)
    client.request(target="/file")
    read_head(client)
    server.close()
    assert files.was_closed.is_set()
    assert len(client.read_all()) < SIZE


def test_the_access_line_has_its_size(serve: Serve, client_of: ClientOf, files: Files) -> None:
    entries: list[AccessEntry] = []
    logged = threading.Event()

    class Noting(AccessLogger):
        def is_enabled(self) -> bool:
            return True

        def log(self, entry: AccessEntry) -> None:
            entries.append(entry)
            logged.set()

    class NotingServer(Server):
        access_logger_class = Noting

    client = client_of(serve(files, validate=False, server_class=NotingServer))
    client.request(target="/file", Connection="close")
    received = client.read_all()
    wait_for(logged)
    assert entries[0].size == len(received)


def fails_at_first(*_: int) -> int:
    raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


class FailsLater:
    """A kernel that sends twice and then no more."""

    def __init__(self) -> None:
        self._count = 0
        self._sendfile = os.sendfile

    def __call__(self, out: int, file: int, offset: int, count: int) -> int:
        self._count += 1
        if self._count > 2:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return self._sendfile(out, file, offset, count)


@pytest.mark.parametrize("make", [lambda: fails_at_first, FailsLater], ids=["at once", "later"])
def test_what_the_kernel_cannot_send_is_read(
    serve: Serve,
    client_of: ClientOf,
    files: Files,
    content: bytes,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[], Any],
) -> None:
    monkeypatch.setattr(os, "sendfile", make())
    client = client_of(serve(files, validate=False))
    assert client.get("/file").body == content
    assert client.get().status == 200


@pytest.mark.parametrize("count", [0, 1], ids=["for the file", "for the socket"])
def test_without_a_descriptor_to_spare_it_is_read(
    serve: Serve,
    client_of: ClientOf,
    files: Files,
    content: bytes,
    monkeypatch: pytest.MonkeyPatch,
    count: int,
) -> None:
    duplicate = os.dup
    left = [count]

    def dup(descriptor: int) -> int:
        if not left[0]:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        left[0] -= 1
        return duplicate(descriptor)

    client = client_of(serve(files, validate=False))
    client.get()  # what is duplicated to begin with is
    monkeypatch.setattr(os, "dup", dup)
    assert client.get("/file").body == content


def test_tls_sees_all_of_it(
    serve: Serve, files: Files, content: bytes, sent: list[int], tmp_path: Path
) -> None:
    certificates = Certificates(tmp_path)
    server = serve(files, validate=False, certfile=certificates.files.both)
    with connect(("127.0.0.1", server.port), certificates.client_context()) as client:
        assert client.get("/file").body == content
    assert sent == []


class Counting:
    """A connection's `write` that counts, for whatever class it is mixed into."""

    sizes: ClassVar[list[int]] = []

    def write(self, data: bytes | memoryview) -> bool:
        self.sizes.append(len(data))
        return HttpConnection.write(cast("HttpConnection", self), data)


class CountingMixed(Counting, HttpConnection):
    pass


class CountingSubclass(HttpConnection):
    write = Counting.write
    sizes = Counting.sizes


@pytest.mark.parametrize("counting", [CountingSubclass, CountingMixed])
def test_a_connection_that_overrides_write_sees_all_of_it(
    serve: Serve,
    client_of: ClientOf,
    files: Files,
    content: bytes,
    counting: type[HttpConnection],
) -> None:
    class CountingServer(Server):
        connection_class = counting

    Counting.sizes.clear()
    client = client_of(serve(files, validate=False, server_class=CountingServer))
    assert client.get("/file").body == content
    assert sum(Counting.sizes) > SIZE


def answers_with(make: Callable[[], Any]) -> WSGIApplication:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", list(OCTETS))
        body: Iterable[bytes] = environ["wsgi.file_wrapper"](make())
        return body

    return app


def test_what_reads_otherwise_than_its_descriptor_is_read(
    serve: Serve, client_of: ClientOf, tmp_path: Path
) -> None:
    path = tmp_path / "file.gz"
    unpacked = random.Random(1).randbytes(MIB)
    path.write_bytes(gzip.compress(unpacked))
    client = client_of(serve(answers_with(partial(gzip.open, path)), validate=False))
    assert client.get().body == unpacked


def test_what_somebody_wants_to_see_being_read_is_read(
    serve: Serve, client_of: ClientOf, files: Files, content: bytes
) -> None:
    sizes: list[int] = []

    def with_progress() -> Any:
        file: Any = files.path.open("rb")
        read = file.read

        def noting(size: int) -> bytes:
            block: bytes = read(size)
            sizes.append(len(block))
            return block

        file.read = noting
        return file

    client = client_of(serve(answers_with(with_progress), validate=False))
    assert client.get().body == content
    assert sum(sizes) == SIZE


def test_what_cannot_be_read_is_answered_with_500(
    serve: Serve, client_of: ClientOf, files: Files
) -> None:
    def write_only() -> Any:
        return os.fdopen(os.open(files.path, os.O_WRONLY), "wb", buffering=0)

    assert client_of(serve(answers_with(write_only), validate=False)).get().status == 500


def test_what_cannot_say_where_it_stands_is_read(serve: Serve, client_of: ClientOf) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"spam")
    os.close(writing)
    client = client_of(serve(answers_with(partial(os.fdopen, reading, "rb")), validate=False))
    assert client.get().body == b"spam"


def test_files_that_have_no_size_are_read(serve: Serve, client_of: ClientOf) -> None:
    expected = Path("/proc/cpuinfo").read_bytes()[:20]
    app = answers_with(partial(Path("/proc/cpuinfo").open, "rb"))
    assert client_of(serve(app, validate=False)).get().body.startswith(expected)


class TestFlask:
    @pytest.fixture
    def client(self, serve: Serve, client_of: ClientOf, files: Files) -> Client:
        app = Flask(__name__)

        @app.get("/")
        def index() -> Response:
            return send_file(files.path, conditional=True, etag="spam")

        return client_of(serve(app, validate=False))

    def test_send_file_is_sent_by_the_kernel(
        self, client: Client, content: bytes, sent: list[int]
    ) -> None:
        assert client.get().body == content
        assert sent

    def test_a_range_of_it_is_right(self, client: Client, content: bytes) -> None:
        reply = client.get(Range="bytes=1000000-2999999")
        assert (reply.status, reply.body) == (206, content[1_000_000:3_000_000])

    def test_a_file_that_the_client_has_is_not_sent(self, client: Client) -> None:
        assert client.get(If_None_Match='"spam"').status == 304
        assert client.get(Range="bytes=0-9").status == 206


def test_files_that_are_sent_leave_descriptors_to_the_application(
    serve: Serve,
    client_of: ClientOf,
    files: Files,
    content: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("asyncwsgi.server.server.default_max_connections", lambda _: 5)
    app = Files(files.path, headers=[*OCTETS, ("Content-Length", str(SIZE))])
    server = serve(app, validate=False)
    first, second = client_of(server), client_of(server)
    first.request(target="/file")
    read_head(first)
    until(server, lambda: states(server) == ["streaming"])
    second.request(target="/file")
    read_head(second)
    # Two clients and two files would take eight; so a thread reads the second.
    until(server, lambda: states(server) == ["running", "streaming"])
    assert client_of(server).reply().status == 503
    assert first.read(SIZE) == second.read(SIZE) == content
    until(server, lambda: not states(server))
    assert client_of(server).get().status == 200


def states(server: LiveServer) -> list[str]:
    return sorted(request.state for request in server.server.snapshot().requests)


def test_it_leaves_no_descriptor_open(serve: Serve, client_of: ClientOf, files: Files) -> None:
    def of_the_file() -> list[Path]:
        links = [entry for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
        return [link for link in links if str(files.path) in os.path.realpath(link)]

    client = client_of(serve(files, validate=False))
    client.get("/file")
    client.get()
    assert of_the_file() == []


def test_one_that_was_closed_meanwhile_is_sent_all_the_same(
    serve: Serve, client_of: ClientOf, files: Files, content: bytes
) -> None:
    # By a thread that the application has left behind: its number may be another file's by then.
    client = client_of(serve(files, validate=False))
    client.request(target="/file")
    read_head(client)
    files.opened[0].close()
    assert client.read(SIZE) == content
