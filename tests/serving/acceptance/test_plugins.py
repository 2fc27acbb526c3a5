"""Plug-ins that serve with Werkzeug serve with asyncwsgi once it is installed.

Each file of `project` is a user's tests with one plug-in; they run in a process of their own, since
the plug-ins change every test of the process that they are loaded into.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent / "project"
SUITES = sorted(path.name for path in PROJECT.glob("with_*.py"))


def run_suites(project: Path, *arguments: str) -> str:
    """What pytest says of a user's tests; the last lines have a word for each test."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", *arguments],
        cwd=project,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "PYTEST_ADDOPTS": ""},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return run.stdout


@pytest.fixture(scope="module")
def report() -> str:
    return run_suites(PROJECT)


@pytest.mark.parametrize("suite", SUITES)
def test_the_plugin_serves_with_asyncwsgi(report: str, suite: str) -> None:
    assert f"PASSED {suite}" in report, report
    assert f"FAILED {suite}" not in report, report
    assert f"ERROR {suite}" not in report, report


def test_the_suites_know_werkzeugs_own_server(tmp_path: Path) -> None:
    project = Path(shutil.copytree(PROJECT, tmp_path / "project"))
    conftest = project / "conftest.py"
    lines = conftest.read_text().splitlines()
    conftest.write_text("\n".join(line for line in lines if "asyncwsgi" not in line))

    report = run_suites(project, "-k", "keeps_its_connections or one_of_asyncwsgi", "--tb=no")

    assert "PASSED" not in report
    assert all(f"FAILED {suite}" in report for suite in SUITES), report
