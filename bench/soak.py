"""Mixed and hostile load for minutes: memory, threads and descriptors must stay where they were.

Starts the server in a process of its own, lets clients of every kind at it, and looks at the
process in pauses between the rounds, when all clients have left. The first round warms up; the
others are compared with it. Exits 1 if anything has grown or if the server logged a traceback.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

BENCH = Path(__file__).resolve().parent
CLIENTS = 40
"""Clients at a time; each lives for one visit."""
GROWTH_MIB = 8.0
"""Memory may breathe by so much between two pauses."""
PAUSE_TIMEOUT = 90.0

HEAD = "{method} {path} HTTP/1.1\r\nHost: soak\r\n{more}\r\n"


@dataclass(frozen=True)
class Sample:
    """The server process at one moment."""

    memory_mib: float
    threads: int
    descriptors: int


class Client:
    """One visit to the server, polite or not."""

    def __init__(self, port: int, counts: Counter[str]) -> None:
        self._port = port
        self._counts = counts

    async def visit(self) -> None:
        kind = random.choice(VISITS)
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            await kind(self, reader, writer)
            self._counts[kind.__name__] += 1
        except (ConnectionError, asyncio.IncompleteReadError):
            self._counts[f"{kind.__name__}, cut"] += 1
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def keep_alive(self, reader: Reader, writer: Writer) -> None:
        for number in range(random.randrange(1, 40)):
            writer.write(_head("GET", f"/hello/{number}"))
            await _read_response(reader, expected=200)

    async def upload(self, reader: Reader, writer: Writer) -> None:
        body = random.randbytes(random.choice((10, 5_000, 700_000)))
        writer.write(_head("POST", "/echo", f"Content-Length: {len(body)}\r\n") + body)
        assert await _read_response(reader, expected=200) == body

    async def aborted_upload(self, _: Reader, writer: Writer) -> None:
        size = random.choice((1_000, 2_000_000))
        writer.write(_head("POST", "/echo", f"Content-Length: {size}\r\n") + b"x" * (size // 2))
        await writer.drain()
        writer.transport.abort()

    async def unread_upload(self, reader: Reader, writer: Writer) -> None:
        body = b"x" * random.choice((10_000, 3_000_000))
        writer.write(_head("POST", "/hello/unread", f"Content-Length: {len(body)}\r\n") + body)
        await _read_response(reader, expected=200)

    async def aborted_download(self, reader: Reader, writer: Writer) -> None:
        writer.write(_head("GET", "/endless"))
        await reader.readexactly(random.randrange(100_000))
        writer.transport.abort()

    async def slow_reader(self, reader: Reader, writer: Writer) -> None:
        writer.write(_head("GET", "/large"))
        while await reader.read(20_000):  # noqa: ASYNC110 - slowness is what it is for
            await asyncio.sleep(0.005)

    async def bad_request(self, reader: Reader, writer: Writer) -> None:
        writer.write(random.choice(NONSENSE))
        status = (await reader.readline()).split()[1]
        assert status[:1] in (b"4", b"5"), status
        await reader.read()

    async def silence(self, reader: Reader, writer: Writer) -> None:
        writer.write(random.choice((b"", b"GET / HT")))
        await reader.read()


Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
Visit = Callable[[Client, Reader, Writer], Awaitable[None]]

VISITS: list[Visit] = [
    Client.keep_alive,
    Client.upload,
    Client.aborted_upload,
    Client.unread_upload,
    Client.aborted_download,
    Client.slow_reader,
    Client.bad_request,
    Client.silence,
]

NONSENSE = [
    b"nonsense\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/2.0\r\nHost: soak\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: soak\r\nA b: c\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: soak\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: soak\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: soak\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: soak\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 50,
]


def _head(method: str, path: str, more: str = "") -> bytes:
    return HEAD.format(method=method, path=path, more=more).encode()


async def _read_response(reader: Reader, expected: int) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    assert int(head.split()[1]) == expected, head
    length = re.search(rb"(?i)content-length: (\d+)", head)
    assert length, head
    return await reader.readexactly(int(length[1]))


async def _load(port: int, seconds: float, counts: Counter[str]) -> None:
    end = time.monotonic() + seconds

    async def one_after_the_other() -> None:
        while time.monotonic() < end:
            await Client(port, counts).visit()

    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(one_after_the_other())


def _start(log: Path) -> tuple[subprocess.Popen[bytes], int]:
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "asyncwsgi", str(BENCH / "soak_app.py"), "--port", "0",
                "--threads", "16", "--no-access-log", "--keep-alive-timeout", "2",
                "--head-timeout", "2", "--thread-idle-timeout", "2", "--drain-timeout", "2",
            ],
            stderr=stderr,
            # glibc gives threads heaps of their own and threads come and go: with one heap for
            # all, what is left over is what is held.
            env={**os.environ, "MALLOC_ARENA_MAX": "1"},
        )  # fmt: skip
    while not (found := re.search(r"listening on http://127.0.0.1:(\d+)", log.read_text())):
        if process.poll() is not None:
            sys.exit(f"the server did not start: {log.read_text()}")
        time.sleep(0.05)
    return process, int(found[1])


def _sample(pid: int) -> Sample:
    status = Path(f"/proc/{pid}/status").read_text()
    memory = re.search(r"VmRSS:\s+(\d+)", status)
    threads = re.search(r"Threads:\s+(\d+)", status)
    assert memory
    assert threads
    descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return Sample(int(memory[1]) / 1024, int(threads[1]), descriptors)


def _sample_at_rest(pid: int, rest: Sample) -> Sample:
    """The process once its threads and connections are gone, or as it is when they do not go."""
    end = time.monotonic() + PAUSE_TIMEOUT
    while True:
        sample = _sample(pid)
        at_rest = sample.threads <= rest.threads and sample.descriptors <= rest.descriptors
        if at_rest or time.monotonic() > end:
            return sample
        time.sleep(0.2)


def _faults(first: Sample, last: Sample, rest: Sample, log: str) -> list[str]:
    faults = [
        f"{name}: {getattr(rest, name)} at rest, {getattr(last, name)} now"
        for name in ("threads", "descriptors")
        if getattr(last, name) > getattr(rest, name)
    ]
    if last.memory_mib > first.memory_mib + GROWTH_MIB:
        faults.append(f"memory grew from {first.memory_mib:.1f} to {last.memory_mib:.1f} MiB")
    if "Traceback" in log:
        faults.append("the server logged a traceback")
    return faults


def _soak(minutes: float, rounds: int) -> int:
    log = Path(tempfile.mkdtemp(prefix="asyncwsgi-soak-")) / "server.log"
    process, port = _start(log)
    counts: Counter[str] = Counter()
    rest = _sample(process.pid)
    samples: list[Sample] = []
    print(f"at rest: {rest}; log: {log}", flush=True)
    try:
        for number in range(rounds):
            asyncio.run(_load(port, minutes * 60 / rounds, counts))
            samples.append(_sample_at_rest(process.pid, rest))
            print(f"round {number + 1}: {samples[-1]}, {counts.total()} visits", flush=True)
    finally:
        process.terminate()
        code = process.wait(60)
    faults = _faults(samples[0], samples[-1], rest, log.read_text())
    if code:
        faults.append(f"the server left with exit code {code}")
    print(*(f"{count:8} {kind}" for kind, count in sorted(counts.items())), sep="\n")
    print(*(faults or ["nothing has grown, no traceback"]), sep="\n")
    return 1 if faults else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="whole time (10)")
    parser.add_argument("--rounds", type=int, default=10, help="pauses to look at it (10)")
    given = parser.parse_args()
    return _soak(given.minutes, given.rounds)


if __name__ == "__main__":
    sys.exit(main())
