"""An application that several processes serve, and those processes."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.client import Reply
from tests.doors.processes import Process, address_of
from tests.reloading.conftest import Project

APP = """
import asyncio
import os
import threading
import time

import asyncwsgi

# Nothing but what a successor is for keeps connections open.
asyncwsgi.Server.arrival_timeout = 0.0


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/held":
        environ["wsgi.errors"].write("the application was entered\\n")
        with open("release") as pipe:  # waits until somebody opens it for writing
            pipe.read()
    if path == "/slow":
        time.sleep(0.05)
    if path == "/die":
        os._exit(7)
    if path == "/linger":  # the process ends behind this thread, long after its loop
        threading.Thread(target=time.sleep, args=[2.5], daemon=False).start()
    if path == "/hold-loop":
        asyncwsgi.from_thread.run(hold_loop)
    values = {"/multiprocess": environ["wsgi.multiprocess"], "/version": "VERSION"}
    body = str(values.get(path, os.getpid())).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


async def hold_loop():
    print("the loop is held", file=__import__("sys").stderr, flush=True)
    time.sleep(3600)
"""
IN_HASTE = """
import sys
from asyncwsgi.supervision import supervisor
supervisor.SHORTEST_PAUSE = 0.01
from asyncwsgi.cli import main
sys.path.insert(0, "")
main()
"""
"""The command line, with a supervisor that soon tries again."""


class Workers:
    """The module ``web``, and the processes that serve it."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._project = Project(directory, stack)
        self.directory = directory
        self.write("one")

    @property
    def process(self) -> Process:
        """The supervisor."""
        return self._project.process

    @property
    def project(self) -> Project:
        return self._project

    def write(self, version: str) -> None:
        """Have the code of the application say `version`."""
        self._project.write("web.py", APP.replace("VERSION", version))

    def write_broken(self) -> None:
        self._project.write("web.py", "raise LookupError('what the code raises')\n")

    def serve(self, count: int, *options: str, in_haste: bool = False) -> None:
        """Start `count` workers, and wait until all serve."""
        arguments = ("--port", "0", "--workers", str(count), *options)
        if in_haste:
            self._project.run("-c", IN_HASTE, *arguments, "web:app")
        else:
            self._project.start(*arguments)
        self.find()
        self.wait_until_served(count - 1)

    def find(self) -> None:
        """Wait until the first worker serves."""
        self._project.address = address_of(self.process.urls()[0])
        self.wait_until_served()

    def wait_until_served(self, count: int = 1) -> None:
        """Wait until `count` more workers serve."""
        for _ in range(count):
            self.process.read_until(" serves\n")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def get(self, target: str = "/") -> Reply:
        return self._project.get(target)

    def pids(self, count: int) -> set[int]:
        """The processes of `count` workers, as the supervisor names them."""
        self.signal(signal.SIGUSR1)
        lines = [self.process.read_until(" requests so far") for _ in range(count)]
        return {int(match[1]) for line in lines if (match := re.search(r"worker (\d+): ", line))}

    def make_pipe(self) -> Path:
        """What the view ``/held`` waits for; whoever opens it for writing lets it go on."""
        pipe = self.directory / "release"
        os.mkfifo(pipe)
        return pipe


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    directory = tmp_path / "project"
    directory.mkdir()
    with ExitStack() as stack:
        yield Workers(directory, stack)
