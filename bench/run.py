"""The benchmark: `python bench/run.py` measures asyncwsgi beside its peers, in one sitting.

Guarantees: one server runs at a time, every round of a case meets a fresh one, and the servers of a
case take turns within each round, so that a slow minute of the machine strikes them alike.
"""

from __future__ import annotations

import json
import os
import platform
import random
import signal
import sys
import time
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

import environment
from load import LoadError, run_wrk
from options import Options, parse_options
from procstat import usage
from report import Case, CaseReport, Sample, case_report, shortfalls, summary, table
from servers import OVERRIDE, OWN, PACKAGES, Running, StartError, running

if TYPE_CHECKING:
    from collections.abc import Sequence

APPS = {"plain": "plain", "flask": "flask_app", "flask-async": "flask_async_app"}
WARM_UP = 1  # seconds; wrk knows no less
SETTLE_INTERVAL = 0.1
SETTLE_LOOKS = 30


def main() -> int:
    options = parse_options()
    # Without this a terminated benchmark would leave its server behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        prepare(options)
    except environment.UnreadyError as error:
        print(error, file=sys.stderr)
        return 2
    versions = environment.versions()
    print(header(options, versions), flush=True)
    samples = [sample for case in options.cases for sample in measure_case(case, options)]
    reports = [case_report(case, samples) for case in options.cases]
    if OWN in options.servers:
        print(f"\n{summary(reports, options.servers)}")
    if options.json:
        options.json.write_text(json.dumps(raw(options, versions, samples), indent=1) + "\n")
    return verdict(reports, options.check)


def prepare(options: Options) -> None:
    environment.require_tools()
    environment.raise_descriptor_limit(max(case.connections for case in options.cases))
    environment.require_peers()
    if {OWN, *PACKAGES} & set(options.servers):
        environment.require_project()


def header(options: Options, versions: dict[str, str]) -> str:
    return (
        f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores: "
        f"server on core {options.server_core}, wrk on core {options.client_core}\n"
        f"{', '.join(f'{name} {versions[PACKAGES.get(name, name)]}' for name in options.servers)}\n"
        f"medians of {options.rounds} x {options.seconds} s; "
        "* marks the best pure-Python peer, ! marks errors"
    )


def measure_case(case: Case, options: Options) -> list[Sample]:
    """Every round of one case; its table is printed as soon as it is complete."""
    samples = [
        measure(case, server, number, options)
        for number in range(1, options.rounds + 1)
        for server in in_turn(measured_servers(options, case), case, number)
    ]
    samples.sort(key=lambda sample: options.servers.index(sample.server))
    print(f"\n{table(case_report(case, samples))}", flush=True)
    return samples


def measured_servers(options: Options, case: Case) -> list[str]:
    """Those that are asked for, without what would be the same server again."""
    return [name for name in options.servers if name != OVERRIDE or case.app == "flask-async"]


def in_turn(servers: Sequence[str], case: Case, number: int) -> list[str]:
    # No server always follows the same neighbour, and another run takes the same turns.
    return random.Random(f"{case.name} {number}").sample(servers, len(servers))


def measure(case: Case, server: str, number: int, options: Options) -> Sample:
    """One server, started for this round alone; a failure is a result too."""
    progress(f"{case.name}, round {number}: {server}")
    try:
        with running(server, APPS[case.app], core=options.server_core) as process:
            return measure_running(process, case, server, number, options)
    except (StartError, LoadError) as error:
        return Sample(server, case.name, number, failure=str(error))
    finally:
        progress("")


def measure_running(
    process: Running, case: Case, server: str, number: int, options: Options
) -> Sample:
    load = partial(
        run_wrk, process.url, case.headers, connections=case.connections, core=options.client_core
    )
    load(seconds=WARM_UP)
    settle(process)
    before = usage(process.pid)
    measured = load(seconds=options.seconds)
    after = usage(process.pid)
    return Sample(
        server=server,
        case=case.name,
        round=number,
        load=measured,
        cpu_us=(after.cpu_seconds - before.cpu_seconds) / max(measured.requests, 1) * 1e6,
        peak_mib=after.peak_mib,
        failure="" if measured.requests else "answered nothing",
    )


def settle(process: Running) -> None:
    """Return once the server is idle: it may still be at work on what the warm-up left behind."""
    for _ in range(SETTLE_LOOKS):
        before = usage(process.pid).cpu_seconds
        time.sleep(SETTLE_INTERVAL)
        if usage(process.pid).cpu_seconds - before < SETTLE_INTERVAL / 5:
            return


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def raw(options: Options, versions: dict[str, str], samples: Sequence[Sample]) -> dict[str, object]:
    return {
        "python": platform.python_version(),
        "packages": versions,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "samples": [asdict(sample) for sample in samples],
    }


def verdict(reports: Sequence[CaseReport], wanted: float | None) -> int:
    """The exit status that --check asks for."""
    missed = [] if wanted is None else list(shortfalls(reports, wanted))
    for line in missed:
        print(f"below --check: {line}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
