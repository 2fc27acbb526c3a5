"""A view that forks: the child ends with its part of the view, and the server goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from textwrap import indent

import pytest

from tests.client import TIMEOUT

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")

PROGRAM = """
import os, queue, signal, sys, warnings
from concurrent.futures import ThreadPoolExecutor
from urllib.request import urlopen
from asyncwsgi.requests.exchange import Exchange
from asyncwsgi.testing import LiveServer
from asyncwsgi.testing.live.recording import RecordingExchange

# As in other servers, a thread answers by the socket itself, which the child has, too.
RecordingExchange.few_run = Exchange.few_run

warnings.simplefilter("ignore", DeprecationWarning)  # of forks in programs with threads

class Body(list):
    def close(self):
        if where == "close" and (status := statuses()) is not None:
            closed.put(status)

def statuses():
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    signal.alarm(60)  # should it not end by itself
{child}

def app(environ, start_response):
    status = statuses() if where == "view" else 0
    body = f"ended with {{status}}" if status is not None else "x" * 10**6
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return Body([body.encode()])

where, closed = {where!r}, queue.SimpleQueue()
with ThreadPoolExecutor(1) as pool, LiveServer(app{options}) as server:
    for _ in range(2):
        lines = [urlopen(server.url).read().decode()]
        if where == "close":
            lines.append(str(closed.get()))
        # While nothing is forked: a child would print what it finds unprinted.
        print(*lines, sep="\\n", flush=True)
"""


def run(child: str, where: str = "view", options: str = "") -> tuple[list[str], str]:
    """Two requests to an application that forks: what was printed and logged."""
    program = PROGRAM.format(child=indent(child, " " * 4), where=where, options=options)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, timeout=5 * TIMEOUT, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr


threads = pytest.mark.parametrize("options", ["", ", executor=pool"], ids=["thread", "executor"])
"""Whose thread runs the view: one of the server's own, or an executor's."""


@threads
def test_sys_exit_ends_it_with_its_status(options: str) -> None:
    printed, logged = run("sys.exit(3)", options=options)
    assert printed == ["ended with 3"] * 2
    assert logged == ""


@pytest.mark.parametrize(
    ("child", "status", "said"),
    [
        pytest.param("sys.exit()", 0, "", id="nothing"),
        pytest.param("sys.exit('spam')", 1, "spam\n", id="a message"),
    ],
)
def test_sys_exit_means_what_it_means_elsewhere(child: str, status: int, said: str) -> None:
    printed, logged = run(child)
    assert printed == [f"ended with {status}"] * 2
    assert logged == said * 2


def test_what_it_has_printed_is_not_lost() -> None:
    printed, _ = run("print('spam')\nsys.exit(3)")
    assert printed == ["spam", "ended with 3"] * 2


def test_another_exception_ends_it_with_a_traceback() -> None:
    printed, logged = run("raise ValueError('spam')")
    assert printed == ["ended with 1"] * 2
    assert logged.count("ValueError: spam\n") == 2


def test_a_response_of_it_ends_it_and_reaches_nobody() -> None:
    # It is larger than what may be under way: the child must not wait for a loop that is not there.
    printed, logged = run("return None")
    assert printed == ["ended with 1"] * 2
    assert logged.count("RuntimeError: this process was forked from the server's") == 2


@threads
@pytest.mark.parametrize(
    ("child", "status"),
    [
        pytest.param("sys.exit(3)", 3, id="sys.exit"),
        pytest.param("return None", 1, id="return"),
    ],
)
def test_one_that_close_has_forked_ends_too(child: str, status: int, options: str) -> None:
    printed, _ = run(child, where="close", options=options)
    assert printed == ["ended with 0", str(status)] * 2
