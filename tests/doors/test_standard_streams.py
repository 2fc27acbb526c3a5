"""Processes that were started with descriptors 0, 1 and 2 closed, as daemons may be."""

from __future__ import annotations

import os
import signal
import socket

import pytest

from tests.client import connect
from tests.doors.conftest import Start, Write
from tests.doors.processes import address_of
from tests.loops import LOOPS

APP = """
import os
import sys


def app(environ, start_response):
    print("an error", file=environ["wsgi.errors"])
    held = [os.path.realpath(f"/proc/self/fd/{number}") for number in range(3)]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [" ".join(held).encode()]
"""

RUN = """
import asyncwsgi, sys, web
sys.exit(asyncwsgi.run(web.app, bind=sys.argv[1], loop=sys.argv[2]))
"""

HAVE_CLOSED = """
import os, sys
for number in map(int, sys.argv[1].split(",")):
    os.close(number)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("command", ["asyncwsgi", "asyncwsgi --reload", "run"])
def test_a_process_without_standard_streams_serves_and_ends_well(
    start: Start, write: Write, listener: socket.socket, command: str, loop: str
) -> None:
    write("web.py", APP)
    bind = f"fd://{listener.fileno()}"
    if command == "run":
        arguments = ["-c", RUN, bind, loop]
    else:
        arguments = ["-m", *command.split(), "--bind", bind, "--loop", loop, "web:app"]
    process = start("-c", HAVE_CLOSED, "0,1,2", *arguments, descriptors=[listener.fileno()])
    with connect(listener.getsockname()) as client:
        assert client.get().body == b" ".join([os.devnull.encode()] * 3)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("-m", "flask", "arun"),
        ("-m", "asyncwsgi.flask", "run"),
        ("-m", "asyncwsgi.serving", "flask", "run"),
    ],
    ids=" ".join,
)
def test_so_does_the_command_of_flask(
    start: Start, write: Write, arguments: tuple[str, ...]
) -> None:
    # libuv aborts a process whose sockets have such numbers. Standard error tells that it is ready.
    write("app.py", "import flask; app = flask.Flask('app')")
    process = start("-c", HAVE_CLOSED, "0,1", *arguments, "--port", "0")
    running = "Running on "
    address = address_of(process.read_until(running).rpartition(running)[2])
    with connect(address) as client:
        assert client.get().status == 404
    assert process.interrupt() == 0
