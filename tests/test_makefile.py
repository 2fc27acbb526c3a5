"""The Makefile sets up no more than its targets need, and not what is there already."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.environment import Environment
from tests.doors.conftest import start as start
from tests.doors.processes import Process

ROOT = Path(__file__).parents[1]

# Writes down what it installs, and makes scripts that do nothing. All it is asked is what it is.
PYTHON = """\
#!/bin/sh
case "$2" in *print*) echo pypy311; esac
if [ "$1 $2" = "-m venv" ]; then
    mkdir -p "$3/bin"
    printf '#!/bin/sh\\nshift 4; echo "$*" >> installed\\n! test -e no-network\\n' > "$3/bin/pip"
    for name in asyncwsgi pytest ruff mypy; do printf '#!/bin/sh\\n' > "$3/bin/$name"; done
    chmod +x "$3"/bin/*
fi
"""


PROGRAMS = (
    "chromium", "chromedriver", "git", "nginx", "haproxy", "redis-server", "systemd-socket-activate"
)  # fmt: skip


class Clone:
    """A clone of the project, on a machine whose Python writes down what it is to install."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in ("Makefile", "pyproject.toml"):
            shutil.copy(ROOT / name, folder)
        for python in ("python3", "pypy3"):
            self._write_program(python, PYTHON)
        for program in PROGRAMS:
            self._write_program(program, "#!/bin/sh\n")

    def _write_program(self, name: str, source: str) -> None:
        path = self._folder / name
        path.write_text(source)
        path.chmod(0o755)

    def _environment(self) -> dict[str, str]:
        # These tests may themselves be run by make, which tells those that it calls of itself.
        own = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
        return own | {"PATH": f"{self._folder}{os.pathsep}{os.environ['PATH']}"}

    def make(self, *arguments: str, fails: bool = False) -> list[str]:
        """Make targets; what pip was told to install."""
        record = self._folder / "installed"
        record.write_text("")
        done = subprocess.run(
            ["make", *arguments],
            cwd=self._folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode != 0) == fails, done.stderr
        self.output = done.stdout
        return record.read_text().split()

    def change_requirements(self) -> None:
        """Change pyproject.toml: it is younger than all that is there."""
        youngest = max(path.stat().st_mtime for path in self._folder.rglob("*"))
        os.utime(self._folder / "pyproject.toml", (youngest + 1, youngest + 1))

    def lose_network(self) -> None:
        (self._folder / "no-network").touch()

    def regain_network(self) -> None:
        (self._folder / "no-network").unlink()


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_a_run_installs_what_it_serves_with_and_says_so(clone: Clone) -> None:
    assert clone.make("run") == [".[flask]"]
    assert clone.output.startswith("Installing asyncwsgi and Flask in .venv: ")


def test_what_a_run_installs_is_all_that_its_application_needs(
    clone: Clone, tmp_path: Path, start: Callable[..., Process]
) -> None:
    environment = Environment(tmp_path / "venv", clone.make("run"))
    [application] = re.findall(r"/asyncwsgi (\S+)", clone.output)
    process = start(
        *("-p", "0", str(ROOT / application)),
        executable=str(environment.scripts / "asyncwsgi"),
        environment={"PYTHONPATH": ""},
    )
    with process.connect() as client:
        assert client.get().status == 200


def test_a_test_behind_a_run_installs_everything(clone: Clone) -> None:
    clone.make("run")
    assert clone.make("test") == [".[dev]"]


def test_a_run_behind_a_test_installs_nothing(clone: Clone) -> None:
    assert clone.make("test") == [".[dev]"]
    assert clone.make("run") == []


@pytest.mark.parametrize("target", ["run", "test"])
def test_nothing_is_installed_twice(clone: Clone, target: str) -> None:
    clone.make(target)
    assert clone.make(target) == []


def test_another_python_has_an_environment_of_its_own(clone: Clone) -> None:
    clone.make("test")
    assert clone.make("test", "PYTHON=pypy3") == [".[dev]"]
    assert "\n.venv-pypy311/bin/pytest " in clone.output
    assert clone.make("test", "PYTHON=pypy3") == clone.make("test") == []
    assert "\n.venv/bin/pytest " in clone.output


def test_requirements_that_have_changed_are_installed_for_whoever_needs_them(clone: Clone) -> None:
    clone.make("test")
    clone.change_requirements()
    assert clone.make("run") == [".[flask]"]
    assert clone.make("test") == [".[dev]"]


@pytest.mark.parametrize("target", ["run", "test"])
def test_what_could_not_be_installed_is_installed_next_time(clone: Clone, target: str) -> None:
    clone.lose_network()
    clone.make(target, fails=True)
    clone.regain_network()
    assert len(clone.make(target)) == 1


def test_ci_makes_the_target_that_sets_up_everything() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text().splitlines()
