"""A virtual environment with what ``pip install`` would put there, and nothing else.

The distributions are linked from the environment of the tests: what a page forgets to have its
reader install is missing, and no test needs the network.
"""

from __future__ import annotations

import tomllib
import venv
from collections.abc import Iterable
from importlib.metadata import Distribution, EntryPoint, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from asyncwsgi import __version__
from tests.docs.blocks import ROOT

CLONE = "/path/to/clone"
"""Where pages say that the reader's clone of this project is; inside it, it is the dot."""

SCRIPT = """\
#!{python}
import sys
from {module} import {attribute}
sys.exit({attribute}())
"""


class Environment:
    """The environment of a page.

    Args:
        directory: where it is made.
        requirements: what the page has its reader install besides this project.
    """

    def __init__(self, directory: Path, requirements: Iterable[str]) -> None:
        venv.create(directory, symlinks=True)
        self.scripts = directory / "bin"
        self.python = self.scripts / "python"
        [self._packages] = directory.glob("lib/*/site-packages")
        self._install_clone()
        for name in _closure([Requirement(_by_name(text)) for text in (".", *requirements)]):
            if name != "asyncwsgi":
                self._link(distribution(name))

    def _link(self, found: Distribution) -> None:
        tops = {file.parts[0] for file in found.files or ()}
        for top in tops - {"..", "__pycache__"}:
            link = self._packages / top
            if not link.is_symlink():  # of distributions that share it, as a namespace
                link.symlink_to(str(found.locate_file(top)))
        self._write_scripts(found.entry_points)

    def _install_clone(self) -> None:
        project = _project()
        information = self._packages / f"asyncwsgi-{__version__}.dist-info"
        information.mkdir()
        information.joinpath("METADATA").write_text(
            f"Metadata-Version: 2.1\nName: asyncwsgi\nVersion: {__version__}\n"
        )
        groups = {"console_scripts": project["scripts"], **project["entry-points"]}
        lines = [
            line
            for group, names in groups.items()
            for line in (f"[{group}]", *(f"{name} = {value}" for name, value in names.items()))
        ]
        information.joinpath("entry_points.txt").write_text("\n".join(lines))
        self._packages.joinpath("asyncwsgi").symlink_to(ROOT / "asyncwsgi")
        self._write_scripts(
            EntryPoint(name, value, "console_scripts") for name, value in project["scripts"].items()
        )

    def _write_scripts(self, entries: Iterable[EntryPoint]) -> None:
        for entry in entries:
            if entry.group == "console_scripts":
                script = self.scripts / entry.name
                script.write_text(
                    SCRIPT.format(python=self.python, module=entry.module, attribute=entry.attr)
                )
                script.chmod(0o755)


def _project() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text())["project"]
    return project


def _by_name(argument: str) -> str:
    for place in (CLONE, "."):
        if argument.partition("[")[0] == place:
            return f"asyncwsgi{argument.removeprefix(place)}"
    return argument


def _closure(requirements: list[Requirement]) -> set[str]:
    """The names of what is required, and of what that requires in turn."""
    met: set[tuple[str, str]] = set()
    while requirements:
        requirement = requirements.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras}:
            if (name, extra) not in met:
                met.add((name, extra))
                requirements += _required_by(name, extra)
    return {name for name, _ in met}


def _required_by(name: str, extra: str) -> list[Requirement]:
    if name == "asyncwsgi":
        project = _project()
        group = project["optional-dependencies"][extra] if extra else project["dependencies"]
        return [each for each in map(Requirement, group) if _applies(each, "")]
    return [
        each
        for each in map(Requirement, distribution(name).requires or ())
        if _applies(each, extra)
    ]


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})
