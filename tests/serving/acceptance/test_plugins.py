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


def run_suites(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=project,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "PYTEST_ADDOPTS": ""},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("suite", SUITES)
def test_the_plugin_serves_with_asyncwsgi(suite: str) -> None:
    run = run_suites(PROJECT, suite)
    assert run.returncode == pytest.ExitCode.OK, run.stdout


def test_the_suites_know_werkzeugs_own_server(tmp_path: Path) -> None:
    project = Path(shutil.copytree(PROJECT, tmp_path / "project"))
    conftest = project / "conftest.py"
    lines = conftest.read_text().splitlines()
    conftest.write_text("\n".join(line for line in lines if "asyncwsgi" not in line))

    run = run_suites(project, "-k", "keeps_its_connections or one_of_asyncwsgi", "--tb=no")

    assert run.returncode == pytest.ExitCode.TESTS_FAILED, run.stdout
    assert "passed" not in run.stdout
    assert all(f"FAILED {suite}" in run.stdout for suite in SUITES), run.stdout
