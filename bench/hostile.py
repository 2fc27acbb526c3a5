"""Memory under hostile connections: `python bench/hostile.py` opens 10,000 of each kind.

Each kind meets a server of its own. When all of them have sent what they can send, the memory of
the server is read; then honest clients come, while the others stay: one with a GET, one with a
small form, one with an upload.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import environment
from procstat import footprint, usage

COLUMNS = (
    "clients", "connected", "MiB before", "MiB", "KiB/client", "peak MiB", "GET ms", "form ms",
    "upload s",
)  # fmt: skip
BODY_SIZE = 250_000
HEAD = b"POST /echo HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n" % BODY_SIZE
CALM = 2.0
"""Seconds without a byte that anybody could send, after which all have sent what they can."""
IDLE_SECONDS = 0.1
"""CPU time within a second below which a server is idle; it looks at deadlines all the time."""
PATIENCE = 20.0
"""Seconds after which an honest client gives up."""
SMALL_BUFFER = 4096


@dataclass(frozen=True)
class Kind:
    """What a client of one kind does."""

    first: bytes
    """What it sends when it is connected."""
    then: bytes = b""
    """What it sends when the server has read that."""
    receive_buffer: int | None = None
    """Bytes that its own system takes of a response; None for the system's choice."""


KINDS = {
    "silent": Kind(b""),
    "60 kB of a head": Kind(b"GET / HTTP/1.1\r\nHost: bench\r\nX-Filler: " + b"x" * 60_000),
    "a body but for its last byte": Kind(HEAD, bytes(BODY_SIZE - 1)),
    "the same in one go": Kind(HEAD + bytes(BODY_SIZE - 1)),
    "200 kB that nobody reads": Kind(
        b"GET /buffered HTTP/1.1\r\nHost: bench\r\n\r\n", receive_buffer=SMALL_BUFFER
    ),
}


class Crowd:
    """Clients of one kind: plain sockets, so that 10,000 cost little."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._socks: list[socket.socket] = []

    def __len__(self) -> int:
        return len(self._socks)

    def connect(self, port: int, count: int) -> None:
        with contextlib.suppress(OSError):  # the server takes no more
            for _ in range(count):
                sock = socket.socket()
                if self._kind.receive_buffer is not None:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._kind.receive_buffer)
                sock.settimeout(PATIENCE)
                sock.connect(("127.0.0.1", port))
                sock.setblocking(False)
                self._socks.append(sock)

    def send(self, pid: int) -> None:
        """Send until the server, whose process `pid` is, takes no more."""
        for data in (self._kind.first, self._kind.then):
            self._send(data)
            wait_until_idle(pid)

    def _send(self, data: bytes) -> None:
        view = memoryview(data)
        unsent = dict.fromkeys(self._socks, 0)
        moved_at = time.monotonic()
        while unsent and time.monotonic() - moved_at < CALM:
            for sock, start in list(unsent.items()):
                try:
                    count = sock.send(view[start:])
                except BlockingIOError:
                    continue
                except OSError:  # it was cut
                    count = len(data)
                moved_at = time.monotonic()
                unsent[sock] += count
                if unsent[sock] >= len(data):
                    del unsent[sock]
            time.sleep(0.01)

    def close(self) -> None:
        for sock in self._socks:
            sock.close()


@contextlib.contextmanager
def serving(core: int, options: list[str]) -> Iterator[tuple[int, int]]:
    """The process of a server with `soak_app`, and its port."""
    with tempfile.NamedTemporaryFile("w+") as log:
        process = subprocess.Popen(
            [
                "taskset", "-c", str(core), sys.executable, "-m", "asyncwsgi",
                str(environment.BENCH / "soak_app.py"), "--port", "0", "--no-access-log",
                "--keep-alive-timeout", "600", "--head-timeout", "600", *options,
            ],
            stderr=log,
        )  # fmt: skip
        try:
            yield process.pid, _port(process, Path(log.name))
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    while not (found := re.search(r"listening on http://127.0.0.1:(\d+)", log.read_text())):
        if process.poll() is not None:
            sys.exit(f"the server did not start: {log.read_text()}")
        time.sleep(0.05)
    return int(found[1])


def wait_until_idle(pid: int) -> None:
    """Wait until a process has done what it had to do."""
    before = -1.0
    while (now := usage(pid).cpu_seconds) - before > IDLE_SECONDS:
        before = now
        time.sleep(1.0)


def honest(port: int, method: str, path: str, body: bytes | None) -> float:
    """Seconds until an honest client is answered; infinite if it is not."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    began = time.monotonic()
    try:
        connection.request(method, path, body)
        answered = connection.getresponse().status == 200
    except OSError:
        answered = False
    finally:
        connection.close()
    return time.monotonic() - began if answered else float("inf")


def measure(kind: Kind, clients: int, core: int, options: list[str]) -> list[str]:
    """The cells of one kind."""
    crowd = Crowd(kind)
    with serving(core, options) as (pid, port), contextlib.closing(crowd):
        honest(port, "POST", "/echo", b"x" * 1000)
        before = footprint(pid).resident_mib
        crowd.connect(port, clients)
        crowd.send(pid)
        after = footprint(pid).resident_mib
        peak = usage(pid).peak_mib
        get = honest(port, "GET", "/hello/honest", None)
        form = honest(port, "POST", "/echo", b"x" * 1000)
        upload = honest(port, "POST", "/echo", b"x" * BODY_SIZE)
    return [
        f"{len(crowd)}",
        f"{before:.0f}",
        f"{after:.0f}",
        f"{(after - before) * 1024 / max(len(crowd), 1):.1f}",
        f"{peak:.0f}",
        f"{get * 1000:.0f}",
        f"{form * 1000:.0f}",
        f"{upload:.1f}" if upload < PATIENCE else "waits",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=10_000, help="of each kind")
    parser.add_argument("--kinds", default=",".join(KINDS), help="out of %(default)s")
    parser.add_argument("--core", type=int, default=0, help="of the server: %(default)s")
    parser.add_argument("options", nargs="*", help="more options for the server, behind --")
    given = parser.parse_args()
    try:
        environment.raise_descriptor_limit(given.clients)
    except environment.UnreadyError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for name in given.kinds.split(","):
        cells = measure(KINDS[name], given.clients, given.core, given.options)
        print(f"| {' | '.join([name, *cells])} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
