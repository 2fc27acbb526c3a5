"""From samples to figures: medians over the rounds, and ratios with their spread.

Pure: no clock, no process, no printing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from servers import OWN, PYTHON_PEERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from traffic import Case

RATE = "requests_per_second"
P50 = "p50_ms"
P99 = "p99_ms"
CPU = "cpu_us"
PEAK = "peak_mib"
BUSY = "client_busy"
IDLE = "kib_per_connection"
LATENCIES = (P50, P99)

Figures = dict[str, float]
"""By the names above; those that a case has."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One server in one round of one case. Without figures the server failed."""

    server: str
    case: str
    round: int
    figures: Figures = field(default_factory=dict)
    curve: dict[str, float] = field(default_factory=dict)
    """Milliseconds by percentile; of idle connections MiB by their number."""
    errors: dict[str, int] = field(default_factory=dict)
    failure: str = ""
    """Why there is no figure."""


@dataclass(frozen=True, slots=True)
class Row:
    """One server in one case: the medians of its rounds, and the troubles of all of them."""

    server: str
    figures: Figures
    curve: dict[str, float]
    rounds: dict[int, Figures]
    trouble: str

    def figure(self, name: str) -> float:
        """0 if there is none."""
        return self.figures.get(name, 0.0)

    @property
    def shown_rate(self) -> str:
        """Requests/s as text; of the largest bodies there are few."""
        rate = self.figure(RATE)
        return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"

    def in_units_of(self, name: str, unit: float) -> Spread | None:
        return spread_of(
            figures[name] / unit for figures in self.rounds.values() if name in figures
        )


@dataclass(frozen=True, slots=True)
class Spread:
    """A ratio in each round: its median, its least and its greatest."""

    median: float
    least: float
    greatest: float

    def __str__(self) -> str:
        return f"{self.median:.2f}x ({self.least:.2f}..{self.greatest:.2f})"


@dataclass(frozen=True, slots=True)
class CaseReport:
    case: Case
    rows: dict[str, Row]
    """By server, in the order in which they are shown."""

    @property
    def best_python(self) -> Row | None:
        return self.best(PYTHON_PEERS)

    def best(self, servers: Iterable[str], figure: str = RATE) -> Row | None:
        """The most requests, or the least of anything else, among those that were measured."""
        sign = 1 if figure == RATE else -1
        rows = (self.rows[name] for name in servers if name in self.rows)
        measured = [row for row in rows if row.figure(figure)]
        return max(measured, key=lambda row: sign * row.figure(figure), default=None)

    def ratio(self, peer: Row | None) -> Spread | None:
        """Requests/s of asyncwsgi in units of the peer's, if both were measured."""
        own = self.rows.get(OWN)
        return spread(own, RATE, peer, RATE) if own and peer else None


def spread(row: Row, figure: str, other: Row, other_figure: str) -> Spread | None:
    """A figure in units of another one, round by round, if there is a round that has both."""
    return spread_of(
        figures[figure] / others[other_figure]
        for number, figures in row.rounds.items()
        if figure in figures and (others := other.rounds.get(number, {})).get(other_figure)
    )


def spread_of(values: Iterable[float]) -> Spread | None:
    ordered = sorted(values)
    return Spread(median(ordered), ordered[0], ordered[-1]) if ordered else None


def case_report(case: Case, samples: Sequence[Sample]) -> CaseReport:
    """The rows of one case, in the order in which its traffic names the servers."""
    by_server = {
        server: [s for s in samples if (s.case, s.server) == (case.name, server)]
        for server in case.traffic.servers
    }
    return CaseReport(case, {name: _row(name, group) for name, group in by_server.items() if group})


def _row(server: str, samples: Sequence[Sample]) -> Row:
    measured = [sample for sample in samples if sample.figures]
    return Row(
        server=server,
        figures=_medians([sample.figures for sample in measured]),
        curve=_medians([sample.curve for sample in measured]),
        rounds={sample.round: sample.figures for sample in measured},
        trouble=_trouble(samples),
    )


def _medians(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for figures in rounds for name in figures)
    return {name: median(f[name] for f in rounds if name in f) for name in names}


def _trouble(samples: Sequence[Sample]) -> str:
    errors: Counter[str] = Counter()
    for sample in samples:
        errors.update(sample.errors)
    failures = dict.fromkeys(sample.failure for sample in samples if sample.failure)
    return ", ".join([*(f"{count} {kind}" for kind, count in errors.items()), *failures])
