"""Plots as SVG: panels of bars and panels of lines, with nothing but the standard library.

Knows nothing of servers and measurements. The ground is white, so that a dark page shows it too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

INK, FAINT, GRID = "#1f2328", "#59636e", "#e4e7eb"
FONT = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"


class Drawing:
    """Shapes on a white ground."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self._shapes = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}"'
            f' width="{width:g}" height="{height:g}" font-family="{FONT}" role="img"'
            f" aria-label={quoteattr(title)}>",
            f'<rect width="{width:g}" height="{height:g}" fill="#ffffff"/>',
        ]

    def __str__(self) -> str:
        return "\n".join([*self._shapes, "</svg>\n"])

    def bar(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        self._shapes.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="2"'
            f' fill="{colour}"/>'
        )

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: int = 11,
        anchor: str = "start",
        colour: str = INK,
        is_bold: bool = False,
    ) -> None:
        weight = ' font-weight="600"' if is_bold else ""
        self._shapes.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"'
            f' fill="{colour}"{weight}>{escape(text)}</text>'
        )

    def line(self, points: Sequence[tuple[float, float]], colour: str, width: float = 1) -> None:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._shapes.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width:g}"'
            ' stroke-linejoin="round"/>'
        )

    def dot(self, x: float, y: float, colour: str, radius: float) -> None:
        self._shapes.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="{colour}"/>')


@dataclass(frozen=True, slots=True)
class Bar:
    name: str
    value: float
    label: str
    colour: str
    is_bold: bool = False


@dataclass(frozen=True, slots=True)
class BarPanel:
    title: str
    bars: Sequence[Bar]


BAR_HEIGHT, BAR_STEP = 13, 19
PANEL_WIDTH, PANEL_GAP, COLUMNS = 290, 26, 3
NAME_WIDTH, LABEL_WIDTH = 72, 52
TITLE_HEIGHT, MARGIN = 24, 18


def bars(title: str, panels: Sequence[BarPanel]) -> str:
    """Panels of horizontal bars, each on a scale of its own, `COLUMNS` in a row."""
    rows = [panels[begin : begin + COLUMNS] for begin in range(0, len(panels), COLUMNS)]
    heights = [TITLE_HEIGHT + BAR_STEP * max(len(panel.bars) for panel in row) for row in rows]
    width = COLUMNS * PANEL_WIDTH + (COLUMNS - 1) * PANEL_GAP + 2 * MARGIN
    drawing = Drawing(width, sum(heights) + PANEL_GAP * (len(rows) - 1) + 2 * MARGIN, title)
    y = float(MARGIN)
    for row, height in zip(rows, heights, strict=True):
        for column, panel in enumerate(row):
            _draw_bars(drawing, panel, MARGIN + column * (PANEL_WIDTH + PANEL_GAP), y)
        y += height + PANEL_GAP
    return str(drawing)


def _draw_bars(drawing: Drawing, panel: BarPanel, x: float, y: float) -> None:
    drawing.text(x, y + 12, panel.title, size=12, is_bold=True)
    most = max((bar.value for bar in panel.bars), default=0) or 1
    room = PANEL_WIDTH - NAME_WIDTH - LABEL_WIDTH
    for number, bar in enumerate(panel.bars):
        top = y + TITLE_HEIGHT + number * BAR_STEP
        length = room * bar.value / most
        begin = x + NAME_WIDTH
        baseline = top + BAR_HEIGHT - 2.5
        drawing.text(begin - 6, baseline, bar.name, anchor="end", is_bold=bar.is_bold)
        drawing.bar(begin, top, max(length, 1), BAR_HEIGHT, bar.colour)
        drawing.text(begin + length + 5, baseline, bar.label, colour=FAINT, is_bold=bar.is_bold)


@dataclass(frozen=True, slots=True)
class Line:
    name: str
    points: Sequence[tuple[float, float]]
    colour: str
    is_bold: bool = False


@dataclass(frozen=True, slots=True)
class LinePanel:
    title: str
    x_label: str
    x_ticks: Sequence[tuple[float, str]]
    """Where on the axis of x, and what is written there; the first and the last bound the panel."""
    lines: Sequence[Line]
    is_log: bool = False
    """The axis of y is logarithmic."""


