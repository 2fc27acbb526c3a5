"""The plots of the report: which figures they show, of which servers, in which colours."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import svg
from results import RATE, CaseReport, Row
from servers import DROP_IN, INSPECTED, LOGGED, NATIVE, OVERRIDE, OWN
from traffic import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

COLOURS = {
    OWN: "#0072b2",
    DROP_IN: "#56b4e9",
    OVERRIDE: "#56b4e9",
    LOGGED: "#8fb8d6",
    INSPECTED: "#8fb8d6",
    "waitress": "#e69f00",
    "cheroot": "#009e73",
    "gunicorn": "#cc79a7",
    "werkzeug": "#9aa0a6",
    NATIVE: "#d55e00",
}
SWEEP = "plain-repeat"
USUAL_CONNECTIONS = 64
"""Of a kind of traffic with several numbers of connections, the bars show this one."""
DISTRIBUTIONS = ("flask-repeat-64", "plain-repeat-1000")
FIRST_PERCENTILE = 50.0


def draw(reports: Sequence[CaseReport]) -> dict[str, str]:
    """The plots for which there are figures, by name."""
    by_name = {report.case.name: report for report in reports}
    drawn = {
        "requests": requests(reports),
        "latency": latency([by_name[name] for name in DISTRIBUTIONS if name in by_name]),
        "connections": connections([r for r in reports if r.case.traffic.name == SWEEP]),
        "memory": memory([r for r in reports if r.case.traffic.client is Client.IDLE]),
    }
    return {name: plot for name, plot in drawn.items() if plot}


def requests(reports: Sequence[CaseReport]) -> str:
    """Requests/s, a panel of bars for each case."""
    panels = [
        svg.BarPanel(report.case.traffic.title, _bars(report))
        for report in reports
        if report.case.traffic.name != SWEEP or report.case.connections == USUAL_CONNECTIONS
        if _measured(report, lambda row: bool(row.figure(RATE)))
    ]
    return svg.bars("Requests per second", panels) if panels else ""


def _bars(report: CaseReport) -> list[svg.Bar]:
    return [
        svg.Bar(name, row.figure(RATE), row.shown_rate, COLOURS[name], name == OWN)
        for name, row in report.rows.items()
    ]


def latency(reports: Sequence[CaseReport]) -> str:
    """Milliseconds by percentile; these lie by their nines, 90 as far from 99 as 99 from 99.9."""
    panels = []
    for report in reports:
        curves = {
            name: [
                (_nines(float(percent)), ms)
                for percent, ms in row.curve.items()
                if float(percent) >= FIRST_PERCENTILE and ms
            ]
            for name, row in report.rows.items()
        }
        ticks = [(_nines(percent), f"{percent:g} %") for percent in (50, 75, 90, 95, 99, 99.9)]
        title = f"ms, {report.case.traffic.title}, {report.case.connections:,} connections"
        panels.append(
            svg.LinePanel(title, "of the answers came within", ticks, _lines(curves), is_log=True)
        )
    return svg.lines("Latency", panels) if panels else ""


def _nines(percent: float) -> float:
    return -math.log10(1 - percent / 100)


def connections(reports: Sequence[CaseReport]) -> str:
    """Requests/s by the number of connections."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for report in sorted(reports, key=lambda report: report.case.connections):
        for name, row in _measured(report, lambda row: bool(row.figure(RATE))).items():
            point = (math.log10(report.case.connections), row.figure(RATE))
            curves.setdefault(name, []).append(point)
    ticks = [(float(power), f"{10**power:,}") for power in range(5)]
    title = "requests/s, plain application, headers repeat"
    panel = svg.LinePanel(title, "connections", ticks, _lines(curves), is_log=True)
    return svg.lines("Requests per second by connections", [panel]) if curves else ""


def memory(reports: Sequence[CaseReport]) -> str:
    """MiB by the number of idle connections."""
    panels = []
    for report in reports:
        curves = {
            name: [(float(number), mib) for number, mib in row.curve.items()]
            for name, row in _measured(report, lambda row: bool(row.curve)).items()
        }
        numbers = [report.case.connections * part // 5 for part in range(6)]
        ticks = [(float(number), f"{number:,}") for number in numbers]
        panels.append(
            svg.LinePanel("MiB of resident memory", "idle connections", ticks, _lines(curves))
        )
    return svg.lines("Memory by idle connections", panels) if panels else ""


def _measured(report: CaseReport, is_measured: Callable[[Row], bool]) -> dict[str, Row]:
    return {name: row for name, row in report.rows.items() if is_measured(row)}


def _lines(curves: Mapping[str, Sequence[tuple[float, float]]]) -> list[svg.Line]:
    return [
        svg.Line(name, points, COLOURS[name], name == OWN)
        for name, points in curves.items()
        if points
    ]
