"""`python -m tests.conformance.run`: the tests of Werkzeug and Flask against this server.

Every suite runs twice for each release, on Werkzeug's own server and on this one. The second run
has to end as the first did, but for the differences that are listed with their reasons. The exit
code is 1 if anything else was found, 2 if the ground could not be prepared.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from tests.conformance.differences import DIFFERENCES, REPLACEMENTS
from tests.conformance.environment import ROOT, UnreadyError, prepare
from tests.conformance.running import run
from tests.conformance.suites import RELEASES, SUITES
from tests.conformance.verdict import Verdict, judge, judge_baseline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.conformance.environment import Environment
    from tests.conformance.suites import Release, Suite


def main() -> int:
    options = parse_options()
    suites = [suite for suite in SUITES if suite.name in options.suites]
    surprises = [] if options.baseline else check_replacements()
    tell(surprises)
    try:
        for release in RELEASES:
            if release.name in options.releases:
                found = check_release(release, suites, ours=not options.baseline)
                tell(found)
                surprises += found
    except UnreadyError as error:
        print(error, file=sys.stderr)
        return 2
    return 1 if surprises else 0


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.run")
    for name, things in (("releases", RELEASES), ("suites", SUITES)):
        names = [thing.name for thing in things]
        parser.add_argument(
            f"--{name}", nargs="+", choices=names, default=names, metavar=name[:-1].upper(),
            help=f"only these of {', '.join(names)}",
        )  # fmt: skip
    parser.add_argument(
        "--baseline", action="store_true", help="only on Werkzeug's own server, without ours"
    )
    return parser.parse_args()


def check_replacements() -> list[str]:
    """Each difference has a test of ours that says what holds instead."""
    paths = [ROOT / name for name in REPLACEMENTS]
    source = "".join(path.read_text(encoding="utf-8") for path in paths if path.exists())
    places = " and ".join(REPLACEMENTS)
    return [
        f"{difference.test} has no replacement: {places} lack {difference.replacement}"
        for difference in DIFFERENCES
        if f"def {difference.replacement}(" not in source
    ]


def check_release(release: Release, suites: Sequence[Suite], *, ours: bool) -> list[str]:
    """Run, print the table, and return what nobody expected."""
    environment = prepare(release)
    print(f"\n{describe(environment)}, on {'asyncwsgi' if ours else 'the server of Werkzeug'}")
    columns = ("passed", "differ", "skipped", "failed", "servers", "requests", "on loop")
    print(f"{'':18}{''.join(f'{column:>9}' for column in columns)}", flush=True)
    verdicts = [check_suite(suite, environment, ours=ours) for suite in suites]
    return [surprise for verdict in verdicts for surprise in verdict.surprises]


def check_suite(suite: Suite, environment: Environment, *, ours: bool) -> Verdict:
    """Run a suite and print its row."""
    baseline = run(suite, environment, ours=False)
    verdict = judge_baseline(suite, baseline)
    if ours:
        differences = [d for d in DIFFERENCES if d.suite == suite.name]
        found = judge(suite, baseline, run(suite, environment, ours=True), differences)
        found.surprises[:0] = verdict.surprises
        verdict = found
    if suite.has_servers and not verdict.servers:
        verdict.surprises.append(f"{suite.name}: no server was counted, so this run proves nothing")
    print(
        f"{verdict.suite:18}{verdict.passed:9}{verdict.differences:9}{verdict.skipped:9}"
        f"{verdict.failed:9}{verdict.servers:9}{verdict.requests:9}{verdict.coroutines:9}",
        flush=True,
    )
    return verdict


def tell(surprises: list[str]) -> None:
    for surprise in surprises:
        print(f"! {surprise}", flush=True)


def describe(environment: Environment) -> str:
    versions = environment.versions
    python = ".".join(map(str, sys.version_info[:3]))
    return f"Werkzeug {versions['werkzeug']}, Flask {versions['flask']}, Python {python}"


if __name__ == "__main__":
    sys.exit(main())
