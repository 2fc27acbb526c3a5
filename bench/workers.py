"""A view that computes, by one process and by two: `python bench/workers.py`.

The view keeps a core busy for some 10 ms with nothing but Python, so that threads do not help it:
what a second process brings on a second core is what several processes are for.  Each server runs
alone, on all cores, and rounds of all of them take turns.  uWSGI is built from source by pip, and
left out where that fails.
"""

from __future__ import annotations

import argparse
import http.client
import math
import subprocess
import sys
import threading
import time
from statistics import median

import environment
import servers
from environment import BENCH, PYTHON
from launch import HOST

THREADS = 4
CONNECTIONS = 16
WORKERS = (1, 2)
WARM_UP = 1.0
COLUMNS = ("server", "1 process", "2 processes", "times one", "errors")
COMMANDS = {
    "asyncwsgi": "{python} -m asyncwsgi --host {host} --port {port} --workers {workers}"
    " --threads {threads} --no-access-log {bench}/apps.py:flask_app",
    "gunicorn": "{python} -m gunicorn --bind {host}:{port} --chdir {bench} --worker-class gthread"
    " --workers {workers} --threads {threads} --keep-alive 75 --no-control-socket"
    " --log-level error apps:flask_app",
    "granian": "{python} -m granian --interface wsgi --host {host} --port {port}"
    " --working-dir {bench} --workers {workers} --blocking-threads {threads} --http 1 --no-ws"
    " --no-access-log --log-level error apps:flask_app",
    # Its HTTP router is a process besides; without it no connection is kept.
    "uwsgi": "{bin}/uwsgi --http {host}:{port} --http-keepalive=75 --http-auto-chunked"
    " --chdir {bench} --master --need-app --processes {workers} --threads {threads}"
    " --disable-logging --die-on-term --virtualenv {venv} --module apps:flask_app",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", default=",".join(COMMANDS), help="out of %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="%(default)s")
    parser.add_argument("--seconds", type=float, default=5.0, help="of a round: %(default)s")
    parser.add_argument("--check", type=float, help="exit with 1 if ours is fewer times one")
    options = parser.parse_args()
    try:
        environment.require_peers()
        environment.require_project()
    except environment.UnreadyError as error:
        print(error, file=sys.stderr)
        return 2
    names = [name for name in options.servers.split(",") if name != "uwsgi" or has_uwsgi()]
    rates: dict[tuple[str, int], list[float]] = {(n, w): [] for n in names for w in WORKERS}
    failures = dict.fromkeys(names, 0)
    for _ in range(options.rounds):
        for name, workers in rates:
            try:
                rate, failed = measure(name, workers, options.seconds)
            except servers.StartError as error:
                print(f"{name} {error}", file=sys.stderr)
                rate, failed = math.nan, 0
            rates[name, workers].append(rate)
            failures[name] += failed
            print(f"{name}, {workers}: {rate:.1f} requests/s", file=sys.stderr, flush=True)
    print(f"medians of {options.rounds} rounds of {options.seconds:g} s, requests/s\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    ours = 0.0
    for name in names:
        one, two = (median(rates[name, workers]) for workers in WORKERS)
        ours = two / one if name == "asyncwsgi" else ours
        print(f"| {name} | {one:.1f} | {two:.1f} | {two / one:.2f} | {failures[name]} |")
    return int(options.check is not None and (ours < options.check or failures["asyncwsgi"] > 0))


def has_uwsgi() -> bool:
    """Whether uWSGI is there, or can be built."""
    if (PYTHON.parent / "uwsgi").exists():
        return True
    command = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*command, "uwsgi"], capture_output=True, text=True, check=False)
    if done.returncode:
        print("uWSGI cannot be built here, and is left out", file=sys.stderr)
    return done.returncode == 0


def measure(name: str, workers: int, seconds: float) -> tuple[float, int]:
    """Requests per second that are answered, and how many were not."""
    values = {"bench": BENCH, "bin": PYTHON.parent, "host": HOST, "python": PYTHON}
    values |= {"threads": THREADS, "venv": environment.VENV, "workers": workers}
    with servers.running_command(COMMANDS[name].split(), values) as running:
        load(running.address.port, WARM_UP)
        began = time.monotonic()
        answered, failed = load(running.address.port, seconds)
        return answered / (time.monotonic() - began), failed


def load(port: int, seconds: float) -> tuple[int, int]:
    """Ask on kept connections for so long; how many answers came, and how many were wrong."""
    until = time.monotonic() + seconds
    counts: list[tuple[int, int]] = []

    def ask() -> None:
        connection = http.client.HTTPConnection(HOST, port, timeout=30)
        answered = failed = 0
        while time.monotonic() < until:
            try:
                connection.request("GET", "/compute")
                response = connection.getresponse()
                is_right = response.read() == b"computed" and response.status == 200
            except (OSError, http.client.HTTPException):
                connection.close()
                is_right = False
            answered += is_right
            failed += not is_right
        connection.close()
        counts.append((answered, failed))

    threads = [threading.Thread(target=ask) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(answered for answered, _ in counts), sum(failed for _, failed in counts)


if __name__ == "__main__":
    sys.exit(main())
