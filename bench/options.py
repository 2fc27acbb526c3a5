"""The command line: what is measured, how long, and where.

Guarantees: the options it returns can be run; whatever cannot is refused with a usage error.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from report import CHECKED_CONNECTIONS
from servers import COMMANDS, OWN
from traffic import CASES, Case

if TYPE_CHECKING:
    from collections.abc import Sequence

DESCRIPTION = "Measure asyncwsgi beside its peers."
ROUNDS, SECONDS = 5, 1
CASE_NAMES = ", ".join(case.name for case in CASES)


@dataclass(frozen=True, slots=True)
class Options:
    servers: list[str]
    cases: Sequence[Case]
    rounds: int
    seconds: int
    server_core: int
    client_core: int
    json: Path | None
    check: float | None


def parse_options() -> Options:
    parser = _parser()
    given = parser.parse_args()
    cores = given.cores or sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        parser.error("two cores are needed, one for the server and one for wrk")
    cases = given.cases or CASES
    if given.check and all(case.connections != CHECKED_CONNECTIONS for case in cases):
        parser.error(f"--check wants a case with {CHECKED_CONNECTIONS} connections")
    return Options(
        servers=given.servers,
        cases=cases,
        rounds=given.rounds or (1 if given.quick else ROUNDS),
        seconds=given.seconds or SECONDS,
        server_core=cores[0],
        client_core=cores[1],
        json=given.json,
        check=given.check,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=DESCRIPTION)
    add = parser.add_argument
    add("--servers", type=_servers, default=list(COMMANDS), metavar="A,B", help=",".join(COMMANDS))
    add("--cases", type=_cases, metavar="A,B", help=f"names or patterns out of {CASE_NAMES}")
    add("--rounds", type=_positive, metavar="N", help=f"rounds of each case ({ROUNDS})")
    add("--seconds", type=_positive, metavar="N", help=f"length of each ({SECONDS})")
    add("--cores", type=_two_cores, metavar="SERVER,CLIENT", help="where to pin them (first two)")
    add("--quick", action="store_true", help="1 round")
    add("--json", type=Path, metavar="FILE", help="write the raw results here")
    add(
        "--check",
        type=float,
        metavar="RATIO",
        help=f"exit 1 if {OWN} at {CHECKED_CONNECTIONS} connections serves fewer requests/s than "
        "RATIO times the best pure-Python peer",
    )
    return parser


def _servers(text: str) -> list[str]:
    names = list(dict.fromkeys(text.split(",")))
    if unknown := [name for name in names if name not in COMMANDS]:
        raise argparse.ArgumentTypeError(f"no server {unknown[0]}; there are {', '.join(COMMANDS)}")
    return names


def _cases(text: str) -> list[Case]:
    patterns = text.split(",")
    cases = [case for case in CASES if any(fnmatchcase(case.name, p) for p in patterns)]
    if not cases:
        raise argparse.ArgumentTypeError(f"{text} matches none of {CASE_NAMES}")
    return cases


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def _two_cores(text: str) -> list[int]:
    cores = [int(core) for core in text.split(",")]
    if len(cores) != 2 or cores[0] == cores[1]:
        raise argparse.ArgumentTypeError(f"wants two different cores, got {text}")
    return cores
