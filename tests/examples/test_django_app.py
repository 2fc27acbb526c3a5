"""examples/django_app.py, in a process of its own: Django has one configuration per process."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.client import Client
from tests.examples.programs import Program, served_by_command_line


@pytest.fixture(scope="module")
def program() -> Iterator[Program]:
    with served_by_command_line("django_app.py") as program:
        yield program


@pytest.fixture(scope="module")
def client(program: Program) -> Iterator[Client]:
    with program.connect() as client:
        yield client


def test_it_says_hello(client: Client) -> None:
    assert client.get("/", Host="localhost").body.startswith(b"Hello from Django")


def test_converters_make_numbers(client: Client) -> None:
    reply = client.get("/square/12", Host="localhost")
    assert json.loads(reply.body) == {"number": 12, "square": 144}


def test_the_stream_is_whole(client: Client) -> None:
    reply = client.get("/stream?pause=0", Host="localhost")
    assert reply.body.splitlines() == [b"line %d" % number for number in range(1, 11)]


def test_an_upload_is_measured(client: Client) -> None:
    reply = client.post(
        "/upload",
        b"--limit\r\n"
        b'Content-Disposition: form-data; name="file"; filename="spam.txt"\r\n\r\n'
        b"%b\r\n--limit--\r\n" % (b"spam" * 100_000),
        Host="localhost",
        Content_Type="multipart/form-data; boundary=limit",
    )
    assert json.loads(reply.body) == {"name": "spam.txt", "size": 400_000}


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        pytest.param("/nowhere", "localhost", 404, id="no route"),
        pytest.param("/upload", "localhost", 405, id="GET where POST is wanted"),
        pytest.param("/stream?pause=long", "localhost", 400, id="a pause that is no number"),
        pytest.param("/", "elsewhere", 400, id="a host that is not allowed"),
    ],
)
def test_django_refuses(client: Client, target: str, host: str, status: int) -> None:
    assert client.get(target, Host=host).status == status


def test_ctrl_c_ends_it() -> None:
    with served_by_command_line("django_app.py") as program:
        with program.connect() as client:
            assert client.get("/", Host="localhost").status == 200
        assert program.interrupt() == 0
        assert "Traceback" not in program.log
