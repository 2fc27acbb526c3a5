"""examples/testing: each recipe run by pytest, in a folder and a process of its own."""

from __future__ import annotations

import json
import shutil
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from tests.examples.programs import EXAMPLES

RECIPES = EXAMPLES / "testing"
TIMEOUT = 250
PLUGIN = "asyncwsgi.testing.plugin"
HAS_POSTGRESQL = bool(
    shutil.which("pg_ctl") or list(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
)


class Recipe:
    """Runs what it is told, in a folder to which recipes are copied: no setting of ours applies."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self._pytester = pytester
        is_installed = any(entry.value == PLUGIN for entry in entry_points(group="pytest11"))
        plugin = [] if is_installed else ["-p", PLUGIN]
        self.pytest = (
            *("-m", "pytest", "-W", "error", *plugin),
            # Of the tools for these tests; whoever follows a recipe need not have it.
            *("-p", "no:flask"),
            *("-o", "asyncio_default_fixture_loop_scope=function"),
        )
        """The arguments that have Python run pytest."""

    def copy(self, name: str) -> Path:
        """Copy a file, or what is in a folder."""
        source, folder = RECIPES / name, self._pytester.path
        if source.is_dir():
            names = shutil.ignore_patterns("__pycache__", ".coverage")
            shutil.copytree(source, folder, dirs_exist_ok=True, ignore=names)
        else:
            shutil.copy(source, folder)
        return folder

    def run(self, *arguments: str) -> pytest.RunResult:
        """Run Python."""
        return self._pytester.run(sys.executable, *arguments, timeout=TIMEOUT)


@pytest.fixture
def recipe(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parent))
    return Recipe(pytester)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        pytest.param("test_flask.py", 7, id="Flask"),
        pytest.param("test_async_client.py", 3, id="coroutines"),
        pytest.param("test_browser.py", 2, id="a browser"),
    ],
)
def test_a_recipe_passes(recipe: Recipe, name: str, count: int) -> None:
    recipe.copy(name)
    recipe.run(*recipe.pytest).assert_outcomes(passed=count)


def test_test_and_views_share_a_transaction(recipe: Recipe) -> None:
    recipe.copy("test_database.py")
    result = recipe.run(*recipe.pytest, "-rs")
    if HAS_POSTGRESQL:
        result.assert_outcomes(passed=6)
    else:
        result.assert_outcomes(passed=3, skipped=3)
        result.stdout.fnmatch_lines(["*PostgreSQL is not installed*"])


# Coverage.


def measured(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """What was measured of the application, by the names of coverage's report in JSON."""
    result = recipe.run("-m", "coverage", "json", "-o", "coverage.json")
    assert result.ret == 0, result.outlines
    measured: dict[str, Any] = json.loads((folder / "coverage.json").read_text())
    assert list(measured["files"]) == ["shop.py"]
    return dict(measured["files"]["shop.py"])


def lines_with(folder: Path, *texts: str) -> list[int]:
    lines = enumerate((folder / "shop.py").read_text().splitlines(), 1)
    return [number for number, line in lines if any(text in line for text in texts)]


@pytest.mark.parametrize(
    "command", [pytest.param([], id="coverage run"), pytest.param(["--cov"], id="pytest --cov")]
)
def test_only_the_view_that_no_test_asks_for_is_not_covered(
    recipe: Recipe, command: list[str]
) -> None:
    # Of the other views every line, and every line that runs at the import: the plugin, which is
    # there before coverage begins, has imported nothing of the application.
    folder = recipe.copy("with_coverage")
    runner = [] if command else ["-m", "coverage", "run"]
    recipe.run(*runner, *recipe.pytest, *command).assert_outcomes(passed=3)
    file = measured(recipe, folder)
    assert file["missing_lines"] == lines_with(folder, "no test asks for this")
    assert file["missing_branches"] == []


@pytest.mark.parametrize("concurrency", ["multiprocessing", "multiprocessing, thread"])
def test_coverage_that_is_told_of_other_concurrency_has_to_be_told_of_threads(
    recipe: Recipe, concurrency: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As `.coveragerc` of the recipe says, and where coverage measures by tracing.
    monkeypatch.setenv("COVERAGE_CORE", "ctrace")
    folder = recipe.copy("with_coverage")
    with (folder / ".coveragerc").open("a") as settings:
        settings.write(f"concurrency = {concurrency}\n")
    recipe.run(*recipe.pytest, "--cov").assert_outcomes(passed=3)
    in_threads = set(lines_with(folder, "cents = ", "stars = ", "yield "))
    is_measured = concurrency.endswith("thread")
    missing = in_threads & set(measured(recipe, folder)["missing_lines"])
    assert missing == (set() if is_measured else in_threads)


def test_every_recipe_is_run_here() -> None:
    names = {path.name for path in RECIPES.iterdir() if path.name[0] not in "._"}
    source = Path(__file__).read_text()
    assert names == {name for name in names if f'"{name}"' in source}
