"""The examples: their applications in this process, and the whole of them in one of their own."""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast
from urllib.parse import urlsplit

from tests.client import TIMEOUT, Client, connect

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

EXAMPLES = Path(__file__).parents[2] / "examples"
_READY = "listening on "


def application_of(file: str, name: str) -> WSGIApplication:
    """The application called `name` of an example, made anew."""
    return cast("WSGIApplication", runpy.run_path(str(EXAMPLES / file))[name])


class Program:
    """A Python program in a process of its own; killed if the test leaves it running.

    Args:
        arguments: what follows the interpreter on its command line.
        environment: variables besides those of this process.
    """

    def __init__(self, *arguments: str, **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            env=os.environ | environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log = ""
        """What it has written to standard error, as far as it was read."""

    def read_url(self) -> str:
        """Wait until one more server of the program listens; where."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.log += line
            if _READY in line:
                return line.rpartition(_READY)[2].strip()
        raise AssertionError(f"the program ended before it listened:\n{self.log}")

    def connect(self) -> Client:
        """Wait until one more server of the program listens; a connection to it."""
        url = urlsplit(self.read_url())
        if url.scheme == "unix":
            return connect(url.path)
        assert url.hostname is not None
        assert url.port is not None
        return connect((url.hostname, url.port))

    def interrupt(self) -> int:
        """Do what Ctrl+C does, and wait for the end; the exit code."""
        self._process.send_signal(signal.SIGINT)
        return self.wait()

    def wait(self) -> int:
        """Wait until the program ends by itself; the exit code."""
        self.log += self._process.communicate(timeout=TIMEOUT)[1]
        return self._process.returncode

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()
        elif self._process.stderr is not None:
            self._process.stderr.close()


def served_by_command_line(file: str, *arguments: str) -> Program:
    """``asyncwsgi FILE`` on a free port."""
    return Program("-m", "asyncwsgi", "--port", "0", *arguments, str(EXAMPLES / file))


def run_directly(file: str, *arguments: str, **environment: str) -> Program:
    """``python FILE``."""
    return Program(str(EXAMPLES / file), *arguments, **environment)
