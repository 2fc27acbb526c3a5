"""Rounds of cases, as a run would have measured them."""

from __future__ import annotations

from results import P50, P99, PEAK, RATE, CaseReport, Sample, case_report
from traffic import CASES


def rounds(case: str, server: str, *rates: float, p50: float = 2.0) -> list[Sample]:
    """One round for each of `rates`, requests/s."""
    curve = {"50": p50, "90": 2 * p50, "99": 10 * p50, "99.9": 20 * p50}
    return [
        Sample(server, case, number, {RATE: rate, P50: p50, P99: 10 * p50, PEAK: 40.0}, curve)
        for number, rate in enumerate(rates, 1)
    ]


def failed(case: str, server: str, reason: str) -> Sample:
    return Sample(server, case, 1, failure=reason)


def reports(*samples: list[Sample]) -> dict[str, CaseReport]:
    """By the name of the case, of those that were measured."""
    joined = [sample for group in samples for sample in group]
    measured = {sample.case for sample in joined}
    return {case.name: case_report(case, joined) for case in CASES if case.name in measured}
