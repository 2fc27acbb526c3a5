"""Live servers for tests: `python bench/live.py` starts, asks and stops each many times.

What a test pays that asks for a server: from the call that starts it, over the first response, to
the return of the call that stops it.  Each kind runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from statistics import median

import environment
from live_servers import KINDS, OWN

CHILD = environment.BENCH / "live_servers.py"
COLUMNS = ("server", "total ms", "p90", "start", "first response", "stop", "times ours")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100, help="servers of each kind: %(default)s")
    parser.add_argument("--kinds", default=",".join(KINDS), help="out of %(default)s")
    options = parser.parse_args()
    try:
        environment.require_peers()
        environment.require_project()
    except environment.UnreadyError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"medians of {options.rounds} servers\n\n| {' | '.join(COLUMNS)} |")
    print(f"|{'---|' * len(COLUMNS)}")
    own = 0.0
    has_failed = False
    for kind in options.kinds.split(","):
        try:
            spans = measure(kind, options.rounds)
        except ValueError as error:
            has_failed = True
            print(f"| {kind} | {error} |", flush=True)
            continue
        total = median(sum(span) for span in spans)
        own = total if kind == OWN else own
        print(f"| {' | '.join([kind, *cells(spans), times(total, own)])} |", flush=True)
    return int(has_failed)


def measure(kind: str, rounds: int) -> list[list[float]]:
    """Seconds of start, first response and stop, for each server.

    Raises:
        ValueError: it did not work; the message is the last line of what was said.
    """
    command = [str(environment.PYTHON), str(CHILD), kind, str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError((done.stderr.strip().splitlines() or ["no output"])[-1])
    spans: list[list[float]] = json.loads(done.stdout.splitlines()[-1])
    return spans


def cells(spans: list[list[float]]) -> list[str]:
    totals = sorted(sum(span) for span in spans)
    parts = [median(part) for part in zip(*spans, strict=True)]
    return [
        f"{value * 1000:.1f}" for value in (median(totals), totals[len(totals) * 9 // 10], *parts)
    ]


def times(total: float, own: float) -> str:
    return f"{total / own:.1f}" if own else "-"


if __name__ == "__main__":
    sys.exit(main())
