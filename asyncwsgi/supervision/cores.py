"""How many cores this process may use."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path, PurePosixPath

_GROUPS = Path("/proc/self/cgroup")
_CGROUPS = Path("/sys/fs/cgroup")


def usable_cores(groups: Path = _GROUPS, cgroups: Path = _CGROUPS) -> int:
    """The smaller of the cores that it may run on and of the time that its control group gets.

    A container is mostly bounded by the second, which the first does not show.

    Args:
        groups: the file that names the control groups of this process.
        cgroups: where they are mounted.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    # Half a core is one process, and one core and a half are two: one of them alone would leave
    # half a core unused.
    quota = min(_quotas(groups, cgroups), default=float(cores))
    return max(1, min(cores, -int(-quota // 1)))


def _quotas(groups: Path, cgroups: Path) -> list[float]:
    """Cores that the control groups of this process may use, of those that have a bound."""
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        return []  # no Linux
    quotas = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = cgroups if not controllers else cgroups / "cpu"
        place = PurePosixPath(path)
        # Every group above has its bound, too. In a container its own group is the root.
        for directory in (place, *place.parents):
            with suppress(OSError, ValueError, ZeroDivisionError):
                quotas.append(_quota(root / str(directory).lstrip("/")))
    return quotas


def _quota(directory: Path) -> float:
    """Raises OSError or ValueError if it has none."""
    file = directory / "cpu.max"
    if file.exists():
        time, period = file.read_text().split()  # "max 100000" is no bound: ValueError
        return int(time) / int(period)
    time = (directory / "cpu.cfs_quota_us").read_text()
    if int(time) < 0:
        raise ValueError("no bound")
    return int(time) / int((directory / "cpu.cfs_period_us").read_text())
