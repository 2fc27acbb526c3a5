"""Directories that the user who serves may not look into are skipped."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.reloading.conftest import Project

SCRIPT = """\
#!/bin/sh
exec setpriv --bounding-set=-dac_override,-dac_read_search {python} "$@"
"""
"""Runs Python for root as for everybody: what is closed stays so."""


@pytest.fixture
def python(tmp_path: Path) -> str:
    if os.geteuid() != 0:
        return sys.executable
    if shutil.which("setpriv") is None:
        pytest.skip("nothing is closed to root, and there is no setpriv")
    script = tmp_path / "python"
    script.write_text(SCRIPT.format(python=sys.executable))
    script.chmod(0o755)
    return str(script)


@pytest.fixture(params=["watchfiles", "polling"])
def environment(request: pytest.FixtureRequest, without: Callable[[str], dict[str, str]]) -> object:
    return {} if request.param == "watchfiles" else without("watchfiles")


@pytest.fixture
def closed(project: Project) -> Iterator[Path]:
    """Where the tests make a directory that is closed."""
    path = project.directory / "closed"
    yield path
    path.chmod(0o755)


def close(path: Path) -> None:
    path.mkdir(0o000)


def test_an_entry_of_the_path_is(
    project: Project, python: str, closed: Path, environment: dict[str, str]
) -> None:
    close(closed)
    before = environment.get("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    path = os.pathsep.join([before, str(closed / "lib"), str(closed)])
    project.serve(executable=python, environment={"PYTHONPATH": path})
    project.reload("two")
    assert project.answers("two")
    assert "failed" not in project.process.log


def test_an_included_file_is(
    project: Project, python: str, closed: Path, environment: dict[str, str]
) -> None:
    close(closed)
    extra = str(closed / "site.toml")
    project.serve("--reload-include", extra, executable=python, environment=environment)
    project.reload("two")
    assert project.answers("two")
    assert "failed" not in project.process.log


@pytest.mark.parametrize("is_there", [True, False], ids=["there before", "new"])
def test_a_directory_of_the_project_is(
    project: Project, python: str, closed: Path, environment: dict[str, str], is_there: bool
) -> None:
    if is_there:
        close(closed)
    project.serve(executable=python, environment=environment)
    project.reload("two")  # now the watch stands
    if not is_there:
        close(closed)
    for version in ("three", "four"):
        project.reload(version)
    assert project.answers("four")
    assert "failed" not in project.process.log


def test_an_application_there_is_an_error_without_a_traceback(
    project: Project, python: str, closed: Path
) -> None:
    close(closed)
    process = project.start(app="closed/app.py", executable=python)
    assert process.wait() == 3
    assert process.log == "asyncwsgi: there is no file 'closed/app.py'; expected a Python file\n"
