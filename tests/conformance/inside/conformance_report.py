"""A pytest plugin that writes down what became of each test, one JSON object a line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

REPORT = Path(os.environ["CONFORMANCE_REPORT"])


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    # A test that passes says so once; setup and teardown count only when they do not pass.
    if report.when == "call" or not report.passed:
        write(report.nodeid, report.outcome, message_of(report))


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if not report.passed:
        write(report.nodeid, report.outcome, message_of(report))


def message_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    """The reason of a skip or of a failure that was expected, or the last exception."""
    if hasattr(report, "wasxfail"):
        return str(report.wasxfail)
    longrepr = report.longrepr
    if isinstance(longrepr, tuple):
        return longrepr[2]
    crash = getattr(longrepr, "reprcrash", None)
    return str(longrepr or "") if crash is None else crash.message


def write(test: str, outcome: str, message: str) -> None:
    with REPORT.open("a", encoding="utf-8") as file:
        print(json.dumps({"test": test, "outcome": outcome, "message": message}), file=file)
