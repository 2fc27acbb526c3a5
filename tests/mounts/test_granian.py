"""Inside granian, which parses in Rust, in a process of its own."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client import TIMEOUT, Client, connect

PROGRAM = """
from asyncwsgi.asgi import WSGIApp
from tests.apps import echo

app = WSGIApp(echo)
"""


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    (tmp_path / "program.py").write_text(PROGRAM)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    command = [sys.executable, "-m", "granian", "--interface", "asgi"]
    command += ["--working-dir", str(tmp_path)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--no-ws", "program:app"]
    with subprocess.Popen(command) as process:
        try:
            with until_it_accepts(port) as client:
                yield client
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(TIMEOUT)


def until_it_accepts(port: int) -> Client:
    # It binds itself, and does not say when it serves.
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        with contextlib.suppress(ConnectionError):
            return connect(("127.0.0.1", port))
        time.sleep(0.05)
    raise AssertionError("granian does not serve")


def test_a_body_goes_there_and_back(client: Client) -> None:
    body = bytes(range(256)) * 4096
    assert client.post("/", body).body == body
    assert client.get("/").status == 200
