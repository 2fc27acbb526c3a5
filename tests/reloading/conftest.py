"""A project that is edited while ``asyncwsgi --reload`` serves it."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tests.client import TIMEOUT, Client, Reply, connect
from tests.doors.processes import Process, address_of

APP = """
import asyncio
import os
import threading
import time

import asyncwsgi

# What it accepted last is not sent yet, perhaps: on a busy machine a client may take long.
asyncwsgi.Server.arrival_timeout = 10.0

VERSION = "{version}"


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/held":
        environ["wsgi.errors"].write("the application was entered\\n")
        with open("release") as pipe:  # waits until somebody opens it for writing
            pipe.read()
    if path == "/slow":
        time.sleep(0.25)
    if path == "/die":
        os._exit(7)
    if path == "/fail":
        raise ZeroDivisionError("a fault of the application")
    if path == "/events":
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        return events()
    if path == "/async-events":
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        return asyncwsgi.stream(async_events())
    body = str(os.getpid()) if path == "/pid" else VERSION
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body.encode()]


def events():
    yield b"data: {version}\\n\\n"
    threading.Event().wait()


async def async_events():
    try:
        yield b"data: {version}\\n\\n"
        await asyncio.Event().wait()
    finally:
        open("closed", "w").close()
"""
BROKEN = "raise LookupError('what <the> new code raises')\n"


class Project:
    """A directory with the module ``web``, and the program that serves it."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self._stack = stack
        self.process: Process
        self.address: tuple[str, int] | str

    def write(self, name: str, source: str) -> Path:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # As editors do: no reader ever sees half of it.
        draft = path.with_name(f"{path.name}.draft")
        draft.write_text(dedent(source), encoding="utf-8")
        return draft.replace(path)

    def write_version(self, version: str) -> None:
        """Write a module whose application answers with `version`."""
        self.write("web.py", APP.format(version=version))

    def start(self, *options: str, app: str = "web:app", **more: Any) -> Process:
        """Run the command line on a free port, unless the options say where."""
        port = () if "--bind" in options else ("--port", "0")
        return self.run("-m", "asyncwsgi", *port, *options, app, **more)

    def run(self, *arguments: str, **more: Any) -> Process:
        """Run a Python program in the directory."""
        self.process = Process(*arguments, **{"directory": self.directory, **more})
        self._stack.callback(self.process.close)
        return self.process

    def serve(self, *options: str, **more: Any) -> None:
        """Start version ``one`` with ``--reload``, and wait until it serves."""
        self.write_version("one")
        self.start("--reload", *options, **more)
        self.address = address_of(self.process.urls()[0])

    def reload(self, version: str) -> None:
        """Change the code and wait until its new version serves alone."""
        self.write_version(version)
        self.process.read_until("reloading: web.py changed")
        self.wait_until_taken_over()

    def wait_until_watched(self) -> None:
        """Wait until the supervisor has begun to watch."""
        # It says so, and a child that it listens: either may be first.
        if "changes" not in self.process.log:
            self.process.read_until("changes")

    def wait_until_taken_over(self) -> None:
        """Wait until new code serves and the old has been told to stop."""
        self.process.read_until("listening on ")
        self.process.read_until("stopping; ")

    def connect(self) -> Client:
        """A connection, closed when the test ends."""
        return self._stack.enter_context(connect(self.address))

    def get(self, target: str = "/", **headers: str) -> Reply:
        """One request on a connection of its own."""
        with connect(self.address) as client:
            return client.get(target, **headers)

    def answers(self, version: str) -> bool:
        """Ask until `version` answers; the old one may have accepted the first connections."""
        patience = time.monotonic() + TIMEOUT
        while time.monotonic() < patience:
            reply = self.get()
            assert reply.status == 200
            if reply.body == version.encode():
                return True
        return False

    def pid(self) -> int:
        """The process that serves."""
        return int(self.get("/pid").body)


def has_ended(pid: int) -> bool:
    """Wait until the process `pid` has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], TIMEOUT)[0])
    finally:
        os.close(descriptor)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    directory = tmp_path / "project"
    directory.mkdir()
    with ExitStack() as stack:
        yield Project(directory, stack)


@pytest.fixture
def without(tmp_path: Path) -> Any:
    """The environment of a process in which a package is not installed."""

    def without(package: str) -> dict[str, str]:
        directory = tmp_path / "without"
        directory.mkdir()
        (directory / f"{package}.py").write_text("raise ImportError('it is not installed')\n")
        path = os.environ.get("PYTHONPATH")  # where the package itself may come from
        return {"PYTHONPATH": f"{directory}{os.pathsep}{path}" if path else str(directory)}

    return without
