"""What a terminal shows of a run: a table for each case, one of all ratios, one of the targets.

Pure: no clock, no process, no printing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from results import BUSY, CPU, IDLE, P50, P99, PEAK, RATE, CaseReport, Row, Spread
from servers import NATIVE, OWN
from targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

CHECKED_CONNECTIONS = 64
BEST = "best Python"
COLUMNS = (
    (RATE, "req/s", 9, "{:,.0f}"),
    (P50, "p50 ms", 9, "{:.2f}"),
    (P99, "p99 ms", 9, "{:.2f}"),
    (CPU, "cpu us", 8, "{:.0f}"),
    (IDLE, "KiB/conn", 10, "{:.1f}"),
    (PEAK, "MiB", 7, "{:.1f}"),
    (BUSY, "client %", 10, "{:.0%}"),
)
"""Figure, heading, width and format; a case shows those that it has."""


def table(report: CaseReport) -> str:
    """One case, one line for each server."""
    present = {name for row in report.rows.values() for name in row.figures}
    columns = [column for column in COLUMNS if column[0] in present]
    heading = "".join(f"{title:>{width}}" for _, title, width, _ in columns)
    ratio = f"{OWN + ' is':>22}" if RATE in present else ""
    lines = [report.case.name, f"    {'server':<11}{heading}{ratio}  errors"]
    for row in report.rows.values():
        mark = "!" if row.trouble else " "
        mark += "*" if row is report.best_python else " "
        cells = "".join(
            f"{form.format(row.figure(name)):>{width}}" for name, _, width, form in columns
        )
        times = f"{_against(report, row):>22}" if ratio else ""
        lines.append(f" {mark} {row.server:<11}{cells}{times}  {row.trouble}".rstrip())
    return "\n".join(lines)


def _against(report: CaseReport, row: Row) -> str:
    spread = None if row.server == OWN else report.ratio(row)
    return str(spread) if spread else ""


def summary(reports: Sequence[CaseReport], servers: Sequence[str]) -> str:
    """Requests/s of asyncwsgi against each peer, one line for each case."""
    peers = [name for name in servers if name not in (OWN, NATIVE)]
    last = [NATIVE] if NATIVE in servers else []
    heading = "".join(f"{name:>13}" for name in [*peers, BEST, *last])
    lines = [f"requests/s of {OWN}, times the peer's", f"    {'case':<20}{heading}"]
    for report in (report for report in reports if report.best(report.rows)):
        compared = [report.rows.get(name) for name in peers]
        compared += [report.best_python, *(report.rows.get(name) for name in last)]
        ratios = "".join(f"{_times(report.ratio(row)):>13}" for row in compared)
        lines.append(f"    {report.case.name:<20}{ratios}")
    return "\n".join(lines)


def _times(spread: Spread | None) -> str:
    return f"{spread.median:.2f}x" if spread else "-"


def target_table(reports: Mapping[str, CaseReport]) -> str:
    """The targets whose cases were measured, and whether they are reached."""
    heading = f"    {'target':<65}{'compared with':<24}{'wanted':<27}{'measured':<27}"
    judged = ((target, target.judge(reports)) for target in TARGETS)
    lines = [
        f"    {target.title:<65}{judgement.peer or target.compared_with:<24}{target.wanted:<27}"
        f"{judgement.measured:<27}{judgement.verdict}"
        for target, judgement in judged
        if judgement
    ]
    return "\n".join([heading.rstrip(), *lines])


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
        elif ratio.median < wanted:
            yield f"{report.case.name}: {ratio.median:.2f}x {best.server}, wanted {wanted:g}x"
