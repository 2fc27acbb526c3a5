"""One run of a suite in a pytest of its own, and what it left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conformance.environment import Environment
    from tests.conformance.suites import Suite

TIMEOUT = 60
"""Seconds for one test; the slowest takes two."""
HARMLESS_EXIT_CODES = (0, 1)
"""All passed, some failed. Anything else means that pytest did not run all tests."""
FOREIGN_SETTINGS = ("ASYNCWSGI_", "CONFORMANCE_", "FLASK_", "PYTEST_", "PYTHON", "WERKZEUG_")


@dataclass(frozen=True)
class Outcome:
    """What became of one test."""

    outcome: str
    """``passed``, ``failed`` or ``skipped``."""
    message: str


@dataclass(frozen=True)
class Run:
    """A suite after it ran once."""

    outcomes: dict[str, Outcome]
    servers: dict[str, Counter[str]]
    """For each test that had servers: how many were Werkzeug's and how many asyncwsgi's; how many
    requests those took; and how many coroutines ran on the server's own loop and on a foreign one.
    """
    exit_code: int
    log: Path

    def count(self, whose: str) -> int:
        return sum(servers[whose] for servers in self.servers.values())


def run(suite: Suite, environment: Environment, *, ours: bool) -> Run:
    """Run the suite, on this server if `ours` says so, and else on Werkzeug's."""
    name = f"{suite.name}-{'ours' if ours else 'baseline'}"
    folder = environment.folder / "results"
    folder.mkdir(exist_ok=True)
    report, servers, log = (folder / f"{name}.{kind}" for kind in ("jsonl", "servers", "log"))
    for path in (report, servers):
        path.write_text("")
    variables = clean_environ() | {
        "CONFORMANCE_REPORT": str(report),
        "CONFORMANCE_SERVERS": str(servers),
    }
    if ours:
        variables["CONFORMANCE_OURS"] = "1"
    exit_code = run_pytest(suite, environment, variables, log, ours=ours)
    return Run(read_outcomes(report), read_servers(servers), exit_code, log)


def clean_environ() -> dict[str, str]:
    """This process's environment without what could change a test."""
    return {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN_SETTINGS)}


def run_pytest(
    suite: Suite,
    environment: Environment,
    variables: dict[str, str],
    log: Path,
    *,
    ours: bool,
) -> int:
    command = [str(environment.python), "-m", "pytest", "-p", "no:cacheprovider"]
    if "randomly" not in suite.arguments:
        command += ["-p", "no:randomly"]
    for plugin in ("conformance_report", *(suite.plugins if ours else ())):
        command += ["-p", plugin]
    command += ["--timeout", str(TIMEOUT), *suite.arguments]
    if ours:
        command += suite.own_arguments
    with log.open("wb") as output:
        pytest = subprocess.Popen(
            command,
            cwd=environment.sources(suite.project) / suite.folder,
            env=variables,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            return pytest.wait()
        finally:
            end_session(pytest.pid)


def end_session(leader: int) -> None:
    """Servers whose test ran into its timeout outlive pytest."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def read_outcomes(path: Path) -> dict[str, Outcome]:
    """The last outcome of each test; that of its teardown if it failed there."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {line["test"]: Outcome(line["outcome"], line["message"]) for line in lines}


def read_servers(path: Path) -> dict[str, Counter[str]]:
    servers: dict[str, Counter[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        whose, _, test = line.partition("\t")
        servers.setdefault(test, Counter())[whose] += 1
    return servers
