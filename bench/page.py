"""The page of a run: what was measured, where, and what came out, as Markdown.

Pure: no clock, no process, no file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from results import IDLE, P50, P99, PEAK, RATE, CaseReport, Row
from servers import NATIVE, OWN, PACKAGES, VARIANTS, shown_command
from targets import TARGETS
from traffic import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

PLOTS = "plots"
"""Where they are, beside the page."""
LIBRARIES = ("flask", "h11", "uvloop")
"""On which the figures depend, too."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a run was."""

    command: str
    date: str
    machine: dict[str, str]
    packages: dict[str, str]
    servers: Sequence[str]
    rounds: int
    seconds: int


def page(run: Run, reports: Sequence[CaseReport], plots: Sequence[str]) -> str:
    """The whole page; `plots` are the names of those that were drawn."""
    sections = [
        *_introduction(run),
        *_targets(reports),
        *_requests(reports, run, plots),
        *_latency(reports, run, plots),
        *_memory(reports, run, plots),
        *_errors(reports),
        *_circumstances(run),
    ]
    return "\n\n".join(sections) + "\n"


def _introduction(run: Run) -> Iterator[str]:
    yield "<!-- Written by bench/write_report.py: make bench-report writes it anew. -->"
    yield "# Performance"
    yield (
        "asyncwsgi beside its peers: each server alone, in one process pinned to one core, with 8 "
        "worker threads unless a row says otherwise, access logs off, the load on another core. "
        f"Medians of {run.rounds} rounds of {run.seconds} s (longer with TLS and many connections) "
        f"from one run of {run.date}; within a round the servers take turns. The figures of this "
        "machine say little of another one, ratios say more: they are medians of the ratio in each "
        "round, with the least and the greatest of them."
    )
    yield (
        "Answers are checked while it is measured: their status and length all of them, and one "
        "before and one after each round byte by byte. [bench/README.md](../bench/README.md) says "
        "what each row sends, which peers take part, and how to read it."
    )


def _targets(reports: Sequence[CaseReport]) -> Iterator[str]:
    by_name = {report.case.name: report for report in reports}
    rows = []
    for target in TARGETS:
        judgement = target.judge(by_name)
        if judgement is None:
            continue
        compared = target.compared_with + (f" ({judgement.peer})" if judgement.peer else "")
        verdict = judgement.verdict
        rows.append(
            [
                target.title,
                compared or "-",
                target.wanted,
                judgement.measured,
                verdict if verdict == "reached" else f"**{verdict}**",
            ]
        )
    if rows:
        yield "## Targets"
        yield (
            "What the project wants of itself, in requests/s unless the row says otherwise. Where "
            "no peer reaches what is wanted either, the floor is level with the best of them."
        )
        yield _table(["", "compared with", "wanted", "measured", ""], rows)


def _requests(reports: Sequence[CaseReport], run: Run, plots: Sequence[str]) -> Iterator[str]:
    rated = [report for report in reports if _has(report, RATE)]
    if not rated:
        return
    yield "## Requests per second"
    yield from _plot("requests", "Requests per second by case and server", plots)
    yield (
        f"The best of a row is bold. The last two columns are {OWN}'s requests/s in units of the "
        f"best pure-Python peer's, and of {NATIVE}'s, which is written in Rust. A `!` marks a "
        "server with errors in that row; they are listed below."
    )
    servers = _columns(run, rated)
    rows = []
    for report in rated:
        first, *variants = _rows(report, servers, RATE, lambda row: row.shown_rate, max)
        rows.append([*first, *_ratios(report)])
        rows += [[*variant, "-", "-"] for variant in variants]
    yield _table(["", "connections", *servers, "best Python", NATIVE], rows)
    yield from _plot("connections", "Requests per second by connections, 1 to 10,000", plots)


def _ratios(report: CaseReport) -> Iterator[str]:
    best = report.best_python
    ratio = report.ratio(best)
    yield f"{ratio} {best.server}" if ratio and best else "-"
    yield str(report.ratio(report.rows.get(NATIVE)) or "-")


def _latency(reports: Sequence[CaseReport], run: Run, plots: Sequence[str]) -> Iterator[str]:
    timed = [report for report in reports if _has(report, P50)]
    if not timed:
        return
    yield "## Latency"
    yield from _plot("latency", "Latency distribution", plots)
    yield (
        "Milliseconds within which half of the answers came, and 99 % of them. All connections are "
        "always busy, so a median far below the number of connections divided by requests/s means "
        "that some of them are served over and over while others wait."
    )
    servers = _columns(run, timed)

    def both(row: Row) -> str:
        return f"{_ms(row.figure(P50))} / {_ms(row.figure(P99))}"

    rows = [row for report in timed for row in _rows(report, servers, P50, both, min)]
    yield _table(["p50 / p99 ms", "connections", *servers], rows)


