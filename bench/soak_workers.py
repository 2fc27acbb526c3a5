"""Two workers behind nginx, replaced and killed for minutes: nothing is lost, nothing grows.

All workers are replaced every 20 seconds (SIGHUP), one is killed (SIGKILL) every few seconds, and
clients leave in the middle of uploads, answers and downloads. nginx keeps connections to the
workers and tries nothing twice. What must hold:

- No request is answered by 5xx, or not at all, unless a worker was killed while it held it: the
  application writes down who has begun what, so that this can be told.
- The metrics add up to what the application has done, but for the last seconds of those that were
  killed: they tell their figures once a second.
- Behind a pause there are two workers, and memory, threads and descriptors of the supervisor and
  of the workers are what they were in the first one.

Exits 1 if any of it does not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

BENCH = Path(__file__).resolve().parent
WORKERS = 2
CLIENTS = 24
REPLACEMENT_INTERVAL = 20.0
KILL_INTERVAL = (2.0, 8.0)
"""Seconds between two of them, at random."""
KILL_MARGIN = 1.0
"""Seconds after which nobody holds a killed worker's connection any more, nginx included."""
TOLD_INTERVAL = 5.0
"""Seconds of a killed worker's figures that may be missing: one, and what a busy machine adds."""
PAUSE = 15.0
"""Seconds without clients, in which connections that nginx keeps, and old workers, end."""
GROWTH_MIB = 8.0

NGINX = """
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    upstream app {{
        server 127.0.0.1:{upstream} max_fails=0;
        keepalive 16;
        keepalive_timeout 8s;
    }}
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 20m;
        location / {{
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_next_upstream off;
        }}
    }}
}}
"""


@dataclass
class Request:
    """One that was not answered as it should be."""

    number: int
    sent_at: float
    ended_at: float
    outcome: str


@dataclass
class History:
    """What has happened, by the clock of the whole machine."""

    counts: Counter[str] = field(default_factory=Counter)
    failed: list[Request] = field(default_factory=list)
    kills: dict[int, float] = field(default_factory=dict)
    """Of each worker that was killed: when."""
    replacements: int = 0


# Clients.

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
_numbers = itertools.count(1)


