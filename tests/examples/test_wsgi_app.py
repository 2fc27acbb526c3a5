"""examples/wsgi_app.py, checked by `wsgiref.validate` while it serves."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from asyncwsgi.testing import LiveServer
from tests.client import Client
from tests.conftest import Serve
from tests.examples.programs import application_of, run_directly, served_by_command_line


@pytest.fixture
def client(serve: Serve, client_of: Callable[[LiveServer], Client]) -> Client:
    return client_of(serve(application_of("wsgi_app.py", "application")))


def test_it_says_hello(client: Client) -> None:
    assert client.get("/").body.startswith(b"Hello")


def test_a_body_is_echoed_with_its_type(client: Client) -> None:
    body = bytes(range(256)) * 1024
    reply = client.post("/echo", body, Content_Type="image/png")
    assert (reply.body == body, reply.header("Content-Type")) == (True, "image/png")


def test_a_chunked_body_is_echoed(client: Client) -> None:
    client.send(b"POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n")
    client.send(b"4\r\nspam\r\n4\r\neggs\r\n0\r\n\r\n")
    assert client.reply().body == b"spameggs"


def test_the_stream_counts_down(client: Client) -> None:
    reply = client.get("/stream?pause=0")
    assert reply.body.split() == [b"%d" % number for number in range(10, 0, -1)]


def test_a_pause_that_is_no_number_is_refused(client: Client) -> None:
    assert client.get("/stream?pause=long").status == 400


def test_anything_else_is_not_found(client: Client) -> None:
    assert client.get("/nowhere").status == 404


def test_the_command_line_serves_it_until_ctrl_c() -> None:
    with served_by_command_line("wsgi_app.py") as program:
        with program.connect() as client:
            assert client.get("/").status == 200
        assert program.interrupt() == 0
        assert "Traceback" not in program.log


def test_it_serves_itself_until_ctrl_c() -> None:
    with run_directly("wsgi_app.py", PORT="0") as program:
        with program.connect() as client:
            assert client.get("/").status == 200
        assert program.interrupt() == 0
        assert "Traceback" not in program.log
