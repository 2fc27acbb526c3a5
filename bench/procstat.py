"""CPU time and memory of a process and its descendants, read from /proc.

Knows nothing of servers; a process that ends while it is looked at counts as absent.
"""

from __future__ import annotations

import os
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PROC = Path("/proc")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

# Positions after the command name, which proc(5) counts from 3.
PARENT, USER_TICKS, SYSTEM_TICKS = 1, 11, 12


@dataclass(frozen=True, slots=True)
class Usage:
    cpu_seconds: float
    peak_mib: float


def usage(root: int) -> Usage:
    """What the process tree under `root` has used so far."""
    pids = list(_tree(root))
    return Usage(sum(map(_cpu_seconds, pids)), sum(map(_peak_mib, pids)))


@dataclass(frozen=True, slots=True)
class Footprint:
    threads: int
    resident_mib: float


def footprint(root: int) -> Footprint:
    """The threads and the memory of the process tree under `root`, now."""
    statuses = [dict(_status(pid)) for pid in _tree(root)]
    return Footprint(
        sum(int(status.get("Threads", 0)) for status in statuses),
        sum(int(status.get("VmRSS", "0 kB").split()[0]) for status in statuses) / 1024,
    )


def _status(pid: int) -> Iterator[tuple[str, str]]:
    for line in _read(pid, "status").splitlines():
        name, _, value = line.partition(":")
        yield name, value.strip()


def _tree(root: int) -> Iterator[int]:
    children = _children()
    pending = [root]
    while pending:
        pid = pending.pop()
        pending += children[pid]
        yield pid


def _children() -> dict[int, list[int]]:
    children: dict[int, list[int]] = defaultdict(list)
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))):
            children[int(stat[PARENT])].append(int(entry.name))
    return children


def _stat(pid: int) -> list[str]:
    # The command name stands in parentheses and may itself hold spaces and parentheses.
    return _read(pid, "stat").rpartition(")")[2].split()


def _cpu_seconds(pid: int) -> float:
    stat = _stat(pid)
    return (int(stat[USER_TICKS]) + int(stat[SYSTEM_TICKS])) / TICKS_PER_SECOND if stat else 0.0


def _peak_mib(pid: int) -> float:
    for line in _read(pid, "status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _read(pid: int, name: str) -> str:
    with suppress(FileNotFoundError, ProcessLookupError):
        return (PROC / str(pid) / name).read_text()
    return ""
