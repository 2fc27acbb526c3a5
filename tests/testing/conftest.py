"""Sessions of pytest in processes of their own, in which the plugin is loaded by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import asyncwsgi
from asyncwsgi.testing.leaks import check as leaks
from asyncwsgi.testing.live import server as live_server
from tests.client import TIMEOUT

ROOT = Path(asyncwsgi.__file__).parents[1]

CONFTEST = """
import flask, pytest

@pytest.fixture(scope="session")
def app():
    app = flask.Flask("app")

    @app.get("/")
    def index():
        return "hello"

    return app
"""

RunPytest = Callable[..., pytest.RunResult]


@pytest.fixture(autouse=True)
def _no_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is only slow, on a machine that does much else, is not taken for what hangs."""
    monkeypatch.setattr(leaks, "PATIENCE", TIMEOUT)
    monkeypatch.setattr(live_server, "GRACEFUL_TIMEOUT", TIMEOUT)


@pytest.fixture
def run_pytest(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> RunPytest:
    """Runs the tests in a source, with the plugin and `plugins`; `ini` is their configuration."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeconftest(CONFTEST)

    def run(
        tests: str, *arguments: str, ini: str = "", plugins: tuple[str, ...] = ()
    ) -> pytest.RunResult:
        pytester.makeini(f"[pytest]\naddopts = --strict-markers --strict-config\n{ini}")
        pytester.makepyfile(tests)
        loaded = [f"-p{name}" for name in ("asyncwsgi.testing.plugin", *plugins)]
        return pytester.runpytest_subprocess(*loaded, "-Werror", *arguments, timeout=250)

    return run
