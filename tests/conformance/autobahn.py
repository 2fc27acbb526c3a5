"""`python -m tests.conformance.autobahn`: Autobahn's fuzzing client against an echo on the loop.

The suite is PyPI's autobahntestsuite, which runs on Python 2.7 and on no other; it is kept with all
that it needs under ``build/autobahn``. Its groups of cases run one after another, so that a run of
many minutes says how it goes. The exit code is 1 if a case has not passed or has not run, 2 if the
ground could not be prepared.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncwsgi
from asyncwsgi import WebSocketConnection

if TYPE_CHECKING:
    from collections.abc import Iterable

WORK = Path(__file__).resolve().parents[2] / "build" / "autobahn"
PACKAGES = WORK / "packages"
REPORTS = WORK / "reports"
# The last one that was made; what it needs is pinned by what Python 2.7 can still have.
REQUIREMENT = "autobahntestsuite==25.10.1"

CATEGORIES = {
    "1": "framing",
    "2": "pings and pongs",
    "3": "reserved bits",
    "4": "opcodes",
    "5": "fragments",
    "6": "UTF-8",
    "7": "closing",
    "9": "limits and performance",
    "10": "fragments that are sent on",
    "12": "permessage-deflate",
    "13": "permessage-deflate with parameters",
}
LARGE_CATEGORIES = ("9", "12", "13")
"""Those that take minutes: they run by their second number."""
PASSED = ("OK", "NON-STRICT", "INFORMATIONAL")
DECLINED = "declined"
"""UNIMPLEMENTED, of the cases whose parameters of compression a server may decline."""
DECLINABLE = "13."
LARGEST_MESSAGE_SIZE = 16 * 1024 * 1024
"""Bytes of a message in group 9."""
PATIENCE = 3600.0
"""Seconds for the cases that run together."""
AGENT = "asyncwsgi"


class UnreadyError(Exception):
    """The ground could not be prepared; the message names the cure."""


class Suite:
    """Autobahn's fuzzing client, installed.

    Args:
        python: a Python 2.7.
    """

    def __init__(self, python: Path) -> None:
        self._python = python
        if not (PACKAGES / "autobahntestsuite").exists():
            self._install()

    def _install(self) -> None:
        print(f"installing {REQUIREMENT} in {PACKAGES}", file=sys.stderr, flush=True)
        shutil.rmtree(PACKAGES, ignore_errors=True)
        words = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        partial = WORK / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        command = [str(self._python), *words, "--target", str(partial), REQUIREMENT]
        if subprocess.run(command, stdout=sys.stderr, check=False).returncode != 0:
            raise UnreadyError(f"{REQUIREMENT} could not be installed: mend what pip says above")
        # zope is a namespace of many projects, which this directory is not told of.
        (partial / "zope" / "__init__.py").touch()
        partial.rename(PACKAGES)

    def cases(self, patterns: Iterable[str]) -> list[str]:
        """The names of the cases that the patterns mean."""
        code = (
            "import json, sys; from autobahntestsuite import case;"
            "from autobahntestsuite.caseset import CaseSet;"
            "s = CaseSet('', 'Case', case.Cases, case.CaseCategories, case.CaseSubCategories);"
            "print(json.dumps(s.parseSpecCases({'cases': json.loads(sys.argv[1])})))"
        )
        told = self._call("-c", code, json.dumps(list(patterns)), stdout=subprocess.PIPE)
        names: list[str] = json.loads(told.stdout)
        return names

    def run(self, port: int, group: str, cases: list[str]) -> dict[str, Any]:
        """What has become of the cases, by their names; those that were not run are missing."""
        folder = REPORTS / group
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        plan = folder / "spec.json"
        servers = [{"agent": AGENT, "url": f"ws://127.0.0.1:{port}"}]
        plan.write_text(json.dumps({"outdir": str(folder), "servers": servers, "cases": cases}))
        with (folder / "log").open("w") as log:
            try:
                self._call(
                    "-m", "autobahntestsuite.wstest", "--mode", "fuzzingclient", "--spec",
                    str(plan), stdout=log, stderr=subprocess.STDOUT, timeout=PATIENCE,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                return {}
        index = folder / "index.json"
        results: dict[str, Any] = json.loads(index.read_text())[AGENT] if index.exists() else {}
        return results

    def _call(self, *words: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        environment["PYTHONPATH"] = str(PACKAGES)
        command = [str(self._python), "-u", *words]
        return subprocess.run(command, env=environment, cwd=WORK, check=False, **options)


def find_python() -> Path:
    """A Python 2.7, on PATH or of pyenv."""
    if (found := shutil.which("python2.7")) and _is_python2(found):
        return Path(found)
    for path in Path.home().glob(".pyenv/versions/2.7.*/bin/python2.7"):
        return path
    raise UnreadyError("no Python 2.7 found: pyenv install 2.7.18, or name one by --python")


def _is_python2(program: str) -> bool:
    # pyenv has a shim for each version that is installed, which works for those that are chosen.
    return subprocess.run([program, "-c", ""], capture_output=True, check=False).returncode == 0


@asyncwsgi.websocket(
    max_message_size=LARGEST_MESSAGE_SIZE, queue_size=LARGEST_MESSAGE_SIZE, ping_interval=0
)
async def echo(ws: WebSocketConnection) -> None:
    async for message in ws:
        await ws.send(message)


def verdict(case: str, result: dict[str, Any] | None) -> str:
    """What has become of a case."""
    if result is None:
        return "MISSING"
    behavior: str = result["behavior"]
    if behavior == "UNIMPLEMENTED":
        return DECLINED if case.startswith(DECLINABLE) else behavior
    if behavior in PASSED and result["behaviorClose"] not in PASSED:
        return f"{behavior}, closed {result['behaviorClose']}"
    return behavior


def is_good(verdict: str) -> bool:
    """Whether it is none to worry about."""
    return verdict in (*PASSED, DECLINED)


def group_of(case: str) -> str:
    """With which others it runs."""
    category, number, *_ = case.split(".")
    return f"{category}.{number}" if category in LARGE_CATEGORIES else category


def check(suite: Suite, port: int, group: str, cases: list[str]) -> list[str]:
    """Run the cases of one group and print its row; what has not passed."""
    began = time.monotonic()
    results = suite.run(port, group, cases)
    verdicts = {case: verdict(case, results.get(case)) for case in cases}
    counts = Counter(verdicts.values())
    told = ", ".join(f"{count} {word}" for word, count in counts.most_common())
    title = CATEGORIES.get(group.partition(".")[0], "others")
    print(f"{group:>4}  {title}: {told} ({time.monotonic() - began:.0f} s)", flush=True)
    return [f"{case}: {word}" for case, word in verdicts.items() if not is_good(word)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.autobahn")
    parser.add_argument(
        "--cases", nargs="+", default=["*"], metavar="CASE",
        help="only these: 1.1.6 9.* ..."
    )  # fmt: skip
    parser.add_argument("--python", type=Path, help="a Python 2.7")
    parser.add_argument("--loop", default="auto", help="the server's event loop: %(default)s")
    options = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    try:
        suite = Suite(options.python or find_python())
    except UnreadyError as error:
        print(error, file=sys.stderr)
        return 2
    failures = []
    with asyncwsgi.serve_in_thread(
        lambda environ, start_response: echo()(environ, start_response),
        port=0, loop=options.loop, access_log=False,
    ) as server:  # fmt: skip
        for group, cases in itertools.groupby(suite.cases(options.cases), group_of):
            failures += check(suite, server.port, group, list(cases))
    for failure in failures:
        print(f"! {failure}")
    if failures:
        print(f"What was said on the wire is in {REPORTS}, case by case.")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
