"""A server in somebody else's process leaves that process as it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.loops import LOOPS

ROOT = Path(__file__).parents[2]

# In a process of its own: test runners install handlers and capture output.
PROGRAM = """
import asyncio, http.client, logging, os, signal, sys, threading, warnings


def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "0")])
    return []


def state():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # policies are deprecated from Python 3.14 on
        policy = asyncio.get_event_loop_policy()
    names = sorted(logging.root.manager.loggerDict)
    loggers = [logging.getLogger(), *map(logging.getLogger, names)]
    settings = [(x.name, x.level, x.propagate, x.disabled, x.handlers[:]) for x in loggers]
    return {
        "signals": [signal.getsignal(number) for number in sorted(signal.valid_signals())],
        "logging": [x for x in settings if x[1:] != (logging.NOTSET, True, False, [])],
        "policy": policy,
        "threads": threading.enumerate(),
        "hooks": (sys.excepthook, threading.excepthook, sys.unraisablehook),
        "streams": (sys.stdin, sys.stdout, sys.stderr),
        "environment": dict(os.environ),
        "directory": os.getcwd(),
        "path": list(sys.path),
        "switch interval": sys.getswitchinterval(),
    }


def get(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/")
    assert connection.getresponse().status == 200
    connection.close()


def compare(when):
    now = state()
    for name in before:
        if now[name] != before[name]:
            print(name, "has changed", when, before[name], now[name])


async def main():
    outside = state()
    async with Server(app, port=0) as server:
        await asyncio.to_thread(get, server.port)
        during = state()
        for name in ("signals", "logging", "policy", "hooks", "streams", "switch interval"):
            if during[name] != outside[name]:
                print(name, "is changed while it runs", outside[name], during[name])


loop = sys.argv[1]
before = state()

from asyncwsgi import Server, serve_in_thread
from asyncwsgi.event_loops import loop_factory

compare("by the import")
with serve_in_thread(app, port=0, loop=loop) as server:
    get(server.port)
compare("behind a thread")

with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
    runner.run(main())
compare("behind a loop")
"""


@pytest.mark.parametrize("loop", LOOPS)
def test_nothing_of_the_process_is_changed_and_nothing_is_written(loop: str) -> None:
    # ResourceWarning: about what was left unclosed; Python hides it by default.
    ended = subprocess.run(
        [sys.executable, "-W", "always::ResourceWarning", "-c", PROGRAM, loop],
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert (ended.stdout, ended.stderr, ended.returncode) == ("", "", 0)


@pytest.mark.parametrize("module", ["uvloop", "click", "flask", "werkzeug", "django"])
def test_importing_the_package_imports_nothing_it_may_not_need(module: str) -> None:
    # A program that embeds a server pays for what it uses: the command line and the loop of its
    # choice come later.
    program = f"import asyncwsgi, sys; print({module!r} in sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=250, check=True
    )
    assert ended.stdout == "False\n"
