"""What two runs of a suite say together: Werkzeug's own server first, then this one."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.conformance.running import HARMLESS_EXIT_CODES, Outcome

if TYPE_CHECKING:
    from tests.conformance.differences import Difference
    from tests.conformance.running import Run
    from tests.conformance.suites import Suite

ABSENT = Outcome("absent", "it was not collected")


@dataclass
class Verdict:
    """A row of the table, and everything that nobody expected."""

    suite: str
    passed: int = 0
    differences: int = 0
    skipped: int = 0
    failed: int = 0
    servers: int = 0
    """Servers that ran on our loop; in a baseline, on Werkzeug's."""
    requests: int = 0
    """Requests that our loop took."""
    coroutines: int = 0
    """Coroutines of applications that ran on our server's loop."""
    surprises: list[str] = field(default_factory=list)


def judge_baseline(suite: Suite, baseline: Run) -> Verdict:
    """On Werkzeug's own server nothing may fail, or the comparison says nothing."""
    verdict = Verdict(suite.name, servers=baseline.count("werkzeug"))
    verdict.surprises += incomplete(baseline)
    for test, found in baseline.outcomes.items():
        count(verdict, found)
        if found.outcome == "failed":
            verdict.surprises.append(
                f"{test} fails on Werkzeug's own server, so this machine or one of the TOOLS is at "
                f"fault: {first_line(found)}"
            )
    return verdict


def judge(suite: Suite, baseline: Run, ours: Run, differences: list[Difference]) -> Verdict:
    """On this server everything is as in the baseline but for the differences."""
    verdict = Verdict(
        suite.name,
        servers=ours.count("asyncwsgi"),
        requests=ours.count("request"),
        coroutines=ours.count("own loop"),
    )
    verdict.surprises += incomplete(ours)
    expected = {difference.test: difference for difference in differences}
    for test in baseline.outcomes | ours.outcomes | expected:
        before = baseline.outcomes.get(test, ABSENT)
        found = ours.outcomes.get(test, ABSENT)
        surprise = (
            compare_with_difference(expected[test], before, found)
            if test in expected
            else compare(before, found)
        )
        if surprise:
            verdict.surprises.append(f"{test}: {surprise}")
        if test in expected and not surprise:
            verdict.differences += 1
        else:
            count(verdict, found)
    verdict.surprises += served_elsewhere(baseline, ours)
    verdict.surprises += run_elsewhere(ours)
    if suite.has_servers and not verdict.requests:
        verdict.surprises.append(f"{suite.name}: this server took no request")
    if suite.has_coroutines and not verdict.coroutines:
        verdict.surprises.append(f"{suite.name}: no coroutine ran on the server's loop")
    if verdict.surprises:
        verdict.surprises.append(f"all that pytest said is in {ours.log}")
    return verdict


def compare(before: Outcome, found: Outcome) -> str:
    """Why `found` is not what the baseline lets expect; empty if it is."""
    if found.outcome != before.outcome:
        return f"{found.outcome} ({first_line(found)}), was {before.outcome} on Werkzeug's server"
    if found.outcome == "skipped" and found.message != before.message:
        return f"skipped for another reason ({found.message}) than before ({before.message})"
    return ""


def compare_with_difference(difference: Difference, before: Outcome, found: Outcome) -> str:
    """Why the difference is not as it is written down; empty if it is."""
    if before.outcome != "passed":
        return (
            f"{before.outcome} on Werkzeug's server, so it is no difference: take it off the list"
        )
    if found.outcome == "passed":
        return "passes, but is listed as a difference: take it off the list"
    if found.outcome != "failed" or difference.evidence not in found.message:
        return (
            f"{found.outcome} ({first_line(found)}); the difference that is listed would say "
            f"{difference.evidence!r}"
        )
    return ""


def served_elsewhere(baseline: Run, ours: Run) -> list[str]:
    """Tests whose server should have been ours, by the baseline's count, and was not."""
    return [
        f"{test}: {servers['werkzeug']} of its servers ran on Werkzeug's loop and "
        f"{servers['asyncwsgi']} on ours; ours was not in place"
        for test in baseline.servers
        if (servers := ours.servers.get(test, Counter()))["werkzeug"] or not servers["asyncwsgi"]
    ]


def run_elsewhere(ours: Run) -> list[str]:
    """Tests with coroutines on another loop than the server's."""
    return [
        f"{test}: {servers['foreign loop']} coroutines did not run on the loop of the server"
        for test, servers in ours.servers.items()
        if servers["foreign loop"]
    ]


def first_line(found: Outcome) -> str:
    return found.message.partition("\n")[0]


def incomplete(run: Run) -> list[str]:
    if run.exit_code in HARMLESS_EXIT_CODES and run.outcomes:
        return []
    return [f"pytest ended with {run.exit_code} after {len(run.outcomes)} tests: see {run.log}"]


def count(verdict: Verdict, found: Outcome) -> None:
    if found.outcome == "passed":
        verdict.passed += 1
    elif found.outcome == "skipped":
        verdict.skipped += 1
    else:
        verdict.failed += 1
