"""One run of wrk: the load it makes and what it saw.

Guarantees: a run ends, and a figure is never made of answers that failed.
"""

from __future__ import annotations

import json
import resource
import subprocess
from dataclasses import dataclass
from pathlib import Path

LUA = Path(__file__).parent / "lua"
GRACE = 30  # seconds beyond the run before wrk counts as hung


class LoadError(Exception):
    """wrk itself failed, so there is no figure."""


@dataclass(frozen=True, slots=True)
class Load:
    requests: int
    requests_per_second: float
    p50_ms: float
    p99_ms: float
    errors: dict[str, int]
    client_busy: float  # share of its core that wrk used: near 1, the figure is the client's limit


def run_wrk(url: str, headers: str, *, connections: int, seconds: int, core: int) -> Load:
    """Load `url` with lua/<headers>.lua; `core` is where wrk is pinned."""
    command = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s"]
    command += ["-s", f"{headers}.lua", url]
    before = _children_cpu()
    output = _output(command, seconds + GRACE)
    return _parse(output, _children_cpu() - before)


def _output(command: list[str], timeout: int) -> str:
    try:
        # The scripts find common.lua through the working directory.
        return subprocess.run(
            command, cwd=LUA, check=True, capture_output=True, text=True, timeout=timeout
        ).stdout
    except subprocess.SubprocessError as error:
        raise LoadError(f"wrk failed: {error}") from error


def _parse(output: str, client_cpu: float) -> Load:
    summary = json.loads(_summary(output))
    errors: dict[str, int] = summary["errors"]
    seconds = summary["microseconds"] / 1e6
    # wrk counts a refused request as a request; a server must not win by refusing fast.
    answered = summary["requests"] - errors["status"]
    return Load(
        requests=answered,
        requests_per_second=answered / seconds,
        p50_ms=summary["p50"] / 1000,
        p99_ms=summary["p99"] / 1000,
        errors={kind: count for kind, count in errors.items() if count},
        client_busy=client_cpu / seconds,
    )


def _summary(output: str) -> str:
    for line in output.splitlines():
        if line.startswith("{"):
            return line
    raise LoadError("wrk failed: its script printed no summary")


def _children_cpu() -> float:
    # Only children that have been waited for count here, so a running server does not.
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