def _memory(reports: Sequence[CaseReport], run: Run, plots: Sequence[str]) -> Iterator[str]:
    weighed = [report for report in reports if _has(report, PEAK)]
    if not weighed:
        return
    yield "## Memory"
    yield from _plot("memory", "Memory by idle connections", plots)
    idle = [report for report in weighed if report.case.traffic.client is Client.IDLE]
    servers = _columns(run, idle)
    if idle:
        yield "KiB of memory for each connection on which one request was answered:"
        rows = [row for report in idle for row in _rows(report, servers, IDLE, _kib, min)]
        yield _table(["", "connections", *servers], rows)
    yield "The most resident memory under load, in MiB, parent processes included:"
    servers = _columns(run, weighed)
    rows = [row for report in weighed for row in _rows(report, servers, PEAK, _mib, min)]
    yield _table(["", "connections", *servers], rows)


def _errors(reports: Sequence[CaseReport]) -> Iterator[str]:
    rows = [
        [*_name(report), name, row.trouble]
        for report in reports
        for name, row in report.rows.items()
        if row.trouble
    ]
    yield "## Errors"
    if rows:
        yield "Of all rounds together. `timeout` counts answers that took over 10 s."
        yield _table(["", "connections", "server", "errors"], rows)
    else:
        yield "None: every answer of every server was right."


def _circumstances(run: Run) -> Iterator[str]:
    yield "## Machine, versions, commands"
    packages = [*(PACKAGES.get(name, name) for name in run.servers), *LIBRARIES]
    versions = {name: run.packages[name] for name in packages if name in run.packages}
    yield _table(["", ""], list((run.machine | versions).items()))
    yield f"`{run.command}` measured it, and this writes the page anew:"
    yield "```sh\nmake bench-report\n```"
    yield "The servers were started by:"
    rows = [[name, f"`{shown_command(name)}`"] for name in run.servers]
    yield _table(["", ""], rows)


def _has(report: CaseReport, figure: str) -> bool:
    return any(row.figure(figure) for row in report.rows.values())


def _columns(run: Run, reports: Sequence[CaseReport]) -> list[str]:
    """The servers that have a column. What is asyncwsgi otherwise has rows of its own."""
    return [
        name
        for name in run.servers
        if name not in VARIANTS and any(name in report.rows for report in reports)
    ]


def _rows(
    report: CaseReport,
    servers: Sequence[str],
    figure: str,
    text: Callable[[Row], str],
    best_of: Callable[[Iterable[float]], float],
) -> Iterator[list[str]]:
    """The row of a case, and one for each variant of asyncwsgi in it."""
    title, connections = _name(report)
    measured = [report.rows[name] for name in servers if name in report.rows]
    best = best_of([row.figures[figure] for row in measured if figure in row.figures] or [0.0])
    yield [
        title,
        connections,
        *(_cell(report.rows.get(name), figure, text, best) for name in servers),
    ]
    for variant in VARIANTS:
        if row := report.rows.get(variant):
            cell = _cell(row, figure, text, None)
            cells = (cell if name == OWN else "-" for name in servers)
            yield [f"{title}, {VARIANTS[variant]}", connections, *cells]


def _cell(row: Row | None, figure: str, text: Callable[[Row], str], best: float | None) -> str:
    """What the table says of one server, in bold if it is the best, marked if it had errors."""
    if row is None:
        return "-"
    if figure not in row.figures:
        return "failed !"
    cell = f"**{text(row)}**" if row.figures[figure] == best else text(row)
    return f"{cell} !" if row.trouble else cell


def _name(report: CaseReport) -> list[str]:
    return [report.case.traffic.title, f"{report.case.connections:,}"]


def _kib(row: Row) -> str:
    return f"{row.figure(IDLE):.1f}"


def _mib(row: Row) -> str:
    return f"{row.figure(PEAK):.0f}"


def _ms(value: float) -> str:
    digits = next((digits for least, digits in ((100, 0), (10, 1), (1, 2)) if value >= least), 3)
    return f"{value:,.{digits}f}"


def _plot(name: str, title: str, plots: Sequence[str]) -> Iterator[str]:
    if name in plots:
        yield f"![{title}]({PLOTS}/{name}.svg)"


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [heading, ["---"] * len(heading), *rows])
