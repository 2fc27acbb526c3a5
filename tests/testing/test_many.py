"""Many tests that each start a server, one after the other and beside each other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.matrix.suites import suite_many

TESTS = 100
"""`make matrix` has five hundred."""
TIMEOUT = 250
"""Seconds that they may take: five processes share what the machine has left for them."""


@pytest.mark.parametrize(
    "arguments",
    [pytest.param((), id="one process"), pytest.param(("-p", "xdist", "-n4"), id="four")],
)
def test_nothing_grows_and_nothing_hangs(arguments: tuple[str, ...]) -> None:
    suite = Path(suite_many.__file__)
    command = [
        sys.executable, "-m", "pytest", "-q", "-Werror", "-c", os.devnull, "-p", "no:cacheprovider",
        "--rootdir", str(suite.parent), "--confcutdir", str(suite.parent),
        "-p", "asyncwsgi.testing.plugin", *arguments, str(suite),
    ]  # fmt: skip
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "MATRIX_TESTS": str(TESTS)}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert f"{TESTS} passed" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0, done.stdout + done.stderr
