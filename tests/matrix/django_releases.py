"""`python -m tests.matrix.django_releases [RELEASE ...]`: ``tests/django`` on each release.

Each has an environment under ``build/matrix``, of a Python that the release is made for: this one,
or else one that PATH or pyenv has. The exit code is 1 if a test failed, 2 if an environment could
not be made.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.matrix.run import ROOT, TEST_TIMEOUT, WORK

TESTS = "tests/django"
TOOLS = ("httpx", "pytest", "pytest-timeout", "selenium", "trustme")
Version = tuple[int, int]


class NoPythonError(Exception):
    """No Python of this machine is one that the release is made for."""


@dataclass(frozen=True)
class DjangoRelease:
    """A release, and the Pythons that it is made for."""

    name: str
    requirement: str
    oldest: Version
    newest: Version

    @property
    def python(self) -> Path:
        return WORK / f"django-{self.name}" / "bin" / "python"

    def suits(self, version: Version) -> bool:
        return self.oldest <= version <= self.newest


RELEASES = (
    DjangoRelease("4.2", "django==4.2.*", (3, 11), (3, 12)),
    DjangoRelease("5.2", "django==5.2.*", (3, 11), (3, 14)),
    DjangoRelease("newest", "django", (3, 12), (3, 14)),
)


def find_python(release: DjangoRelease) -> str:
    """A Python for `release`: the one that runs this, or the newest that is found.

    Raises:
        NoPythonError: the message says which would do.
    """
    if release.suits(sys.version_info[:2]):
        return sys.executable
    for minor in range(release.newest[1], release.oldest[1] - 1, -1):
        name = f"python3.{minor}"
        pyenvs = Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/{name}")
        for place in (Path(name), *pyenvs):
            if _is_python(place):
                return str(place)
    oldest, newest = (".".join(map(str, each)) for each in (release.oldest, release.newest))
    raise NoPythonError(f"Django {release.name} wants a Python {oldest} to {newest}; install one")


def _is_python(place: Path) -> bool:
    # pyenv has a shim for each version that is installed, which works for those that are chosen.
    try:
        return subprocess.run([place, "-c", ""], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def prepare(release: DjangoRelease) -> None:
    """Make the environment of `release`, unless it is there.

    Raises:
        NoPythonError: there is none for it.
        subprocess.CalledProcessError: pip failed.
    """
    folder = release.python.parents[1]
    marker = folder / "installed"
    wanted = "\n".join((find_python(release), release.requirement, *TOOLS))
    if marker.exists() and marker.read_text() == wanted:
        return
    subprocess.run([find_python(release), "-m", "venv", "--clear", str(folder)], check=True)
    pip = [str(release.python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, release.requirement, *TOOLS, "--editable", str(ROOT)], check=True)
    marker.write_text(wanted)


def run(release: DjangoRelease) -> bool:
    """Run the tests; whether they passed."""
    code = "import django, platform; print(django.__version__, 'on', platform.python_version())"
    print("Django", subprocess.check_output([release.python, "-c", code], text=True), flush=True)
    # The project's own settings are for plugins that these environments have not.
    command = [
        str(release.python), "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(ROOT),
        "-p", "no:cacheprovider", "--timeout", TEST_TIMEOUT, TESTS,
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0


def main() -> int:
    chosen = sys.argv[1:] or [release.name for release in RELEASES]
    code = 0
    for release in (release for release in RELEASES if release.name in chosen):
        try:
            prepare(release)
        except (NoPythonError, subprocess.CalledProcessError) as error:
            print(error, file=sys.stderr)
            return 2
        code |= not run(release)
    return code


if __name__ == "__main__":
    sys.exit(main())
