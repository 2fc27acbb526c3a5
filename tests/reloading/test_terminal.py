"""``asyncwsgi --reload`` at a terminal: what a child has changed of its settings is undone."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client import connect
from tests.doors.processes import Process, address_of

APP = """
import os
import sys
import tty

def app(environ, start_response):
    if environ["PATH_INFO"] == "/die":
        os._exit(7)
    tty.setcbreak(0)  # as the line editor of a debugger does
    sys.stderr.write("waiting for a key\\n")
    os.read(0, 1)
"""
SHELL = """
import fcntl
import os
import signal
import subprocess
import sys
import termios
import tty

def tell_echo(*_):
    is_on = bool(termios.tcgetattr(0)[3] & termios.ECHO)
    sys.stderr.write(f"the echo is {'on' if is_on else 'off'}\\n")

def start_another_in_the_foreground(*_):
    pause = "import signal; signal.pause()"
    silence = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    other = subprocess.Popen([sys.executable, "-c", pause], process_group=0, **silence)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    os.tcsetpgrp(0, other.pid)
    tty.setcbreak(0)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTTOU})
    sys.stderr.write("another program has the terminal\\n")

def come_to_the_foreground():
    # As shells do it: a group of its own. In that of its session's leader it would be an orphan,
    # which no terminal stops.
    os.setpgrp()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    os.tcsetpgrp(0, os.getpgrp())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTTOU})

fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGUSR1, start_another_in_the_foreground)
signal.signal(signal.SIGUSR2, tell_echo)
command = [sys.executable, "-m", "asyncwsgi", *sys.argv[1:]]
reloader = subprocess.Popen(command, preexec_fn=come_to_the_foreground)
with open("group", "w") as file:
    file.write(str(reloader.pid))
reloader.wait()
tell_echo()
"""


class Shell:
    """A shell at a terminal, with the reloader in its foreground."""

    def __init__(self, directory: Path, keyboard: int, terminal: int) -> None:
        (directory / "web.py").write_text(APP)
        options = ("--reload", "--port", "0", "--graceful-timeout", "0.1")
        self.process = Process(
            "-c", SHELL, *options, "web:app", directory=directory, terminal=terminal
        )
        self._keyboard = keyboard
        self._group = directory / "group"

    def close(self) -> None:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            os.killpg(int(self._group.read_text()), signal.SIGKILL)
        self.process.close()

    def press_ctrl_c(self) -> None:
        os.write(self._keyboard, b"\x03")


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    keyboard, terminal = pty.openpty()
    shell = Shell(tmp_path, keyboard, terminal)
    try:
        yield shell
    finally:
        shell.close()
        os.close(terminal)
        os.close(keyboard)


def test_after_ctrl_c_at_the_prompt_of_a_debugger_the_terminal_echoes_again(shell: Shell) -> None:
    with shell.process.connect() as client:
        client.request()
        shell.process.read_until("waiting for a key")
        shell.press_ctrl_c()
        assert shell.process.read_until("the echo is").endswith("on")


def test_from_the_background_nothing_is_changed(shell: Shell, tmp_path: Path) -> None:
    address = address_of(shell.process.urls()[0])
    shell.process.send_signal(signal.SIGUSR1)
    shell.process.read_until("another program has the terminal")
    with connect(address) as client:
        client.request("GET", "/die")
        shell.process.read_until("the process that served ended with code 7")
    # Who is stopped for it takes up no change.
    (tmp_path / "web.py").write_text(f"{APP}\nchanged = True\n")
    shell.process.read_until("listening on")
    shell.process.send_signal(signal.SIGUSR2)
    assert shell.process.read_until("the echo is").endswith("off")
