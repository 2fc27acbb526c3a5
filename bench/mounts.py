"""WSGI inside other servers: `python bench/mounts.py` asks each bridge thousands of times.

Prints the CPU time of the server's process for a request, in us: on a busy machine that says more
than requests per second. The bridges take turns, each in a process of its own; every answer is
compared with what it must be. Needs the packages of `pip install asyncwsgi[dev]`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from mount_hosts import BLOCK, BLOCKS, GREETING, HOST, KINDS, OWN
from procstat import usage

if TYPE_CHECKING:
    from collections.abc import Iterator

CHILD = Path(__file__).parent / "mount_hosts.py"
START_TIMEOUT = 30
BODY = bytes(range(256)) * 4
FIELDS = (
    f"Host: {HOST}\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0\r\n"
    "Accept: text/html,application/xhtml+xml\r\nAccept-Language: en\r\n"
    "Accept-Encoding: gzip, deflate\r\nCookie: session=0123456789abcdef\r\n"
)


class Case:
    """A request, its answer, and how many of them make a round."""

    def __init__(self, app: str, request: str, answer: bytes, count: int) -> None:
        self.app = app
        self.request = request.encode("latin-1")
        self.answer = answer
        self.count = count


GET = f"GET /?name=world HTTP/1.1\r\n{FIELDS}\r\n"
CASES = {
    "plain": Case("plain", GET, GREETING, 4000),
    "flask": Case("flask", GET, GREETING, 3000),
    "post": Case(
        "post",
        f"POST / HTTP/1.1\r\n{FIELDS}Content-Length: {len(BODY)}\r\n\r\n{BODY.decode('latin-1')}",
        BODY,
        3000,
    ),
    "blocks": Case("blocks", GET, BLOCK * BLOCKS, 300),
}
"""A 13-byte answer, a Flask view, a POST of 1 KiB that is sent back, 1 MiB in 16 blocks."""


class Client(asyncio.Protocol):
    """Asks the same on one connection, as long as `left` has numbers; checks every answer."""

    def __init__(self, case: Case, left: Iterator[int], over: asyncio.Future[None]) -> None:
        self._case = case
        self._left = left
        self._over = over
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        if next(self._left, None) is None:
            self._transport.close()
        else:
            self._transport.write(self._case.request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._received.endswith(self._case.answer[-1:]) or self._received.endswith(b"\r\n"):
            self._look()

    def _look(self) -> None:
        head, separator, body = bytes(self._received).partition(b"\r\n\r\n")
        if not separator:
            return
        if b"transfer-encoding: chunked" in head.lower():
            if not body.endswith(b"0\r\n\r\n"):
                return
            body = dechunked(body)
        if len(body) < len(self._case.answer):
            return
        if not head.startswith(b"HTTP/1.1 200") or body != self._case.answer:
            self._fail(f"answered {head[:40]!r} and {len(body)} bytes")
            return
        self._received.clear()
        self._ask()

    def _fail(self, reason: str) -> None:
        if not self._over.done():
            self._over.set_exception(RuntimeError(reason))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._received:
            self._fail("the connection ended within an answer")
        elif not self._over.done():
            self._over.set_result(None)


def dechunked(data: bytes) -> bytes:
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        body, data = body + data[: int(size, 16)], data[int(size, 16) + 2 :]
    return body


async def load(port: int, case: Case, count: int, connections: int) -> None:
    """Ask `count` times over so many connections.

    Raises:
        RuntimeError: an answer was wrong.
    """
    loop = asyncio.get_running_loop()
    left = iter(range(count))
    ends = [loop.create_future() for _ in range(connections)]
    for over in ends:
        await loop.create_connection(partial(Client, case, left, over), HOST, port)
    await asyncio.gather(*ends)


@contextlib.contextmanager
def running(kind: str, app: str) -> Iterator[tuple[int, int]]:
    """A server of that kind; its process and its port."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        port = sock.getsockname()[1]
    command = [sys.executable, str(CHILD), kind, app, str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until_open(port, process)
            yield process.pid, port
        finally:
            process.kill()


def wait_until_open(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port)):
            return
        time.sleep(0.05)
    raise RuntimeError("does not serve")


def measure(kind: str, case: Case, connections: int) -> float:
    """CPU time of one request, in us.

    Raises:
        RuntimeError: it does not serve, or an answer was wrong.
    """
    with running(kind, case.app) as (pid, port):
        asyncio.run(load(port, case, case.count // 5, connections))
        before = usage(pid).cpu_seconds
        asyncio.run(load(port, case, case.count, connections))
        return (usage(pid).cpu_seconds - before) / case.count * 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="%(default)s")
    parser.add_argument("--connections", type=int, default=16, help="%(default)s")
    parser.add_argument("--cases", default=",".join(CASES), help="out of %(default)s")
    parser.add_argument("--kinds", default=",".join(installed()), help="out of %(default)s")
    options = parser.parse_args()
    kinds = options.kinds.split(",")
    print(f"us of CPU for a request, medians of {options.rounds} rounds\n")
    print(f"| case | {' | '.join(kinds)} |\n|---|{'---|' * len(kinds)}")
    is_slower = False
    for name in options.cases.split(","):
        case = CASES[name]
        spent: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(options.rounds):
            for kind in [kind for kind in kinds if kind in spent]:
                try:
                    spent[kind].append(measure(kind, case, options.connections))
                except RuntimeError as error:
                    print(f"{kind}: {error}", file=sys.stderr)
                    del spent[kind]
        medians = {kind: median(times) for kind, times in spent.items()}
        cells = [f"{medians[kind]:.0f}" if kind in medians else "fails" for kind in kinds]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
        own = medians.get(OWN, 0.0)
        is_slower = is_slower or own > medians.get("a2wsgi", own)
    return int(is_slower)


def installed() -> list[str]:
    """The kinds whose packages are there; aiohttp-wsgi has had no release since 2020."""
    modules = {"aiohttp aiohttp-wsgi": "aiohttp_wsgi"}
    return [k for k in KINDS if importlib.util.find_spec(modules.get(k, "asyncio")) is not None]


if __name__ == "__main__":
    sys.exit(main())