class Client:
    """One visit by a connection of its own."""

    def __init__(self, port: int, history: History) -> None:
        self._port = port
        self._history = history

    async def visit(self) -> None:
        kind = random.choice(VISITS)
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except ConnectionError:
            self._history.counts["nginx refused"] += 1
            return
        try:
            await kind(self, reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def keep_alive(self, reader: Reader, writer: Writer) -> None:
        for _ in range(random.randrange(1, 40)):
            if not await self._ask(reader, writer, "GET", "/hello", expected=b"/hello"):
                return

    async def upload(self, reader: Reader, writer: Writer) -> None:
        body = random.randbytes(random.choice((10, 5_000, 300_000)))
        await self._ask(reader, writer, "POST", "/echo", body, expected=body)

    async def wait(self, reader: Reader, writer: Writer) -> None:
        await self._ask(reader, writer, "POST", "/wait", b"x", expected=b"waited")

    async def leave_upload(self, _: Reader, writer: Writer) -> None:
        writer.write(_head(next(_numbers), "POST", "/echo", 300_000) + bytes(100_000))
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.transport.abort()

    async def leave_answer(self, _: Reader, writer: Writer) -> None:
        writer.write(_head(next(_numbers), "GET", "/wait", 0))
        await asyncio.sleep(random.random() * 0.2)
        writer.transport.abort()

    async def leave_download(self, reader: Reader, writer: Writer) -> None:
        writer.write(_head(next(_numbers), "GET", "/large", 0))
        with contextlib.suppress(ConnectionError):
            await reader.read(random.randrange(1, 500_000))
        writer.transport.abort()

    async def _ask(
        self,
        reader: Reader,
        writer: Writer,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        expected: bytes,
    ) -> bool:
        """Whether the answer was the right one, and the connection can be used again."""
        number, sent_at = next(_numbers), time.monotonic()
        try:
            writer.write(_head(number, method, path, len(body)) + body)
            status, is_kept, answer = await _read_response(reader)
        except (ConnectionError, asyncio.IncompleteReadError):
            status, is_kept, answer = 0, False, b""
        is_right = (status, answer) == (200, expected)
        self._history.counts[str(status or "none") if is_right or status != 200 else "cut"] += 1
        if not is_right:
            outcome = f"{status or 'no answer'}, {len(answer)} bytes"
            failed = Request(number, sent_at, time.monotonic(), outcome)
            self._history.failed.append(failed)
        return is_right and is_kept


VISITS: list[Callable[[Client, Reader, Writer], Awaitable[None]]] = [
    Client.keep_alive,
    Client.keep_alive,
    Client.upload,
    Client.wait,
    Client.leave_upload,
    Client.leave_answer,
    Client.leave_download,
]


def _head(number: int, method: str, path: str, size: int) -> bytes:
    return (
        f"{method} {path} HTTP/1.1\r\nHost: soak\r\nX-Number: {number}\r\n"
        f"Content-Length: {size}\r\n\r\n"
    ).encode()


async def _read_response(reader: Reader) -> tuple[int, bool, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = re.search(rb"content-length: (\d+)", head)
    assert length, head
    body = await reader.readexactly(int(length[1]))
    return int(head.split()[1]), b"connection: close" not in head, body


# The server.


@contextlib.contextmanager
def _nginx(directory: Path, upstream: int, port: int) -> Iterator[None]:
    file = directory / "nginx.conf"
    file.write_text(NGINX.format(directory=directory, upstream=upstream, port=port))
    program = shutil.which("nginx", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
    if program is None:
        sys.exit("there is no nginx; `make programs` installs it")
    command = [program, "-p", str(directory), "-e", "stderr", "-c", str(file)]
    process = subprocess.Popen(command)
    try:
        while _refuses(port):
            if process.poll() is not None:
                sys.exit("nginx did not start")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(60)


def _refuses(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) != 0


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in socks:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in socks]


class Service:
    """``asyncwsgi --workers``.

    Args:
        directory: for its log, and the record of its application.
    """

    def __init__(self, directory: Path) -> None:
        self.log = directory / "server.log"
        self.record = directory / "record"
        self.port, self._metrics_port = _free_ports(2)
        with self.log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [
                    sys.executable, "-m", "asyncwsgi", str(BENCH / "soak_workers_app.py"),
                    "--port", str(self.port), "--workers", str(WORKERS), "--no-access-log",
                    "--thread-idle-timeout", "2", "--drain-timeout", "2",
                    "--metrics-bind", f"127.0.0.1:{self._metrics_port}",
                ],
                stderr=stderr,
                env={**os.environ, "MALLOC_ARENA_MAX": "1", "SOAK_RECORD": str(self.record)},
            )  # fmt: skip
        while len(re.findall(r"worker \d+ serves", self.log.read_text())) < WORKERS:
            if self.process.poll() is not None:
                sys.exit(f"the server did not start: {self.log.read_text()}")
            time.sleep(0.05)

    def workers(self) -> list[int]:
        pid = self.process.pid
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def metrics(self) -> Counter[str]:
        """The sum of each metric over all of its labels."""
        url = f"http://127.0.0.1:{self._metrics_port}/"
        with urllib.request.urlopen(url, timeout=60) as answer:
            lines = answer.read().decode().splitlines()
        sums = Counter[str]()
        for line in lines:
            found = re.fullmatch(r"asyncwsgi_(\w+)(?:\{.*\})? (\S+)", line)
            if found and not found[1].endswith("_bucket"):
                sums[found[1]] += int(float(found[2]))
        return sums

    def sample(self) -> Sample:
        workers = self.workers()
        of_workers = [_sizes(pid) for pid in workers]
        memory, threads, descriptors = _sizes(self.process.pid)
        return Sample(
            len(workers),
            memory,
            threads,
            descriptors,
            max((each[0] for each in of_workers), default=0.0),
            max((each[2] for each in of_workers), default=0),
        )


@dataclass(frozen=True)
class Sample:
    """The processes in a pause."""

    workers: int
    memory_mib: float
    threads: int
    descriptors: int
    worker_memory_mib: float
    """Of the worker that has most."""
    worker_descriptors: int


def _sizes(pid: int) -> tuple[float, int, int]:
    status = Path(f"/proc/{pid}/status").read_text()
    memory, threads = re.search(r"VmRSS:\s+(\d+)", status), re.search(r"Threads:\s+(\d+)", status)
    assert memory
    assert threads
    return int(memory[1]) / 1024, int(threads[1]), len(list(Path(f"/proc/{pid}/fd").iterdir()))


# What is done to it.


async def _round(service: Service, port: int, history: History, seconds: float) -> None:
    end = time.monotonic() + seconds

    async def visit() -> None:
        while time.monotonic() < end:
            await Client(port, history).visit()

    async def replace() -> None:
        while True:
            await asyncio.sleep(REPLACEMENT_INTERVAL)
            service.process.send_signal(signal.SIGHUP)
            history.replacements += 1

    async def kill() -> None:
        while True:
            await asyncio.sleep(random.uniform(*KILL_INTERVAL))
            if pids := service.workers():
                pid = random.choice(pids)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    history.kills[pid] = time.monotonic()

    trouble = [asyncio.create_task(each()) for each in (replace, kill)]
    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(visit())
    for task in trouble:
        task.cancel()


# What has come of it.


@dataclass
class Record:
    """What the application has written down, by request."""

    begun_by: dict[int, int] = field(default_factory=dict)
    ends: list[tuple[float, int]] = field(default_factory=list)
    """When, and in which process."""

    @classmethod
    def read(cls, path: Path) -> Record:
        record = cls()
        for line in path.read_text().splitlines():
            moment, event, pid, number = line.split()
            if event == "begin":
                record.begun_by[int(number)] = int(pid)
            else:
                record.ends.append((float(moment), int(pid)))
        return record


def _is_excused(request: Request, record: Record, kills: dict[int, float]) -> bool:
    """Whether a worker was killed that held the request, or may have."""
    since = request.sent_at - KILL_MARGIN
    during = {pid for pid, moment in kills.items() if since <= moment <= request.ended_at}
    holder = record.begun_by.get(request.number)
    # Nobody has begun it: it was on its way to a thread, in a process that has left no trace of it.
    return bool(during) if holder is None else holder in during


def _faults(service: Service, history: History, metrics: Counter[str]) -> Iterator[str]:
    record = Record.read(service.record)
    for request in history.failed:
        if not _is_excused(request, record, history.kills):
            holder = record.begun_by.get(request.number, "nobody")
            yield f"request {request.number}, begun by {holder}: {request.outcome}"
    told = metrics["requests_total"]
    certain = [
        pid for moment, pid in record.ends
        if moment < history.kills.get(pid, float("inf")) - TOLD_INTERVAL
    ]  # fmt: skip
    print(f"{len(certain)} requests surely counted <= {told} <= {len(record.begun_by)} begun")
    if not len(certain) <= told <= len(record.begun_by):
        yield "the metrics do not add up"
    # Those that were killed while they drained had their successors already.
    restarts = metrics["worker_restarts_total"]
    if not 0 < restarts <= len(history.kills):
        yield f"{restarts} restarts, {len(history.kills)} killed"
    for name in ("threads_busy", "queue_size", "streams"):
        if metrics[name]:
            yield f"{name} is {metrics[name]} at rest"
    if "Traceback" in service.log.read_text():
        yield "the server logged a traceback"


def _growth(first: Sample, last: Sample) -> Iterator[str]:
    if last.workers != WORKERS:
        yield f"{last.workers} workers at rest"
    for name in ("threads", "descriptors", "worker_descriptors"):
        if getattr(last, name) > getattr(first, name):
            yield f"{name}: {getattr(first, name)} at first, {getattr(last, name)} at last"
    for name in ("memory_mib", "worker_memory_mib"):
        if getattr(last, name) > getattr(first, name) + GROWTH_MIB:
            yield f"{name}: {getattr(first, name):.1f} at first, {getattr(last, name):.1f} at last"


def _soak(minutes: float, rounds: int) -> int:
    directory = Path(tempfile.mkdtemp(prefix="asyncwsgi-soak-"))
    directory.chmod(0o755)
    service, history = Service(directory), History()
    [port] = _free_ports(1)
    print(f"in {directory}", flush=True)
    samples: list[Sample] = []
    try:
        with _nginx(directory, service.port, port):
            for number in range(rounds):
                asyncio.run(_round(service, port, history, minutes * 60 / rounds))
                time.sleep(PAUSE)
                samples.append(service.sample())
                print(f"round {number + 1}: {samples[-1]}, {history.counts.total()}", flush=True)
            metrics = service.metrics()
    finally:
        service.process.terminate()
        code = service.process.wait(60)
    faults = [*_faults(service, history, metrics), *_growth(samples[0], samples[-1])]
    if code:
        faults.append(f"the server left with exit code {code}")
    print(f"{history.replacements} replacements of all workers, {len(history.kills)} killed")
    print(
        *(f"{count:8} answered {kind}" for kind, count in sorted(history.counts.items())), sep="\n"
    )
    print(*(f"{metrics[name]:8} {name}" for name in sorted(metrics)), sep="\n")
    print(*(faults or ["nothing was lost but what a killed worker held; nothing grows"]), sep="\n")
    return 1 if faults else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="whole time of load (10)")
    parser.add_argument("--rounds", type=int, default=5, help="pauses to look at it (5)")
    given = parser.parse_args()
    return _soak(given.minutes, given.rounds)


if __name__ == "__main__":
    sys.exit(main())
