"""WebSockets: `python bench/ws.py` holds many open, most of them idle, beside the peers.

Clients and server are processes of their own, with one core each. This server's loop has 8 threads
beside it; flask-sock holds a thread for each WebSocket (and starts one more), and so gets as many,
up to a limit. Needs the packages of
`pip install asyncwsgi[dev]`.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, Self

import environment
from launch import BACKLOG, HOST, THREADS
from procstat import footprint, usage
from servers import Running, StartError, running_command

OWN = "asyncwsgi, on the loop"
PATH = "/echo"
CLIENT = environment.BENCH / "ws_client.py"
COLUMNS = (
    "server", "threads", "open", "in s", "KiB each", "p50 ms", "p99 ms", "talking", "echoes/s",
    "cpu us", "p99 ms", "errors",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kind:
    """A server, and how it is started.

    Args:
        command: its module and arguments.
        threads: what it is told to have; None: as many as WebSockets, up to a limit.
        holds_threads: whether each WebSocket holds one, so that no more can be open.
    """

    command: str
    threads: int | None = None
    holds_threads: bool = True


_OWN = (
    f"asyncwsgi --host {HOST} --port {{port}} --threads {{threads}} --backlog {BACKLOG}"
    " --no-access-log"
)
KINDS = {
    OWN: Kind(f"{_OWN} bench.ws_apps:on_loop", THREADS, holds_threads=False),
    "flask-sock": Kind(f"{_OWN} bench.ws_apps:in_thread", THREADS),
    "flask-sock, threads": Kind(f"{_OWN} bench.ws_apps:in_thread"),
    "gunicorn gthread": Kind(
        f"gunicorn --bind {HOST}:{{port}} --worker-class gthread --workers 1 --threads {{threads}}"
        f" --worker-connections 20000 --backlog {BACKLOG} --no-control-socket --timeout 0"
        " --log-level critical bench.ws_apps:in_thread",
    ),
    "uvicorn": Kind(
        f"uvicorn --host {HOST} --port {{port}} --ws websockets --loop uvloop"
        f" --backlog {BACKLOG} --log-level error --no-access-log bench.ws_apps:starlette",
        holds_threads=False,
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--idle", type=int, default=10_000, help="%(default)s")
    parser.add_argument("--talking", type=int, default=2_000, help="%(default)s")
    parser.add_argument("--seconds", type=float, default=10, help="of each load: %(default)s")
    parser.add_argument("--interval", type=float, default=2, help="between messages: %(default)s s")
    parser.add_argument("--threads", type=int, default=4_000, help="at most: %(default)s")
    parser.add_argument("--servers", default=";".join(KINDS), help="out of %(default)r")
    parser.add_argument("--cores", default="0,1", help="of server and client: %(default)s")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        environment.raise_descriptor_limit(options.idle + options.talking)
    except environment.UnreadyError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{options.idle} idle and {options.talking} talking, every {options.interval:g} s")
    print(f"\n| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    has_failed = False
    for name in options.servers.split(";"):
        try:
            cells = measure(KINDS[name], options)
        except StartError as error:
            cells = [str(error)]
            has_failed = True
        print(f"| {' | '.join([name, *cells])} |", flush=True)
    return int(has_failed)


def measure(kind: Kind, options: argparse.Namespace) -> list[str]:
    """The cells of one server."""
    server_core, client_core = options.cores.split(",")
    count = options.idle + options.talking
    threads = kind.threads or min(count, options.threads)
    command = ["taskset", "-c", server_core, sys.executable, "-m", *kind.command.split()]
    with running_command(command, {"threads": threads}) as server:
        before = footprint(server.pid)
        # Those for which it has no thread would wait for the answer to their handshake.
        wanted = threads if kind.holds_threads else count
        with Clients(server, client_core) as clients:
            opened = clients.tell(f"open {wanted}")
            after = footprint(server.pid)
            paced = clients.tell(f"talk {options.talking} {options.seconds} {options.interval}")
            spent = usage(server.pid).cpu_seconds
            flat_out = clients.tell(f"talk {options.talking} {options.seconds} 0")
            spent = usage(server.pid).cpu_seconds - spent
        errors = opened["open"] - flat_out["open"] + flat_out["wrong"]
        memory = (after.resident_mib - before.resident_mib) * 1024 / max(opened["open"], 1)
        return [
            f"{after.threads}",
            f"{opened['open']}",
            f"{opened['seconds']:.1f}",
            f"{memory:.1f}",
            *milliseconds(paced["latency"]),
            f"{flat_out['talkers']}",
            f"{flat_out['answered'] / options.seconds:.0f}",
            f"{spent / max(flat_out['answered'], 1) * 1e6:.0f}",
            *milliseconds(flat_out["latency"][1:]),
            f"{errors}",
        ]


class Clients:
    """The process that has them, for the length of a block."""

    def __init__(self, server: Running, core: str) -> None:
        words = [HOST, str(server.address.port), PATH]
        self._process = subprocess.Popen(
            ["taskset", "-c", core, sys.executable, str(CLIENT), *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.wait()

    def tell(self, line: str) -> dict[str, Any]:
        """Have them do something; what came of it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        told = self._process.stdout.readline()
        if not told:
            raise StartError("the clients failed")
        answer: dict[str, Any] = json.loads(told)
        return answer


def milliseconds(seconds: list[float]) -> list[str]:
    return [f"{second * 1000:.1f}" for second in seconds] or ["-", "-"]


if __name__ == "__main__":
    sys.exit(main())
