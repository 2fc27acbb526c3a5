"""`python -m tests.matrix.run [RELEASE ...]`: the suites on each release of pytest.

Releases are kept as virtual environments under ``build/matrix``. Prints a table; the exit code is 1
if a suite failed, 2 if an environment could not be made.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WORK = ROOT / "build" / "matrix"
SUITES = HERE / "suites"
TIMEOUT = 600
"""Seconds that a suite may take: then something hangs."""
TEST_TIMEOUT = "60"

COMMON = (
    "anyio", "django", "flask[async]", "httpx", "pytest-django", "pytest-flask", "pytest-timeout",
    "pytest-xdist", "requests", "trio",
)  # fmt: skip
SHOWN = ("pytest", "pytest-asyncio", "anyio", "pytest-xdist")


@dataclass(frozen=True)
class Release:
    """Versions that are used together."""

    name: str
    requirements: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    """What its pytest-asyncio must be told."""

    @property
    def python(self) -> Path:
        return WORK / self.name / "bin" / "python"


RELEASES = (
    Release("oldest", ("pytest==7.4.*", "pytest-asyncio==0.21.*")),
    Release("middle", ("pytest==8.*", "pytest-asyncio==0.23.*")),
    Release(
        "newest",
        ("pytest", "pytest-asyncio"),
        ("-o", "asyncio_default_fixture_loop_scope=function"),
    ),
)


@dataclass(frozen=True)
class Run:
    """One suite, with the plugins it is written for."""

    name: str
    suite: str
    plugins: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


LIVE = ("-o", "asyncwsgi_live_server=true")
RUNS = (
    Run("one process", "suite_sync", ()),
    Run("-n 4", "suite_sync", ("xdist",), ("-n4",)),
    Run("asyncio, strict", "suite_asyncio", ("asyncio",), (*LIVE, "--asyncio-mode=strict")),
    Run("asyncio, auto", "suite_asyncio", ("asyncio",), (*LIVE, "--asyncio-mode=auto")),
    Run("anyio", "suite_anyio", ("anyio",), LIVE),
    Run("beside pytest-flask", "suite_flask", ("flask",), LIVE),
    Run("for pytest-flask", "suite_flask", (), (*LIVE, "-o", "live_server_scope=function")),
    Run(
        "beside pytest-django",
        "suite_django",
        ("django",),
        LIVE,
        {"DJANGO_SETTINGS_MODULE": "tests.matrix.suites.django_site"},
    ),
    Run("500 servers", "suite_many", ()),
    Run("500 servers, -n 4", "suite_many", ("xdist",), ("-n4",)),
)


def prepare(release: Release) -> None:
    """Make the environment of `release`, unless it is there.

    Raises:
        subprocess.CalledProcessError: pip failed.
    """
    marker = WORK / release.name / "installed"
    wanted = "\n".join((*release.requirements, *COMMON))
    if marker.exists() and marker.read_text() == wanted:
        return
    venv.create(WORK / release.name, with_pip=True, clear=True)
    pip = [str(release.python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, *release.requirements, *COMMON, "--editable", str(ROOT)], check=True)
    marker.write_text(wanted)


def versions(release: Release) -> str:
    code = f"import importlib.metadata as m; print(*(m.version(n) for n in {SHOWN!r}))"
    output = subprocess.check_output([str(release.python), "-c", code], text=True)
    return ", ".join(" ".join(pair) for pair in zip(SHOWN, output.split(), strict=True))


def run(release: Release, one: Run) -> tuple[bool, str]:
    """Run one suite; whether it passed, and what pytest said of it last."""
    command = [
        str(release.python), "-m", "pytest", "-q", "-Werror", "-c", os.devnull,
        "--rootdir", str(SUITES), "--confcutdir", str(SUITES), "-p", "no:cacheprovider",
        "-p", "asyncwsgi.testing.plugin", "-p", "timeout", "--timeout", TEST_TIMEOUT,
        *(argument for plugin in one.plugins for argument in ("-p", plugin)),
        *(release.arguments if "asyncio" in one.plugins else ()),
        *one.arguments, str(SUITES / f"{one.suite}.py"),
    ]  # fmt: skip
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **one.environment}
    environment["PYTHONPATH"] = str(ROOT)
    try:
        result = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return False, f"hung for {TIMEOUT} s"
    lines = result.stdout.strip().splitlines() or [result.stderr.strip()]
    if result.returncode != 0:
        print(result.stdout, result.stderr, file=sys.stderr, flush=True)
    return result.returncode == 0, re.sub(r"\x1b\[\d+m", "", lines[-1])


def main() -> int:
    chosen = sys.argv[1:] or [release.name for release in RELEASES]
    code = 0
    for release in (release for release in RELEASES if release.name in chosen):
        try:
            prepare(release)
        except subprocess.CalledProcessError as error:
            print(f"pip failed ({error}); mend what it says above", file=sys.stderr)
            return 2
        print(f"{release.name}: {versions(release)}", flush=True)
        for one in RUNS:
            has_passed, said = run(release, one)
            code |= not has_passed
            print(f"  {'passed' if has_passed else 'FAILED'}  {one.name:22}{said}", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
