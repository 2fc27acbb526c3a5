"""``wsgi.file_wrapper`` (PEP 3333, "Optional Platform-Specific File Handling")."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from werkzeug.test import create_environ
from werkzeug.utils import send_file
from werkzeug.wsgi import wrap_file

from asyncwsgi.wsgi.application import run_application
from asyncwsgi.wsgi.environ import server_environ
from asyncwsgi.wsgi.file_wrapper import FileWrapper
from tests.wsgi.recording import PLAIN, Recording, answer, length

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse

CONTENT = bytes(range(256)) * 100


class Plain:
    """A file that can be read and nothing else; PEP 3333 demands no more."""

    def __init__(self, content: bytes = CONTENT) -> None:
        self._file = io.BytesIO(content)
        self.sizes: list[int] = []

    def read(self, size: int, /) -> bytes:
        self.sizes.append(size)
        return self._file.read(size)


class Closable(Plain):
    """A file that counts its closings."""

    closings = 0

    def close(self) -> None:
        self.closings += 1


def test_the_environ_offers_it() -> None:
    assert server_environ(root_path="", multithread=True)["wsgi.file_wrapper"] is FileWrapper


def test_it_reads_nothing_by_itself() -> None:
    file = Plain()
    FileWrapper(file)
    assert file.sizes == []


@pytest.mark.parametrize("block_size", [1, 100, 8192, len(CONTENT), len(CONTENT) + 1])
def test_it_gives_the_file_in_blocks(block_size: int) -> None:
    file = Plain()
    blocks = list(FileWrapper(file, block_size))
    assert b"".join(blocks) == CONTENT
    assert {len(block) for block in blocks[:-1]} <= {block_size}
    assert set(file.sizes) == {block_size}
    assert b"" not in blocks


def test_the_size_of_the_blocks_need_not_be_given() -> None:
    assert b"".join(FileWrapper(Plain())) == CONTENT


def test_short_reads_are_not_the_end() -> None:
    # A pipe or a socket gives what it has.
    class Trickle(Plain):
        def read(self, size: int, /) -> bytes:
            return super().read(min(size, 7))

    assert b"".join(FileWrapper(Trickle(), 100)) == CONTENT


def test_it_begins_where_the_file_stands() -> None:
    file = io.BytesIO(CONTENT)
    file.seek(1000)
    assert b"".join(FileWrapper(file)) == CONTENT[1000:]


def test_an_empty_file_has_no_blocks() -> None:
    assert list(FileWrapper(Plain(b""))) == []


def test_it_has_what_the_file_has() -> None:
    wrapper = FileWrapper(io.BytesIO(CONTENT))
    assert wrapper.seekable()
    wrapper.seek(1000)
    assert wrapper.tell() == 1000
    assert next(iter(wrapper)) == CONTENT[1000:]


@pytest.mark.parametrize("name", ["close", "seek", "tell", "seekable"])
def test_it_has_nothing_that_the_file_has_not(name: str) -> None:
    # PEP 3333: "If the file-like object has a close() method, the iterable returned ... must also
    # have a close() method that invokes the original file-like object's".
    assert not hasattr(FileWrapper(Plain()), name)


def test_it_hides_what_else_the_file_has() -> None:
    # fileno() or __len__ would say something else of the file than of the iterable.
    with pytest.raises(AttributeError, match="FileWrapper"):
        FileWrapper(io.BytesIO(CONTENT)).getvalue()


def serve_file(file: Any, headers: Any = PLAIN) -> Any:
    def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", headers)
        return FileWrapper(file, 100)

    return application


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_file_is_closed_once_behind_the_response(method: str) -> None:
    file = Closable()
    recording = answer(serve_file(file), method)
    assert recording.received().body == (CONTENT if method == "GET" else b"")
    assert file.closings == 1


def test_a_file_that_cannot_be_closed_is_served() -> None:
    assert answer(serve_file(Plain())).received().body == CONTENT


def test_the_content_length_ends_the_file() -> None:
    # PEP 3333: "transmission ... must not exceed the value of Content-Length".
    file = Closable()
    recording = answer(serve_file(file, length(150)))
    assert recording.received().body == CONTENT[:150]
    assert len(file.sizes) == 3  # once more, for its end
    assert file.closings == 1


def test_the_bytes_are_the_same_inside_of_middleware() -> None:
    def middleware(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        return iter(list(serve_file(Plain())(environ, start_response)))

    assert answer(middleware).received().body == answer(serve_file(Plain())).received().body


ENVIRON = {**create_environ(), "wsgi.file_wrapper": FileWrapper}
"""That of a request to an application of Werkzeug's."""

RANGES = [
    pytest.param("bytes=0-0", CONTENT[:1], id="first byte"),
    pytest.param("bytes=1000-1999", CONTENT[1000:2000], id="within"),
    pytest.param("bytes=25000-", CONTENT[25000:], id="from somewhere"),
    pytest.param("bytes=-10", CONTENT[-10:], id="last bytes"),
]


def test_werkzeug_uses_it() -> None:
    assert isinstance(wrap_file(ENVIRON, io.BytesIO(CONTENT)), FileWrapper)


def test_a_file_that_werkzeug_sends_arrives_whole(tmp_path: Path) -> None:
    path = tmp_path / "spam.bin"
    path.write_bytes(CONTENT)
    recording = Recording()
    run_application(send_file(path, ENVIRON), ENVIRON, recording)
    received = recording.received()
    assert (received.status, received.body) == (200, CONTENT)


@pytest.mark.parametrize(("range_", "body"), RANGES)
def test_a_range_of_a_file_that_werkzeug_sends_arrives(
    range_: str, body: bytes, tmp_path: Path
) -> None:
    # Werkzeug seeks in iter() of the wrapper if the wrapper is seekable.
    path = tmp_path / "spam.bin"
    path.write_bytes(CONTENT)
    environ = {**ENVIRON, "HTTP_RANGE": range_}
    recording = Recording()
    run_application(send_file(path, environ, conditional=True), environ, recording)
    received = recording.received()
    assert (received.status, received.body) == (206, body)


@pytest.mark.parametrize("more", [{}, {"HTTP_RANGE": "bytes=10-19"}], ids=["whole", "a range"])
def test_a_file_that_werkzeug_sends_is_closed(more: dict[str, str]) -> None:
    file = io.BytesIO(CONTENT)
    environ = {**ENVIRON, **more}
    response = send_file(file, environ, "text/plain", conditional=True)
    run_application(response, environ, Recording())
    assert file.closed
