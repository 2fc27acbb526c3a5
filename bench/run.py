"""The benchmark: `python bench/run.py` measures asyncwsgi beside its peers, in one sitting.

Guarantees: one server runs at a time, every round of a case meets a fresh one, and the servers of a
case - and the numbers of connections of one kind of traffic - take turns within each round, so that
a slow minute of the machine strikes them alike.
"""

from __future__ import annotations

import json
import os
import platform
import random
import shlex
import signal
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import environment
from measuring import Cores, measure
from options import Options, parse_options
from report import shortfalls, summary, table, target_table
from results import CaseReport, Sample, case_report
from servers import OWN, PACKAGES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from traffic import Case

T = TypeVar("T")


def main() -> int:
    options = parse_options()
    # Without this a terminated benchmark would leave its server behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        cases = prepare(options)
    except environment.UnreadyError as error:
        print(error, file=sys.stderr)
        return 2
    versions = environment.versions()
    print(header(options, versions), flush=True)
    samples: list[Sample] = []
    for _, group in groupby(cases, key=lambda case: case.traffic):
        samples += measure_together(list(group), options)
        if options.json:
            save(options.json, raw(options, versions, samples))
    reports = [case_report(case, samples) for case in cases]
    if OWN in options.servers:
        print(f"\n{summary(reports, options.servers)}")
        print(f"\n{target_table({report.case.name: report for report in reports})}")
    return verdict(reports, options.check)


def prepare(options: Options) -> list[Case]:
    """Have everything ready; returns the cases that this machine's limits allow."""
    cases = [case for case in options.cases if environment.can_hold(case.connections)]
    for case in options.cases:
        if case not in cases:
            print(f"{case.name} is left out: ulimit -Hn is too low for it", file=sys.stderr)
    environment.require_tools()
    environment.raise_descriptor_limit(max((case.connections for case in cases), default=0))
    environment.require_data()
    environment.require_peers()
    if {OWN, *PACKAGES} & set(options.servers):
        environment.require_project()
    return cases


def header(options: Options, versions: dict[str, str]) -> str:
    return (
        f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores: "
        f"server on core {options.server_core}, client on core {options.client_core}\n"
        f"{', '.join(f'{name} {versions[PACKAGES.get(name, name)]}' for name in options.servers)}\n"
        f"medians of {options.rounds} x {options.seconds} s, ratios with their least and greatest; "
        "* marks the best pure-Python peer, ! marks errors"
    )


def measure_together(cases: Sequence[Case], options: Options) -> list[Sample]:
    """Every round of the cases of one kind of traffic, and then their tables."""
    cores = Cores(options.server_core, options.client_core)
    samples = []
    for number in range(1, options.rounds + 1):
        for case in in_turn(cases, f"{cases[0].traffic.name} {number}"):
            servers = [name for name in case.traffic.servers if name in options.servers]
            for server in in_turn(servers, f"{case.name} {number}"):
                progress(f"{case.name}, round {number}: {server}")
                sample = measure(case, server, number, seconds=options.seconds, cores=cores)
                samples.append(sample)
    progress("")
    for case in cases:
        print(f"\n{table(case_report(case, samples))}", flush=True)
    return samples


def in_turn(things: Sequence[T], seed: str) -> list[T]:
    # Nothing always follows the same neighbour, and another run takes the same turns.
    return random.Random(seed).sample(things, len(things))


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def save(path: Path, results: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")


def raw(options: Options, versions: dict[str, str], samples: Sequence[Sample]) -> dict[str, object]:
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "command": shlex.join(["python", "bench/run.py", *sys.argv[1:]]),
        "machine": machine(),
        "packages": versions,
        "servers": options.servers,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "samples": [asdict(sample) for sample in samples],
    }


def machine() -> dict[str, str]:
    """What the figures depend on."""
    return {
        "processor": processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def verdict(reports: Sequence[CaseReport], wanted: float | None) -> int:
    """The exit status that --check asks for."""
    missed = [] if wanted is None else list(shortfalls(reports, wanted))
    for line in missed:
        print(f"below --check: {line}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
