"""Request bodies that are malformed or cut off: PEP 3333's input over real sockets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.client import Client
from tests.conftest import Serve
from tests.http.staging import CHUNKED, SIZED, ClientOf, Reads, Recorder, chunk, take


def read_to_the_end(body: Any) -> bytes:
    data: bytes = body.read(-1)
    return data


CUTS = [
    pytest.param(SIZED % 9 + b"spam", id="a sized body"),
    pytest.param(CHUNKED + chunk(b"spam"), id="between chunks"),
    pytest.param(CHUNKED + b"9\r\nspam", id="within a chunk"),
    pytest.param(CHUNKED + chunk(b"spam") + b"0\r\n", id="before the end of the trailers"),
]
LEAVE = [
    pytest.param(Client.half_close, id="half-closed"),
    pytest.param(Client.reset, id="reset"),
]


@pytest.mark.parametrize("leave", LEAVE)
@pytest.mark.parametrize("cut", CUTS)
def test_reading_a_body_that_was_cut_off_raises(
    cut: bytes, leave: Callable[[Client], None], serve: Serve, client_of: ClientOf
) -> None:
    # Not a short read: the application must not take the part for the whole. Werkzeug's
    # LimitedStream makes its ClientDisconnected of an OSError.
    application = Reads(read_to_the_end)
    server = serve(application, body_buffer_size=1)
    client = client_of(server)
    client.send(cut)
    take(application.entered)
    leave(client)
    server.close()
    assert isinstance(application.error, OSError)


@pytest.mark.parametrize("cut", CUTS)
def test_what_came_of_a_body_that_was_cut_off_can_be_read_before_it_raises(
    cut: bytes, serve: Serve, client_of: ClientOf
) -> None:
    came: list[bytes] = []

    def read_twice(body: Any) -> None:
        came.append(body.read(4))
        body.read(1)

    application = Reads(read_twice)
    server = serve(application, body_buffer_size=1)
    client = client_of(server)
    client.send(cut)
    take(application.entered)
    client.half_close()
    server.close()
    assert came == [b"spam"]
    assert isinstance(application.error, OSError)


@pytest.mark.parametrize("cut", CUTS)
def test_the_application_is_not_entered_for_a_body_cut_off_before(
    cut: bytes, serve: Serve, client_of: ClientOf
) -> None:
    application = Recorder()
    server = serve(application)
    client = client_of(server)
    client.send(cut)
    client.half_close()
    assert client.is_closed()
    server.close()
    assert application.environs == []


MALFORMED = [
    pytest.param(b"zz\r\n", id="a size that is no number"),
    pytest.param(b"-1\r\n", id="a negative size"),
    pytest.param(b"4\r\nspamXX", id="no line end behind a chunk"),
]


@pytest.mark.parametrize("malformed", MALFORMED)
def test_reading_a_malformed_chunk_raises(
    malformed: bytes, serve: Serve, client_of: ClientOf
) -> None:
    application = Reads(read_to_the_end)
    client = client_of(serve(application, body_buffer_size=1))
    client.send(CHUNKED + chunk(b"first"))
    take(application.entered)
    client.send(malformed)
    assert client.reply().status == 400
    assert client.is_closed()
    assert isinstance(application.error, OSError)


@pytest.mark.parametrize("malformed", MALFORMED)
def test_the_application_is_not_entered_for_a_chunk_malformed_before(
    malformed: bytes, serve: Serve, client_of: ClientOf
) -> None:
    application = Recorder()
    client = client_of(serve(application))
    client.send(CHUNKED + chunk(b"first") + malformed)
    assert client.reply().status == 400
    assert client.is_closed()
    assert application.environs == []
