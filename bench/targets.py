"""How fast the server is meant to be, and whether a run shows it.

A target compares two figures round by round - of two servers, of two cases, or of one with a unit -
and the median of that ratio is judged. Where the bound lies above what any peer reaches it is an
aim, and the floor beside it is what must hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bodies import WAIT
from results import IDLE, P50, P99, PEAK, RATE, Row, Spread, spread
from servers import DROP_IN, INSPECTED, LOGGED, NATIVE, OWN, PYTHON_PEERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from results import CaseReport

    Reports = Mapping[str, CaseReport]
    """By the name of the case."""

BEST = "best pure-Python peer"


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of a server in a case."""

    case: str
    server: str = OWN
    name: str = RATE

    def row(self, reports: Reports) -> Row | None:
        """Its row, if there is one; `BEST` is the peer that is best in this very figure."""
        report = reports.get(self.case)
        if report is None:
            return None
        if self.server == BEST:
            return report.best(PYTHON_PEERS, self.name)
        return report.rows.get(self.server)


@dataclass(frozen=True, slots=True)
class Judgement:
    measured: str
    verdict: str
    peer: str = ""
    """The best peer, where that was compared with."""


@dataclass(frozen=True, slots=True)
class Target:
    title: str
    compared_with: str
    """In words."""
    figure: Figure
    against: Figure | float
    """Another figure, or the unit in which the first is given."""
    bound: float
    is_most: bool = False
    """The bound is the most that is allowed; else it is the least that is wanted."""
    floor: float | None = None
    unit: str = "x"

    @property
    def wanted(self) -> str:
        words = f"{'at most' if self.is_most else 'at least'} {self.bound:g}{self.unit}"
        return words if self.floor is None else f"{words} (floor {self.floor:g}{self.unit})"

    def judge(self, reports: Reports) -> Judgement | None:
        """What the run says; nothing if it did not measure the case or the server."""
        row = self.figure.row(reports)
        if row is None:
            return None
        ratio, peer = self._ratio(row, reports)
        if row.trouble:
            return Judgement(self._shown(ratio), f"missed: {row.trouble}", peer)
        if ratio is None:
            return Judgement(self._shown(ratio), "nothing to compare with", peer)
        return Judgement(self._shown(ratio), self._verdict(ratio.median), peer)

    def _ratio(self, row: Row, reports: Reports) -> tuple[Spread | None, str]:
        """What is judged, and which peer was the best, if one was looked for."""
        if isinstance(self.against, float):
            return row.in_units_of(self.figure.name, self.against), ""
        other = self.against.row(reports)
        if other is None:
            return None, ""
        peer = other.server if self.against.server == BEST else ""
        return spread(row, self.figure.name, other, self.against.name), peer

    def _shown(self, ratio: Spread | None) -> str:
        if ratio is None:
            return "-"
        return f"{ratio.median:.2f}{self.unit} ({ratio.least:.2f}..{ratio.greatest:.2f})"

    def _verdict(self, value: float) -> str:
        if value <= self.bound if self.is_most else value >= self.bound:
            return "reached"
        if self.floor is not None and value >= self.floor:
            return "floor reached"
        return "missed"


def _requests(
    title: str, case: str, against: str, bound: float, floor: float | None = None
) -> Target:
    """Requests/s in units of a peer's."""
    return Target(title, against, Figure(case), Figure(case, against), bound, floor=floor)


def _memory(title: str, case: str) -> Target:
    """The process holds no bodies: several times 8 or 16 MiB would show."""
    small = Figure("plain-repeat-64", name=PEAK)
    words = "memory with 13 bytes"
    return Target(title, words, Figure(case, name=PEAK), small, MOST_MEMORY, is_most=True)


MOST_MEMORY = 1.5
PLAIN_1, PLAIN_64, PLAIN_1000 = (f"plain-repeat-{count}" for count in (1, 64, 1000))
FLASK, FLASK_DIFFER = "flask-repeat-64", "flask-differ-64"
WAIT_BOUND = 64 / WAIT
"""Requests/s that as many threads can answer."""

TARGETS = (
    _requests("Flask view, headers repeat", FLASK, BEST, 2.0),
    _requests("Flask view, a header differs", FLASK_DIFFER, BEST, 1.8),
    _requests("Flask view reads a form of 1 KiB", "flask-form-64", BEST, 1.6),
    _requests("Flask view, headers repeat", FLASK, NATIVE, 1.05),
    _requests("Flask view, a header differs", FLASK_DIFFER, NATIVE, 0.9),
    _requests("plain application, headers repeat", PLAIN_64, BEST, 4.0),
    _requests("plain application, a header differs", "plain-differ-64", BEST, 2.5),
    _requests("plain application reads a POST of 1 KiB", "plain-post-64", BEST, 2.0),
    _requests("plain application, headers repeat", PLAIN_64, NATIVE, 0.75),
    _requests("new connection for each request", "plain-close-64", BEST, 1.3),
    _requests("64 KiB in one block", "block-64", BEST, 1.3),
    _memory("64 KiB in one block, memory", "block-64"),
    _requests("16 MiB streamed", "stream-4", BEST, 1.3, floor=1.0),
    _memory("16 MiB streamed, memory", "stream-4"),
    _requests("upload of 8 MiB", "upload-4", "cheroot", 1.3, floor=1.0),
    _memory("upload of 8 MiB, memory", "upload-4"),
    _requests("64 MiB by wsgi.file_wrapper", "file-2", "gunicorn", 1.2),
    Target(
        "1 connection, p50", BEST,
        Figure(PLAIN_1, name=P50), Figure(PLAIN_1, BEST, P50), 0.8, is_most=True,
    ),
    Target(
        "1,000 connections, requests/s", "64 connections",
        Figure(PLAIN_1000), Figure(PLAIN_64), 0.9,
    ),
    Target(
        "1,000 connections, p99", "its p50",
        Figure(PLAIN_1000, name=P99), Figure(PLAIN_1000, name=P50), 5.0, is_most=True,
    ),
    Target(
        "10,000 idle kept connections, memory of each", "",
        Figure("idle-10000", name=IDLE), 1.0, 6.0, is_most=True, unit=" KiB",
    ),
    _requests("TLS, kept connections", "tls-repeat-64", "gunicorn", 1.5),
    _requests("TLS, new connections", "tls-close-64", "gunicorn", 1.5),
    Target(
        "Flask view, access log on (to a file)", "access log off",
        Figure(FLASK, LOGGED), Figure(FLASK), 0.85,
    ),
    Target(
        "Flask view, request inspector on", "inspector off",
        Figure(FLASK, INSPECTED), Figure(FLASK), 0.85,
    ),
    Target(
        "50 ms of waiting, 500 connections, 64 threads", f"{WAIT_BOUND:,.0f} requests/s",
        Figure("flask-wait-500"), WAIT_BOUND, 0.95,
    ),
    Target(
        "the drop-in for Werkzeug's server, Flask view, a header differs", "waitress",
        Figure(FLASK_DIFFER, DROP_IN), Figure(FLASK_DIFFER, "waitress"), 1.2,
    ),
)  # fmt: skip
