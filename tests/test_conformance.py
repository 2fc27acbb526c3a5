"""`make conformance` and `make autobahn` are not easily pleased: what they say of their runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.conformance.autobahn import is_good, verdict
from tests.conformance.differences import Difference
from tests.conformance.run import check_replacements
from tests.conformance.running import Outcome, Run
from tests.conformance.suites import Suite
from tests.conformance.verdict import Verdict, judge, judge_baseline

SUITE = Suite("suite", "werkzeug", ("tests",))
DIFFERENCE = Difference("suite", "test_a", "a reason", "evidence", "test_b")

PASSED = Outcome("passed", "")
FAILED = Outcome("failed", "AssertionError: evidence\nmore of it")
SKIPPED = Outcome("skipped", "no such system")


def run_of(outcome: Outcome | None, *, served_by: str = "", exit_code: int = 0) -> Run:
    """A run of one test."""
    outcomes = {} if outcome is None else {"test_a": outcome}
    servers = {"test_a": Counter([served_by])} if served_by else {}
    return Run({"test_0": PASSED} | outcomes, servers, exit_code, Path("a.log"))


def verdict_on(before: Run, after: Run, *differences: Difference) -> Verdict:
    return judge(SUITE, before, after, list(differences))


def test_the_same_outcome_is_no_surprise() -> None:
    for outcome in (PASSED, SKIPPED):
        assert not verdict_on(run_of(outcome), run_of(outcome)).surprises


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(PASSED, FAILED, id="fails"),
        pytest.param(PASSED, SKIPPED, id="is skipped"),
        pytest.param(PASSED, None, id="is gone"),
        pytest.param(None, PASSED, id="is new"),
        pytest.param(SKIPPED, Outcome("skipped", "no such server"), id="another reason to skip"),
    ],
)
def test_another_outcome_is_a_surprise(before: Outcome | None, after: Outcome | None) -> None:
    assert verdict_on(run_of(before), run_of(after)).surprises


def test_a_difference_that_is_listed_is_counted_as_such() -> None:
    verdict = verdict_on(run_of(PASSED), run_of(FAILED, exit_code=1), DIFFERENCE)
    assert not verdict.surprises
    assert (verdict.passed, verdict.differences, verdict.failed) == (1, 1, 0)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(PASSED, PASSED, id="passes"),
        pytest.param(PASSED, Outcome("failed", "another failure"), id="fails otherwise"),
        pytest.param(PASSED, SKIPPED, id="is skipped"),
        pytest.param(None, None, id="is gone"),
        pytest.param(FAILED, FAILED, id="fails on both servers"),
    ],
)
def test_a_difference_that_is_listed_has_to_show(
    before: Outcome | None, after: Outcome | None
) -> None:
    assert verdict_on(run_of(before), run_of(after), DIFFERENCE).surprises


@pytest.mark.parametrize("served_by", ["", "werkzeug"])
def test_a_test_that_was_served_before_has_to_be_served_by_this_server(served_by: str) -> None:
    before = run_of(PASSED, served_by="werkzeug")
    assert verdict_on(before, run_of(PASSED, served_by=served_by)).surprises
    assert not verdict_on(before, run_of(PASSED, served_by="asyncwsgi")).surprises


def test_a_suite_with_servers_has_to_have_sent_requests_to_this_one() -> None:
    suite = Suite("suite", "werkzeug", ("tests",), has_servers=True)
    before = run_of(PASSED, served_by="werkzeug")
    served = {"test_a": Counter(["asyncwsgi", "request", "request"])}
    after = run_of(PASSED, served_by="asyncwsgi")
    assert judge(suite, before, after, []).surprises
    verdict = judge(suite, before, Run(after.outcomes, served, 0, after.log), [])
    assert (verdict.requests, verdict.surprises) == (2, [])


def test_nothing_may_fail_on_the_server_of_werkzeug() -> None:
    assert judge_baseline(SUITE, run_of(FAILED, exit_code=1)).surprises
    assert not judge_baseline(SUITE, run_of(PASSED)).surprises


@pytest.mark.parametrize("exit_code", [2, 3, 4, 5, -9])
def test_a_pytest_that_gave_up_is_a_surprise(exit_code: int) -> None:
    given_up = run_of(PASSED, exit_code=exit_code)
    assert judge_baseline(SUITE, given_up).surprises
    assert verdict_on(run_of(PASSED), given_up).surprises


def test_every_difference_has_a_test_of_our_own() -> None:
    assert check_replacements() == []


def coroutines_of(*whose: str) -> Run:
    return Run({"test_a": PASSED}, {"test_a": Counter(whose)}, 0, Path("a.log"))


def test_coroutines_have_to_run_on_the_loop_of_the_server() -> None:
    suite = Suite("suite", "flask", ("tests",), has_coroutines=True)
    before = Run({"test_a": PASSED}, {}, 0, Path("a.log"))
    own = judge(suite, before, coroutines_of("own loop", "own loop"), [])
    assert (own.coroutines, own.surprises) == (2, [])
    assert judge(suite, before, coroutines_of("own loop", "foreign loop"), []).surprises
    assert judge(suite, before, coroutines_of(), []).surprises


@pytest.mark.parametrize(
    ("case", "behavior", "close", "passes"),
    [
        ("1.1.1", "OK", "OK", True),
        ("3.2", "NON-STRICT", "OK", True),
        ("7.1.6", "INFORMATIONAL", "INFORMATIONAL", True),
        ("1.1.1", "FAILED", "OK", False),
        ("1.1.1", "OK", "UNCLEAN", False),
        ("1.1.1", "OK", "WRONG CODE", False),
        ("13.3.1", "UNIMPLEMENTED", "OK", True),
        ("12.1.1", "UNIMPLEMENTED", "OK", False),
    ],
)
def test_what_autobahn_says_of_a_case(case: str, behavior: str, close: str, passes: bool) -> None:
    assert is_good(verdict(case, {"behavior": behavior, "behaviorClose": close})) == passes


def test_a_case_of_autobahn_that_has_not_run_has_not_passed() -> None:
    assert not is_good(verdict("1.1.1", None))
