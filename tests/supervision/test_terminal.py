"""SIGHUP, which a terminal sends that closes, and people who want new workers."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doors.processes import Process
from tests.supervision.conftest import APP

SHELL = """
import fcntl
import os
import sys
import termios

fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "asyncwsgi", *sys.argv[1:]])
"""
"""Makes its standard input the terminal of its session, and becomes the server."""


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a terminal: the one that people have, and the one that programs have."""
    ends = pty.openpty()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):  # the test has closed it
            os.close(end)


def test_the_end_of_the_terminal_ends_the_server(tmp_path: Path, terminal: tuple[int, int]) -> None:
    (tmp_path / "web.py").write_text(APP)
    people, programs = terminal
    options = ("--workers", "1", "--port", "0", "web:app")
    process = Process("-c", SHELL, *options, directory=tmp_path, terminal=programs)
    try:
        os.close(programs)
        process.urls()
        process.send_signal(signal.SIGHUP)  # of somebody else: the terminal is there
        process.read_until("replacing all workers")
        process.read_until(" serves\n")
        os.close(people)
        assert process.wait() == 0
    finally:
        process.close()
