"""``bottle.run(server=...)`` with the adapter of this package."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.client import connect
from tests.doors.conftest import Start, Write
from tests.doors.processes import replace

PROGRAM = """
import bottle
from asyncwsgi.bottle import AsyncWSGIServer

app = bottle.Bottle()


@app.get("/")
def index():
    return "the first answer"


bottle.run(app, server={server}, host={host}, port=0, {more})
"""
BY_NAME = '"asyncwsgi.bottle:AsyncWSGIServer"'
LOOPBACK = '"127.0.0.1"'


def program(server: str = "AsyncWSGIServer", host: str = LOOPBACK, more: str = "") -> str:
    return PROGRAM.format(server=server, host=host, more=more)


@pytest.mark.parametrize("server", ["AsyncWSGIServer", BY_NAME], ids=["class", "name"])
def test_bottle_runs_it_with_its_options(start: Start, write: Write, server: str) -> None:
    write("program.py", program(server, more="server_header=False"))
    process = start("program.py")
    with process.connect() as client:
        reply = client.get()
        assert (reply.body, reply.header("Server")) == (b"the first answer", None)
    assert process.interrupt() == 0
    assert "GET / HTTP/1.1" in process.log
    assert "Traceback" not in process.log


def test_quiet_is_quiet(start: Start, write: Write, tmp_path: Path) -> None:
    serves = "lifespan=serving"
    source = program(host='"unix:socket"', more=f"quiet=True, {serves}")
    lines = (
        "import contextlib, sys\n\n\n@contextlib.asynccontextmanager\nasync def serving():\n"
        '    sys.stderr.write("ready\\n")\n    yield\n'
    )
    write("program.py", lines + source)
    process = start("program.py")
    process.read_until("ready")
    with connect(str(tmp_path / "socket")) as client:
        assert client.get().body == b"the first answer"
    assert process.interrupt() == 0
    assert (process.log, process.output) == ("ready\n", "")


def test_the_reloader_of_bottle_restarts_it(start: Start, write: Write, tmp_path: Path) -> None:
    write("program.py", program(more="reloader=True, interval=0.1"))
    process = start("program.py")
    with process.connect() as client:
        assert client.get().body == b"the first answer"
        replace(tmp_path / "program.py", "the first answer", "another answer")
        with process.connect() as other:
            assert other.get().body == b"another answer"
    process.send_signal_to_group(signal.SIGINT)
    assert process.wait() == 0
    assert "Traceback" not in process.log


def test_an_option_that_is_none_is_named(start: Start, write: Write) -> None:
    write("program.py", program(more="thread=4"))
    process = start("program.py")
    assert process.wait() == 1
    assert "there is no option 'thread'; did you mean 'threads'?" in process.log
