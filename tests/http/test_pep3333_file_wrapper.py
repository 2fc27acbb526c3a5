"""PEP 3333, "Optional Platform-Specific File Handling", over real sockets."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import Serve
from tests.http.staging import PLAIN, ClientOf, Environ, Headers, read_head, sized

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication

CONTENT = bytes(range(256)) * 1000


class Readable:
    """All that PEP 3333 lets a wrapper expect: read()."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)
        self.sizes: list[int] = []

    def read(self, size: int) -> bytes:
        self.sizes.append(size)
        return self._file.read(size)


class Closable(Readable):
    """The same with close()."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.closings = 0

    def close(self) -> None:
        self.closings += 1


class Unseekable(io.RawIOBase):
    """An `io` stream that can only be read."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        return self._file.read(size)


def wrap(file: Any, headers: Headers = PLAIN, *block_size: int) -> WSGIApplication:
    """An application that returns `file` in the server's wrapper."""

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", headers)
        wrapper: Iterable[bytes] = environ["wsgi.file_wrapper"](file, *block_size)
        return wrapper

    return application


@pytest.fixture
def on_disk(tmp_path: Path) -> Iterator[io.BufferedReader]:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    with path.open("rb") as file:
        yield file


# Both validated, where the wrapper is hidden in another iterable, and not, where it is what the
# application returns: PEP 3333 allows a fast path for the latter alone.
is_wrapped = pytest.mark.parametrize("validate", [True, False], ids=["in middleware", "returned"])


@is_wrapped
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(io.BytesIO, id="BytesIO"),
        pytest.param(Readable, id="read alone"),
        pytest.param(Closable, id="read and close"),
        pytest.param(Unseekable, id="io stream that cannot seek"),
    ],
)
@pytest.mark.parametrize("headers", [PLAIN, sized(len(CONTENT))], ids=["chunked", "sized"])
def test_the_wrapper_sends_any_file(
    headers: Headers,
    make: Callable[[bytes], Any],
    validate: bool,
    serve: Serve,
    client_of: ClientOf,
) -> None:
    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        return wrap(make(CONTENT), headers)(environ, start_response)

    client = client_of(serve(application, validate=validate))
    assert [client.get().body == CONTENT for _ in range(2)] == [True, True]


@is_wrapped
def test_the_wrapper_sends_a_file_on_disk(
    on_disk: io.BufferedReader, validate: bool, serve: Serve, client_of: ClientOf
) -> None:
    assert client_of(serve(wrap(on_disk), validate=validate)).get().body == CONTENT


@is_wrapped
def test_the_wrapper_starts_where_the_file_stands(
    on_disk: io.BufferedReader, validate: bool, serve: Serve, client_of: ClientOf
) -> None:
    # PEP 3333: transmission begins at the file's current position.
    on_disk.seek(1000)
    assert client_of(serve(wrap(on_disk), validate=validate)).get().body == CONTENT[1000:]


@is_wrapped
def test_the_wrapper_ends_at_the_content_length(
    on_disk: io.BufferedReader, validate: bool, serve: Serve, client_of: ClientOf
) -> None:
    client = client_of(serve(wrap(on_disk, sized(100)), validate=validate))
    client.request()
    read_head(client)
    assert client.read(100) == CONTENT[:100]
    client.half_close()
    assert client.is_closed()


@is_wrapped
def test_a_file_shorter_than_the_content_length_closes_the_connection(
    on_disk: io.BufferedReader, validate: bool, serve: Serve, client_of: ClientOf
) -> None:
    client = client_of(serve(wrap(on_disk, sized(len(CONTENT) + 1)), validate=validate))
    client.request()
    assert client.read_all().endswith(b"\r\n\r\n" + CONTENT)


def test_the_block_size_is_what_read_is_asked_for(serve: Serve, client_of: ClientOf) -> None:
    file = Readable(b"spam")
    assert client_of(serve(wrap(file, PLAIN, 3))).get().body == b"spam"
    assert set(file.sizes) == {3}


def test_calling_the_wrapper_sends_nothing(serve: Serve, client_of: ClientOf) -> None:
    file = Closable(b"spam")

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        environ["wsgi.file_wrapper"](file)
        start_response("200 OK", PLAIN)
        environ["wsgi.file_wrapper"](file)
        return [b"eggs"]

    assert client_of(serve(application)).get().body == b"eggs"
    assert (file.sizes, file.closings) == ([], 0)


@is_wrapped
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_file_is_closed_once(
    method: str, validate: bool, serve: Serve, client_of: ClientOf
) -> None:
    file = Closable(CONTENT)
    server = serve(wrap(file), validate=validate)
    client = client_of(server)
    client.request(method)
    client.reply(method)
    server.close()
    assert file.closings == 1


def test_the_file_is_closed_if_reading_it_fails(serve: Serve, client_of: ClientOf) -> None:
    class Failing(Closable):
        def read(self, size: int) -> bytes:
            raise OSError("spam")

    file = Failing(CONTENT)
    server = serve(wrap(file))
    assert client_of(server).get().status == 500
    server.close()
    assert file.closings == 1


@pytest.mark.parametrize(("file", "has_close"), [(Readable(b""), False), (Closable(b""), True)])
def test_the_wrapper_can_be_closed_exactly_if_the_file_can(
    file: Readable, has_close: bool, serve: Serve, client_of: ClientOf
) -> None:
    seen: list[bool] = []

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", PLAIN)
        seen.append(hasattr(environ["wsgi.file_wrapper"](file), "close"))
        return []

    client_of(serve(application)).get()
    assert seen == [has_close]


def test_the_wrapper_can_be_moved_within_a_file_that_can(
    on_disk: io.BufferedReader, serve: Serve, client_of: ClientOf
) -> None:
    # What Werkzeug's range responses look for.
    seen: list[object] = []

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", PLAIN)
        wrapper = environ["wsgi.file_wrapper"](on_disk)
        seen.extend([wrapper.seekable(), wrapper.seek(100), wrapper.tell()])
        body: Iterable[bytes] = wrapper
        return body

    assert client_of(serve(application)).get().body == CONTENT[100:]
    assert seen == [True, 100, 100]
