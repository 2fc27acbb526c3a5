"""Views that await: `python bench/parked.py` has many of them wait at a time, beside the peers.

Every WSGI server runs the same Flask application with `THREADS` worker threads; gevent's worker has
synchronous views, since asyncio does not run in its greenlets; Quart has the program rewritten.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import environment
import servers
from launch import HOST, THREADS
from probe import ask
from procstat import footprint, usage
from servers import Running, StartError, running

PARKED = "asyncwsgi, parked"
CEILINGS = ("quart, uvicorn", "quart, hypercorn")
_GUNICORN = (
    "-m gunicorn --bind {host}:{port} --chdir {bench} --workers 1 --backlog {backlog}"
    " --worker-connections {connections} --no-control-socket --log-level error --timeout 300"
)
_OWN = (
    "-m asyncwsgi --host {host} --port {port} --threads {threads} --backlog {backlog}"
    " --queue-size {connections} --no-access-log {bench}/parked_app.py:{app}"
)
COMMANDS = {
    PARKED: f"{_OWN} --park-async-views --max-parked {{connections}}",
    "asyncwsgi": _OWN,
    "gunicorn": f"{_GUNICORN} --worker-class gthread --threads {{threads}} parked_app:{{app}}",
    "granian": "-m granian --interface wsgi --host {host} --port {port} --working-dir {bench}"
    " --workers 1 --blocking-threads {threads} --backlog {backlog} --backpressure {connections}"
    " --http 1 --no-ws --no-access-log --log-level error parked_app:{app}",
    "gevent": f"{_GUNICORN} --worker-class gevent parked_app:{{app}}",
    "quart, uvicorn": "-m uvicorn --host {host} --port {port} --app-dir {bench} --backlog {backlog}"
    " --loop uvloop --log-level error --no-access-log --factory parked_app:make_quart_app",
    "quart, hypercorn": "-m hypercorn --bind {host}:{port} --backlog {backlog}"
    " --worker-class uvloop --log-level error {bench}/parked_app.py:make_quart_app()",
}
HAVE_ONE_LOOP = (PARKED, "asyncwsgi", *CEILINGS)
COLUMNS = (
    "server", "answered", "in s", "p50 s", "errors", "views/s", "CPU s", "without waiting: CPU s",
    "KiB/waiting", "calls", "in s", "errors",
)  # fmt: skip
PATIENCE = 30.0
"""Seconds without an answer behind which a server is given up."""
CLIENT = environment.BENCH / "parked_client.py"
LONG = 300.0
"""Seconds that those wait whose memory is measured; they are cut before."""


@dataclass(frozen=True, slots=True)
class Round:
    answered: int
    errors: int
    p50: float
    last: float
    cpu_seconds: float


def main() -> int:
    options = parse_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        environment.require_tools()
        environment.raise_descriptor_limit(options.clients)
        environment.require_peers()
        environment.require_project()
    except environment.UnreadyError as error:
        print(error, file=sys.stderr)
        return 2
    servers.COMMANDS.update(COMMANDS)
    server_core, client_core = (int(core) for core in options.cores.split(","))
    print(f"{options.clients} views that await 1 s, {options.calls} that call a service of 1 s")
    print(f"{THREADS} worker threads\n\n| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    rates, has_failed = {}, False
    with service(client_core) as url:
        os.environ["BENCH_SERVICE"] = url
        for name in options.servers.split("/"):
            os.environ.pop("BENCH_ONE_LOOP", None)
            if name in HAVE_ONE_LOOP:
                os.environ["BENCH_ONE_LOOP"] = "1"
            try:
                cells, rates[name] = measure(name, server_core, client_core, options)
            except StartError as error:
                cells, has_failed = [str(error)], True
            print(f"| {' | '.join([name, *cells])} |", flush=True)
    for ceiling in CEILINGS:
        if rates.get(ceiling) and rates.get(PARKED):
            print(f"\n{PARKED}: {rates[PARKED] / rates[ceiling]:.2f} of the views/s of {ceiling}")
    return int(has_failed)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=10_000, help="views at a time")
    parser.add_argument("--calls", type=int, default=1000, help="calls of a service at a time")
    parser.add_argument("--servers", default="/".join(COMMANDS), help="out of %(default)s")
    parser.add_argument("--cores", default="0,1", help="of server and client: %(default)s")
    return parser.parse_args()


def measure(
    name: str, server_core: int, client_core: int, options: argparse.Namespace
) -> tuple[list[str], float]:
    """The cells of one server, and its answered views a second."""
    app = "flask_app"
    prefix = "/sync" if name == "gevent" else ""
    count = options.clients
    with running(name, app, core=server_core) as server:
        send(server, client_core, f"{prefix}/wait/0.0", 200)  # what is imported when first used
        waited = send(server, client_core, f"{prefix}/wait/1.0", count)
    with running(name, app, core=server_core) as server:
        send(server, client_core, f"{prefix}/wait/0.0", 200)
        bare = send(server, client_core, f"{prefix}/wait/0.0", count)
    with running(name, app, core=server_core) as server:
        send(server, client_core, f"{prefix}/wait/0.0", 200)
        memory = measure_memory(server, client_core, f"{prefix}/wait/{LONG}", count)
    cells = [
        f"{waited.answered}", f"{waited.last:.1f}", f"{waited.p50:.1f}", f"{waited.errors}",
        f"{waited.answered / waited.last:.0f}", f"{waited.cpu_seconds:.1f}",
        f"{bare.cpu_seconds:.1f}", memory,
    ]  # fmt: skip
    if prefix:
        return [*cells, "-", "-", "-"], waited.answered / waited.last
    with running(name, app, core=server_core) as server:
        called = send(server, client_core, "/call", options.calls)
    cells += [f"{called.answered}", f"{called.last:.1f}", f"{called.errors}"]
    return cells, waited.answered / waited.last


def send(server: Running, core: int, path: str, count: int) -> Round:
    """Have `count` clients ask at the same moment."""
    before = usage(server.pid).cpu_seconds
    with client(server, core, path, count) as process:
        assert process.stdout is not None
        result: dict[str, Any] = json.loads(process.stdout.readline())
    return Round(
        result["answered"], result["errors"], result["p50"] or 0.0, result["last"] or PATIENCE,
        usage(server.pid).cpu_seconds - before,
    )  # fmt: skip


def measure_memory(server: Running, core: int, path: str, count: int) -> str:
    """KiB of resident memory for each request that waits, its connection included."""
    before = footprint(server.pid)
    with client(server, core, path, count) as process:
        inside, since = 0, time.monotonic()
        while inside < count and time.monotonic() - since < PATIENCE:
            time.sleep(0.5)
            try:
                found = int(ask(server.address, READ_INSIDE).body)
            except (OSError, ValueError):
                continue
            if found > inside:
                inside, since = found, time.monotonic()
            if inside <= THREADS and time.monotonic() - since > 2:
                break
        after = footprint(server.pid)
        process.kill()
    if inside <= THREADS:
        return "-"
    memory = (after.resident_mib - before.resident_mib) * 1024 / inside
    return f"{memory:.1f}" + (f" ({inside} wait)" if inside < count else "")


READ_INSIDE = b"GET /inside HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"


@contextmanager
def client(server: Running, core: int, path: str, count: int) -> Iterator[subprocess.Popen[str]]:
    """A process whose clients are connected and have begun to ask."""
    words = [HOST, str(server.address.port), path, str(count), str(PATIENCE)]
    command = ["taskset", "-c", str(core), str(environment.PYTHON), str(CLIENT), *words]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise StartError("the client failed")
        process.stdin.write("go on\n")
        process.stdin.flush()
        yield process


@contextmanager
def service(core: int) -> Iterator[str]:
    """The service that views call; its URL."""
    command = ["taskset", "-c", str(core), str(environment.PYTHON), str(CLIENT), "serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://{HOST}:{process.stdout.readline().strip()}"
        finally:
            process.kill()


if __name__ == "__main__":
    sys.exit(main())
