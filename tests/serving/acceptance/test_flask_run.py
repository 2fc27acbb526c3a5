"""``flask run``, by the two ways that lead to asyncwsgi."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client import Client, connect
from tests.doors.processes import Process, address_of

PROGRAMS = Path(__file__).parent / "programs"
STYLE = (PROGRAMS / "static" / "style.css").read_bytes()
WAYS = [
    pytest.param(("asyncwsgi.flask", "run"), id="python -m asyncwsgi.flask run"),
    pytest.param(("flask", "arun"), id="flask arun"),
]


@pytest.fixture(params=WAYS)
def program(request: pytest.FixtureRequest) -> Iterator[Process]:
    module, command = request.param
    arguments = ("-m", module, "--app", "static_site", command, "--port", "0")
    process = Process(*arguments, directory=PROGRAMS)
    try:
        yield process
    finally:
        process.close()


@pytest.fixture
def client(program: Process) -> Iterator[Client]:
    """One connection, which Werkzeug's own server would close after the first response."""
    url = program.read_until(" * Running on ").rpartition(" ")[2]
    with connect(address_of(url)) as client:
        yield client


def test_static_files_come_on_one_connection(client: Client) -> None:
    assert client.get("/").body == b"/static/style.css"
    whole = client.get("/static/style.css")
    assert (whole.status, whole.body) == (200, STYLE)
    assert whole.header("Content-Length") == str(len(STYLE))
    etag = whole.header("ETag")
    assert etag is not None

    client.request("HEAD", "/static/style.css")
    head = client.reply("HEAD")
    assert (head.status, head.header("Content-Length")) == (200, str(len(STYLE)))

    cached = client.get("/static/style.css", If_None_Match=etag)
    assert (cached.status, cached.body) == (304, b"")

    part = client.get("/static/style.css", Range="bytes=5-10")
    assert (part.status, part.body) == (206, STYLE[5:11])

    assert client.get("/static/missing.css").status == 404
    assert client.get("/static/../static_site.py").status == 404


def test_the_log_is_that_of_werkzeug(program: Process, client: Client) -> None:
    client.get("/static/style.css")
    assert '"GET /static/style.css HTTP/1.1" 200 -' in program.read_until("GET /static/style.css")


def test_an_interrupt_ends_it_in_order(program: Process, client: Client) -> None:
    client.get("/")
    assert program.interrupt() == 0