LINES_WIDTH, LINES_HEIGHT, AXIS_WIDTH = 400, 250, 52
LONE_WIDTH = 640
"""Of a panel that is the only one."""
LEGEND_STEP = 90


def lines(title: str, panels: Sequence[LinePanel]) -> str:
    """Panels of lines side by side, and one legend for all."""
    width = LINES_WIDTH if len(panels) > 1 else LONE_WIDTH
    step = width + AXIS_WIDTH + MARGIN
    top = MARGIN + 34
    drawing = Drawing(len(panels) * step + MARGIN, top + LINES_HEIGHT + 60, title)
    for number, panel in enumerate(panels):
        _draw_lines(drawing, panel, number * step + AXIS_WIDTH + MARGIN / 2, top, width)
    legend = {line.name: line for panel in panels for line in panel.lines}
    for number, line in enumerate(legend.values()):
        x, y = MARGIN + number * LEGEND_STEP, top + LINES_HEIGHT + 44
        drawing.bar(x, y, 14, 4, line.colour)
        drawing.text(x + 19, y + 6, line.name, is_bold=line.is_bold)
    return str(drawing)


def _draw_lines(drawing: Drawing, panel: LinePanel, left: float, top: float, width: float) -> None:
    drawing.text(left, top - 16, panel.title, size=12, is_bold=True)
    first, last = panel.x_ticks[0][0], panel.x_ticks[-1][0]
    low, high, ticks = _y_axis(panel)

    def x_of(value: float) -> float:
        return left + width * (value - first) / (last - first)

    def y_of(value: float) -> float:
        if panel.is_log:
            share = math.log(value / low) / math.log(high / low)
        else:
            share = (value - low) / (high - low)
        return top + LINES_HEIGHT * (1 - share)

    for tick in ticks:
        drawing.line([(left, y_of(tick)), (left + width, y_of(tick))], GRID)
        drawing.text(left - 6, y_of(tick) + 4, f"{tick:,g}", anchor="end", colour=FAINT)
    for value, label in panel.x_ticks:
        drawing.line([(x_of(value), top), (x_of(value), top + LINES_HEIGHT)], GRID)
        drawing.text(x_of(value), top + LINES_HEIGHT + 15, label, anchor="middle", colour=FAINT)
    middle = left + width / 2
    drawing.text(middle, top + LINES_HEIGHT + 31, panel.x_label, anchor="middle", colour=FAINT)
    for line in sorted(panel.lines, key=lambda line: line.is_bold):
        points = [(x_of(x), y_of(y)) for x, y in line.points]
        drawing.line(points, line.colour, 2.6 if line.is_bold else 1.6)
        for x, y in points:
            drawing.dot(x, y, line.colour, 3.2 if line.is_bold else 2.4)


def _y_axis(panel: LinePanel) -> tuple[float, float, list[float]]:
    """The ends of the axis and its ticks."""
    values = [y for line in panel.lines for _, y in line.points] or [1]
    least, most = min(values), max(values)
    if panel.is_log:
        low = 10 ** math.floor(math.log10(least))
        high = 10 ** max(math.ceil(math.log10(most)), math.floor(math.log10(least)) + 1)
        return low, high, list(_log_ticks(low, high))
    step = _step(most)
    high = step * math.ceil(most / step)
    return 0, high, [step * number for number in range(round(high / step) + 1)]


def _log_ticks(low: float, high: float) -> Iterator[float]:
    """1, 10, 100; and what is between, where there is room for it."""
    parts = (1, 2, 5) if high / low <= 1000 else (1,)
    tick = low
    while tick < high:
        yield from (tick * part for part in parts)
        tick *= 10
    yield high


def _step(most: float) -> float:
    """A round number of which about five come to `most`."""
    rough = (most or 1) / 5
    unit = 10.0 ** math.floor(math.log10(rough))
    return next(unit * part for part in (1, 2, 5, 10) if unit * part >= rough)
