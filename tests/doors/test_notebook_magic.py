"""``%asyncwsgi`` in a kernel of its own."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from traitlets.config import Config

import asyncwsgi
from tests.client import TIMEOUT, connect, reserved_port
from tests.doors.processes import address_of

Run = Callable[[str], str]
Address = tuple[str, int] | str

APP = """
def make(text):
    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", str(len(text)))])
        return [text]
    return app

first, second = make(b"first"), make(b"second")
"""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs a cell; what it prints. The extension is loaded."""
    monkeypatch.setenv("PYTHONPATH", str(Path(asyncwsgi.__file__).parents[1]))
    with tempfile.TemporaryDirectory() as folder:  # the path of a Unix socket has to be short
        way = {"transport": "ipc", "ip": f"{folder}/kernel"} if sys.platform != "win32" else {}
        book, timeout = nbformat.v4.new_notebook(), int(TIMEOUT)  # type: ignore[no-untyped-call]
        client = NotebookClient(
            book, timeout=timeout, iopub_timeout=timeout, config=Config({"KernelManager": way})
        )

        def run(source: str) -> str:
            book.cells.append(nbformat.v4.new_code_cell(source))  # type: ignore[no-untyped-call]
            output = client.execute_cell(book.cells[-1], len(book.cells) - 1).outputs
            return "".join(each.get("text", "") for each in output)

        with client.setup_kernel():
            run("%load_ext asyncwsgi")
            run(APP)
            yield run


def address(said: str) -> Address:
    match = re.search(r"http://[^;]+", said)
    assert match, said
    return address_of(match[0])


def fetched(where: Address) -> bytes:
    with connect(where) as client:
        return client.get().body


@pytest.fixture
def port() -> Iterator[int]:
    with reserved_port() as port:
        yield port


def test_it_says_where_it_serves(run: Run) -> None:
    said = run("%asyncwsgi first")
    pattern = r"first is served on http://127\.0\.0\.1:\d+; %asyncwsgi --stop ends it\n"
    assert re.fullmatch(pattern, said)
    assert fetched(address(said)) == b"first"


def test_another_application_takes_the_place_of_the_first_on_its_port(run: Run, port: int) -> None:
    where = address(run(f"%asyncwsgi first --port {port}"))
    assert where == ("127.0.0.1", port)
    assert fetched(where) == b"first"
    assert address(run("%asyncwsgi second")) == where
    assert fetched(where) == b"second"
    assert fetched(address(run('%asyncwsgi make(b"of a call")'))) == b"of a call"


def test_it_stops_and_starts_again_on_the_same_port(run: Run, port: int) -> None:
    where = address(run(f"%asyncwsgi first --port {port}"))
    run("%asyncwsgi --stop")
    with pytest.raises(ConnectionRefusedError):
        connect(where)
    run("%asyncwsgi --stop")
    assert address(run("%asyncwsgi second")) == where


def test_to_unload_it_stops_it(run: Run, port: int) -> None:
    where = address(run(f"%asyncwsgi first --port {port}"))
    run("%unload_ext asyncwsgi")
    with pytest.raises(ConnectionRefusedError):
        connect(where)
    run("%load_ext asyncwsgi")
    assert fetched(address(run("%asyncwsgi first"))) == b"first"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param("", "name one application", id="nothing"),
        pytest.param("nothing", "name 'nothing' is not defined", id="no such name"),
        pytest.param("3", "the application 3 is an int", id="no application"),
        pytest.param("first --port x", "argument --port: invalid int value: 'x'", id="no port"),
        pytest.param("first --port 70000", "port must be at most 65535", id="no such port"),
        pytest.param("first --stop", "--stop stands alone", id="too much"),
    ],
)
def test_what_is_wrong_is_said_and_the_server_stays(run: Run, line: str, message: str) -> None:
    where = address(run("%asyncwsgi first"))
    with pytest.raises(CellExecutionError, match=re.escape(message)):
        run(f"%asyncwsgi {line}")
    assert fetched(where) == b"first"
