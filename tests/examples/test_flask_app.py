"""examples/flask_app.py, checked by `wsgiref.validate` while it serves."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable

import pytest

from asyncwsgi.testing import LiveServer
from tests.client import Client
from tests.conftest import Serve
from tests.examples.programs import application_of, served_by_command_line


@pytest.fixture
def client(serve: Serve, client_of: Callable[[LiveServer], Client]) -> Client:
    return client_of(serve(application_of("flask_app.py", "app")))


def test_every_link_of_the_first_page_is_answered(client: Client) -> None:
    targets = re.findall(r'href="(/[^"]*)"', client.get("/").body.decode())
    statuses = {target: client.get(f"{target}?pause=0").status for target in targets}
    assert statuses == {
        "/hello/world": 200,
        "/add/19/23": 200,
        "/visits": 200,
        "/life": 200,
        "/stream": 200,
        "/error": 500,
        "/nowhere": 404,
    }


def test_what_comes_out_of_the_url_is_escaped(client: Client) -> None:
    assert b"Hello, &lt;b&gt;!" in client.get("/hello/%3Cb%3E").body


def test_converters_make_numbers(client: Client) -> None:
    assert json.loads(client.get("/add/19/23").body) == {"first": 19, "second": 23, "sum": 42}


def test_the_session_counts_visits(client: Client) -> None:
    cookie = client.get("/visits").header("Set-Cookie")
    assert cookie is not None
    assert b"2 times" in client.get("/visits", Cookie=cookie.partition(";")[0]).body


def test_each_request_is_torn_down_before_its_response_ends(client: Client) -> None:
    for target in ("/", "/error", "/nowhere", "/stream?pause=0"):
        client.get(target)
    life = json.loads(client.get("/life").body)
    assert (life["number"], life["under_way"]) == (5, 1)


def test_the_stream_has_its_request(client: Client) -> None:
    lines = client.get("/stream?pause=0").body.splitlines()
    assert (len(lines), b"for /stream after" in lines[-1]) == (10, True)


def test_an_upload_is_digested(client: Client) -> None:
    content = b"spam" * 100_000
    reply = client.post(
        "/upload",
        b"--limit\r\n"
        b'Content-Disposition: form-data; name="file"; filename="spam.txt"\r\n\r\n'
        b"%b\r\n--limit--\r\n" % content,
        Content_Type="multipart/form-data; boundary=limit",
    )
    digest = hashlib.sha256(content).hexdigest()
    assert json.loads(reply.body) == {"name": "spam.txt", "size": 400_000, "sha256": digest}


def test_an_upload_without_a_file_is_refused(client: Client) -> None:
    assert client.post("/upload").status == 400


def test_the_page_for_404_names_the_path(client: Client) -> None:
    assert b"There is nothing at /nowhere." in client.get("/nowhere").body


def test_the_command_line_serves_it_until_ctrl_c() -> None:
    with served_by_command_line("flask_app.py") as program:
        with program.connect() as client:
            assert client.get("/").status == 200
        assert program.interrupt() == 0
        assert "Traceback" not in program.log
