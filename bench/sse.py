"""Event streams: `python bench/sse.py` holds many of them on few threads, beside the peers.

Every server runs the same Flask application with `THREADS` worker threads.  asyncwsgi serves the
view with an async generator; the others have only the one with an ordinary generator to serve.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from typing import Any

import environment
from launch import HOST, THREADS
from procstat import footprint
from servers import OWN, Running, StartError, running

PEERS = ("waitress", "gunicorn", "granian")
COLUMNS = (
    "server", "connected", "in s", "events", "lost", "late p50 ms", "p99 ms", "KiB/client",
    "threads", "views", "view p50 ms", "p99 ms",
)  # fmt: skip
CLIENT = environment.BENCH / "sse_client.py"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=10_000, help="event streams at a time")
    parser.add_argument("--events", type=int, default=10, help="events for each client")
    parser.add_argument("--interval", type=float, default=2, help="seconds between two events")
    parser.add_argument("--servers", default=",".join((OWN, *PEERS)), help="out of %(default)s")
    parser.add_argument("--cores", default="0,1", help="of server and client: %(default)s")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        environment.require_tools()
        environment.raise_descriptor_limit(options.clients)
        environment.require_peers()
        environment.require_project()
    except environment.UnreadyError as error:
        print(error, file=sys.stderr)
        return 2
    server_core, client_core = (int(core) for core in options.cores.split(","))
    print(
        f"{options.clients} clients, {options.events} events each, one every {options.interval:g} s"
    )
    print(f"{THREADS} worker threads\n\n| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    has_failed = False
    for name in options.servers.split(","):
        try:
            with running(name, "flask_app", core=server_core) as server:
                cells = measure(name, server, client_core, options)
        except StartError as error:
            cells = [str(error)]
        has_failed = has_failed or len(cells) == 1
        print(f"| {' | '.join([name, *cells])} |", flush=True)
    return int(has_failed)


def measure(name: str, server: Running, core: int, options: argparse.Namespace) -> list[str]:
    """The cells of one server."""
    clients, events = options.clients, options.events
    path = "/async-events" if name == OWN else "/events"
    before = footprint(server.pid)
    words = [HOST, str(server.address.port), path, str(clients), str(events), str(options.interval)]
    command = ["taskset", "-c", str(core), str(environment.PYTHON), str(CLIENT), *words]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        if client.stdout.readline() != "ready\n":
            return ["the client failed"]
        client.stdin.write("go on\n")
        client.stdin.flush()
        line = client.stdout.readline()
        after = footprint(server.pid)
    result: dict[str, Any] = json.loads(line)
    connected = result["connected"]
    memory = (after.resident_mib - before.resident_mib) * 1024 / max(connected, 1)
    return [
        f"{connected}",
        f"{result['connecting_seconds']:.1f}",
        f"{result['received']}",
        f"{clients * events - result['received']}",
        *milliseconds(result["latency"]),
        f"{memory:.1f}",
        f"{after.threads}",
        f"{result['answered']} of {result['views']}",
        *milliseconds(result["view"]),
    ]


def milliseconds(quantiles: list[float] | None) -> list[str]:
    """p50 and p99."""
    if quantiles is None:
        return ["-", "-"]
    return [f"{seconds * 1000:.0f}" for seconds in quantiles[:2]]


if __name__ == "__main__":
    sys.exit(main())
