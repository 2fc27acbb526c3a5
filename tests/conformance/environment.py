"""The ground the suites stand on: environments, the projects' sdists, what puts ours in place.

Everything is kept under ``build/conformance`` and reused while it is up to date.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tests.conformance.suites import TOOLS

if TYPE_CHECKING:
    from tests.conformance.suites import Release

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WORK = ROOT / "build" / "conformance"
SOURCES = WORK / "sources"
INSIDE = HERE / "inside"

PATH_FILE = "zz-conformance-ours.pth"
"""Files of this kind are read in alphabetical order; asyncwsgi's own has to come first."""


class UnreadyError(Exception):
    """The ground could not be prepared; the message names the cure."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment that holds one release, this project and what the suites need."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def pip(self, *arguments: str) -> str:
        command = [str(self.python), "-m", "pip", "--disable-pip-version-check", *arguments]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise UnreadyError(
                f"{result.stderr}pip {' '.join(arguments)} failed: mend what it says above; "
                f"if it is broken itself, remove {self.folder}"
            )
        return result.stdout

    @cached_property
    def versions(self) -> dict[str, str]:
        """What is installed, by normalized names."""
        listing = json.loads(self.pip("list", "--format=json"))
        return {normalized(package["name"]): package["version"] for package in listing}

    @property
    def site_packages(self) -> Path:
        code = "import sysconfig; print(sysconfig.get_path('purelib'))"
        return Path(subprocess.check_output([self.python, "-c", code], text=True).strip())

    def sources(self, project: str) -> Path:
        """The unpacked sdist of the very version that is installed."""
        name = f"{project}-{self.versions[project]}"
        if not (SOURCES / name).exists():
            self._fetch(project, name)
        return SOURCES / name

    def _fetch(self, project: str, name: str) -> None:
        requirement = f"{project}=={self.versions[project]}"
        SOURCES.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=SOURCES) as folder:
            self.pip(
                "download", "--quiet", "--no-deps", "--no-binary", project,
                "--dest", folder, requirement,
            )  # fmt: skip
            (archive,) = Path(folder).iterdir()
            shutil.unpack_archive(archive, Path(folder, "unpacked"), filter="data")
            (unpacked,) = Path(folder, "unpacked").iterdir()
            if not any(unpacked.rglob("test_*.py")):
                raise UnreadyError(f"the sdist of {requirement} holds no tests")
            unpacked.rename(SOURCES / name)


def normalized(project: str) -> str:
    """Its name as names are compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", project).lower()


def prepare(release: Release) -> Environment:
    """An environment with the newest packages that the release allows."""
    environment = Environment(WORK / f"{release.name}-{sys.implementation.cache_tag}")
    if not environment.python.exists():
        print(f"making {environment.folder.relative_to(ROOT)}", file=sys.stderr)
        venv.create(environment.folder, clear=True, with_pip=True)
    environment.pip("install", "--quiet", "--upgrade", *release.requirements, *TOOLS)
    install_project(environment)
    install_ours(environment)
    return environment


def install_project(environment: Environment) -> None:
    """Editable, so that the working tree is tested; anew when its metadata changed."""
    stamp = environment.folder / ".project.stamp"
    digest = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    environment.pip("install", "--quiet", "--editable", str(ROOT))
    stamp.write_text(digest)


def install_ours(environment: Environment) -> None:
    # The suites set PYTHONPATH for their servers, so sitecustomize would not reach those.
    path_file = environment.site_packages / PATH_FILE
    path_file.write_text(f"{INSIDE}\nimport conformance_ours\n")
