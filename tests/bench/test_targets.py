"""What a run says of a target."""

from __future__ import annotations

import pytest
from results import P50
from targets import BEST, TARGETS, Figure, Judgement, Target
from traffic import CASES

from tests.bench.samples import failed, reports, rounds

CASE = "plain-differ-64"
FIRST, SECOND = "waitress", "cheroot"
TWICE = Target("", BEST, Figure(CASE), Figure(CASE, BEST), 2.0, floor=1.0)


@pytest.mark.parametrize(
    ("own", "verdict"), [(200, "reached"), (199, "floor reached"), (99, "missed")]
)
def test_a_ratio_is_judged_by_its_bound_and_by_its_floor(own: float, verdict: str) -> None:
    judgement = TWICE.judge(reports(rounds(CASE, "asyncwsgi", own), rounds(CASE, FIRST, 100)))
    assert judgement is not None
    assert judgement.verdict == verdict


def test_the_median_of_the_ratios_counts_and_not_the_ratio_of_the_medians() -> None:
    own = rounds(CASE, "asyncwsgi", 100, 300, 330)
    peer = rounds(CASE, FIRST, 100, 100, 300)
    assert TWICE.judge(reports(own, peer)) == Judgement(
        "1.10x (1.00..3.00)", "floor reached", FIRST
    )


def test_a_round_that_only_one_of_them_has_is_left_out() -> None:
    own, peer = rounds(CASE, "asyncwsgi", 900, 300), rounds(CASE, FIRST, 100, 100)
    judgement = TWICE.judge(reports(own[1:], peer))
    assert judgement is not None
    assert judgement.measured == "3.00x (3.00..3.00)"


def test_the_best_peer_is_the_best_in_the_figure_that_is_compared() -> None:
    target = Target("", BEST, Figure(CASE, name=P50), Figure(CASE, BEST, P50), 0.8, is_most=True)
    measured = reports(
        rounds(CASE, "asyncwsgi", 100, p50=1),
        rounds(CASE, FIRST, 1000, p50=8),
        rounds(CASE, SECOND, 10, p50=2),
        rounds(CASE, "granian", 10_000, p50=0.1),
    )
    assert target.judge(measured) == Judgement("0.50x (0.50..0.50)", "reached", SECOND)


def test_a_figure_may_be_compared_with_a_bound() -> None:
    target = Target("", "", Figure(CASE), 50.0, 6.0, is_most=True, unit=" KiB")
    assert target.wanted == "at most 6 KiB"
    assert target.judge(reports(rounds(CASE, "asyncwsgi", 350))) == Judgement(
        "7.00 KiB (7.00..7.00)", "missed"
    )


def test_errors_miss_a_target_however_fast_the_rest_was() -> None:
    own = [*rounds(CASE, "asyncwsgi", 900), failed(CASE, "asyncwsgi", "no answer")]
    assert TWICE.judge(reports(own, rounds(CASE, FIRST, 100))) == Judgement(
        "9.00x (9.00..9.00)", "missed: no answer", FIRST
    )


def test_without_its_case_or_its_peer_a_target_is_not_judged() -> None:
    assert TWICE.judge({}) is None
    assert TWICE.judge(reports(rounds(CASE, FIRST, 100))) is None
    alone = TWICE.judge(reports(rounds(CASE, "asyncwsgi", 100)))
    assert alone == Judgement("-", "nothing to compare with")


def test_a_peer_that_failed_is_nothing_to_compare_with() -> None:
    target = Target("", FIRST, Figure(CASE), Figure(CASE, FIRST), 2.0)
    measured = reports(rounds(CASE, "asyncwsgi", 100), [failed(CASE, FIRST, "did not start")])
    assert target.judge(measured) == Judgement("-", "nothing to compare with")


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.title)
def test_every_target_is_of_a_case_that_is_measured(target: Target) -> None:
    servers = {case.name: case.traffic.servers for case in CASES}
    figures = [target.figure]
    if isinstance(target.against, Figure):
        figures.append(target.against)
    for figure in figures:
        assert figure.server in {*servers[figure.case], BEST}
