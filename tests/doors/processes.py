"""Programs in processes of their own: started, listened to, signalled and waited for."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from tests.client import TIMEOUT, Client, connect

READY = "listening on "


class Process:
    """A Python program.

    Args:
        arguments: what follows the interpreter on its command line.
        directory: where it runs.
        environment: variables besides those of this process; those of ``asyncwsgi`` are its own.
        descriptors: what it inherits besides the standard streams.
        terminal: its standard input, in a session of its own; a pipe if there is none.
        errors: its standard error; a pipe that is read here if there is none.
        executable: what runs it.
    """

    def __init__(
        self,
        *arguments: str,
        directory: Path,
        environment: Mapping[str, str] | None = None,
        descriptors: Sequence[int] = (),
        terminal: int | None = None,
        errors: int = subprocess.PIPE,
        executable: str = sys.executable,
    ) -> None:
        foreign = ("ASYNCWSGI_", "PYTHONDEV", "FORCE_COLOR")
        own = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
        self._process = subprocess.Popen(
            [executable, *arguments],
            cwd=directory,
            env={**own, "PYTHONDONTWRITEBYTECODE": "1", **(environment or {})},
            stdin=subprocess.PIPE if terminal is None else terminal,
            stdout=subprocess.PIPE,
            stderr=errors,
            pass_fds=descriptors,
            # As a shell's job has: what it has started can be signalled with it.
            process_group=0 if terminal is None else None,
            start_new_session=terminal is not None,
            bufsize=0,  # communicate() never sees what a buffer has read ahead of a line
        )
        self.output = ""
        """Its standard output; whole when it has ended."""
        self.log = ""
        """Its standard error, as far as it was read; whole when it has ended."""

    def read_until(self, text: str) -> str:
        """Wait for a line with `text` on standard error; that line.

        A program of several threads has to write its line in one call: `print` makes two, for the
        line and for its end, and another thread's line may come between.
        """
        assert self._process.stderr is not None
        for data in self._process.stderr:
            line = data.decode()
            self.log += line
            if text in line:
                return line.rstrip("\n")
        raise AssertionError(f"the program ended without {text!r}:\n{self.log}")

    def urls(self) -> list[str]:
        """Wait until it listens; where."""
        return self.read_until(READY).rpartition(READY)[2].split(", ")

    def connect(self) -> Client:
        """Wait until it listens; a connection to the first of its listeners."""
        return connect(address_of(self.urls()[0]))

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def send_signal_to_group(self, number: signal.Signals) -> None:
        """Do what a terminal does for Ctrl+C: signal the program and what it has started."""
        os.killpg(self._process.pid, number)

    def end_input(self) -> None:
        """Close its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.stdin = None

    def wait(self, timeout: float = TIMEOUT) -> int:
        """Wait until it ends; its exit code.

        Raises:
            subprocess.TimeoutExpired: it has not ended after `timeout` seconds.
        """
        output, log = self._process.communicate(timeout=timeout)
        self.output += output.decode()
        self.log += (log or b"").decode()
        return self._process.returncode

    def interrupt(self) -> int:
        """Do what Ctrl+C does, and wait for the end; the exit code."""
        self.send_signal(signal.SIGINT)
        return self.wait()

    def close(self) -> None:
        """Kill it and what it has started, if anything of it still runs."""
        with contextlib.suppress(ProcessLookupError):
            self.send_signal_to_group(signal.SIGKILL)
        self._process.wait(TIMEOUT)
        self._show()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def _show(self) -> None:
        # pytest prints it beside a test that fails.
        if self._process.stderr is not None and not self._process.stderr.closed:
            self.log += self._process.stderr.read().decode()
        print(self.log)


def replace(source: Path, old: str, new: str) -> None:
    """Edit a source file as editors do: no reader ever sees half of it."""
    draft = source.with_name("draft")
    draft.write_text(source.read_text().replace(old, new))
    draft.replace(source)


def address_of(url: str) -> tuple[str, int] | str:
    """Where to connect to for a URL of the "listening on" line."""
    parts = urlsplit(url)
    if parts.scheme in ("unix", "uwsgi+unix"):
        return parts.path
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port
