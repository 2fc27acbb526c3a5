"""From samples to tables: medians over the rounds, ratios, and what fell short.

Pure: no clock, no process, no printing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from servers import NATIVE, OWN, PYTHON_PEERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from load import Load

CHECKED_CONNECTIONS = 64
BEST = "best Python"
HEADING = (
    f"    {'server':<10}{'req/s':>9}{'p50 ms':>9}{'p99 ms':>9}{'cpu us':>8}{'MiB':>7}{'wrk %':>7}"
    f"{OWN + ' is':>14}  errors"
)


@dataclass(frozen=True, slots=True)
class Case:
    app: str
    headers: str
    connections: int

    @property
    def name(self) -> str:
        return f"{self.app}-{self.headers}-{self.connections}"


@dataclass(frozen=True, slots=True)
class Sample:
    """One server in one round of one case.  No load means that the server failed, and how."""

    server: str
    case: str
    round: int
    load: Load | None = None
    cpu_us: float = 0.0
    peak_mib: float = 0.0
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One server in one case: the medians of its rounds, and the troubles of all of them."""

    server: str
    requests_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    peak_mib: float
    client_busy: float
    trouble: str


@dataclass(frozen=True, slots=True)
class CaseReport:
    case: Case
    rows: dict[str, Row]

    @property
    def best_python(self) -> Row | None:
        peers = [row for name, row in self.rows.items() if name in PYTHON_PEERS]
        return max(peers, key=lambda row: row.requests_per_second, default=None)

    def ratio(self, peer: Row | None) -> float | None:
        """Requests/s of asyncwsgi in units of the peer's, if both were measured."""
        own = self.rows.get(OWN)
        if not (own and peer and own.requests_per_second and peer.requests_per_second):
            return None
        return own.requests_per_second / peer.requests_per_second


def case_report(case: Case, samples: Sequence[Sample]) -> CaseReport:
    """The rows of one case, in the order in which the samples name the servers."""
    by_server: dict[str, list[Sample]] = {}
    for sample in samples:
        if sample.case == case.name:
            by_server.setdefault(sample.server, []).append(sample)
    return CaseReport(case, {name: _row(name, group) for name, group in by_server.items()})


def _row(server: str, samples: Sequence[Sample]) -> Row:
    measured = [(sample, sample.load) for sample in samples if sample.load]
    return Row(
        server=server,
        requests_per_second=_median([load.requests_per_second for _, load in measured]),
        p50_ms=_median([load.p50_ms for _, load in measured]),
        p99_ms=_median([load.p99_ms for _, load in measured]),
        cpu_us=_median([sample.cpu_us for sample, _ in measured]),
        peak_mib=_median([sample.peak_mib for sample, _ in measured]),
        client_busy=_median([load.client_busy for _, load in measured]),
        trouble=_trouble(samples),
    )


def _median(figures: Sequence[float]) -> float:
    return median(figures) if figures else 0.0


def _trouble(samples: Sequence[Sample]) -> str:
    errors: Counter[str] = Counter()
    for sample in samples:
        errors.update(sample.load.errors if sample.load else {})
    failures = dict.fromkeys(sample.failure for sample in samples if sample.failure)
    return ", ".join([*(f"{count} {kind}" for kind, count in errors.items()), *failures])


def table(report: CaseReport) -> str:
    """One case, one line for each server."""
    return "\n".join([report.case.name, HEADING, *_lines(report)])


def _lines(report: CaseReport) -> Iterator[str]:
    for row in report.rows.values():
        mark = "!" if row.trouble else " "
        mark += "*" if row is report.best_python else " "
        ratio = "" if row.server == OWN else _times(report.ratio(row))
        yield (
            f" {mark} {row.server:<10}{row.requests_per_second:>9,.0f}{row.p50_ms:>9.2f}"
            f"{row.p99_ms:>9.2f}{row.cpu_us:>8.0f}{row.peak_mib:>7.1f}{row.client_busy:>7.0%}"
            f"{ratio:>14}  {row.trouble}"
        ).rstrip()


def summary(reports: Sequence[CaseReport], servers: Sequence[str]) -> str:
    """Requests/s of asyncwsgi against each peer, one line for each case."""
    peers = [name for name in servers if name not in (OWN, NATIVE)]
    last = [NATIVE] if NATIVE in servers else []
    heading = "".join(f"{name:>13}" for name in [*peers, BEST, *last])
    lines = [f"requests/s of {OWN}, times the peer's", f"    {'case':<20}{heading}"]
    for report in reports:
        compared = [report.rows.get(name) for name in peers]
        compared += [report.best_python, *(report.rows.get(name) for name in last)]
        ratios = "".join(f"{_times(report.ratio(row)):>13}" for row in compared)
        lines.append(f"    {report.case.name:<20}{ratios}")
    return "\n".join(lines)


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}x"


def shortfalls(reports: Sequence[CaseReport], wanted: float) -> Iterator[str]:
    """Each case of 64 connections in which asyncwsgi erred or is below `wanted` times the best."""
    for report in reports:
        if report.case.connections != CHECKED_CONNECTIONS:
            continue
        best, own = report.best_python, report.rows.get(OWN)
        ratio = report.ratio(best)
        if own is None or own.trouble:
            yield f"{report.case.name}: {own.trouble if own else f'{OWN} was not measured'}"
        elif best is None or ratio is None:
            yield f"{report.case.name}: no pure-Python peer was measured"
        elif ratio < wanted:
            yield f"{report.case.name}: {ratio:.2f}x {best.server}, wanted {wanted:g}x"
