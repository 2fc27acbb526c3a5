"""Who gets room, who waits for it, and that all of it comes back. No sockets, no loop."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from asyncwsgi.frontends.buffer_budget import BufferBudget, Claim

MAX = 100


class Body(NamedTuple):
    """A claim, and how often it was told of room."""

    claim: Claim
    told: list[str]

    @property
    def is_told(self) -> bool:
        return bool(self.told)


def body(name: str = "") -> Body:
    told: list[str] = []
    return Body(Claim(lambda: told.append(name)), told)


def asked(budget: BufferBudget, wanted: int, held: int = 0) -> Body:
    """A body that has asked for room."""
    new = body()
    budget.ask(new.claim, held, wanted)
    return new


def test_a_body_is_admitted_for_all_that_it_will_hold() -> None:
    budget = BufferBudget(MAX)
    assert budget.ask(body().claim, 1, 60)
    assert budget.held_size == 60


def test_a_body_for_which_there_is_no_room_waits_and_is_told_of_it_once() -> None:
    budget = BufferBudget(MAX)
    first = asked(budget, 60)
    second = body()
    assert not budget.ask(second.claim, 0, 60)
    assert (budget.held_size, budget.waiting_count, second.is_told) == (60, 1, False)
    budget.release(first.claim)
    assert (budget.held_size, budget.waiting_count, len(second.told)) == (60, 0, 1)


def test_what_is_held_of_a_body_that_waits_is_counted() -> None:
    budget = BufferBudget(MAX)
    asked(budget, 60)
    waiting = asked(budget, 60, held=30)
    assert budget.held_size == 90
    budget.release(waiting.claim)
    assert budget.held_size == 60


def test_those_that_wait_are_admitted_in_the_order_of_asking() -> None:
    budget = BufferBudget(MAX)
    first = asked(budget, 90)
    large, small = asked(budget, 80), asked(budget, 10)
    assert not small.is_told  # it would fit, and would keep the large one waiting
    budget.release(first.claim)
    assert large.is_told
    assert small.is_told


def test_asking_again_is_no_way_past_the_others() -> None:
    budget = BufferBudget(MAX)
    first = asked(budget, 100)
    second, third = asked(budget, 100), asked(budget, 100)
    assert not budget.ask(third.claim, 0, 100)
    assert not budget.ask(second.claim, 0, 100)
    budget.release(first.claim)
    assert (second.is_told, third.is_told) == (True, False)


def test_one_who_gives_up_waiting_lets_the_next_pass() -> None:
    budget = BufferBudget(MAX)
    asked(budget, 60)
    large, small = asked(budget, 60), asked(budget, 40)
    budget.release(large.claim)
    assert small.is_told
    assert not large.is_told


def test_one_who_insists_is_admitted_beyond_the_bound_and_counted() -> None:
    budget = BufferBudget(MAX)
    asked(budget, 100)
    waiting = asked(budget, 60)
    budget.insist(waiting.claim, 60)
    assert (budget.held_size, budget.waiting_count) == (160, 0)
    budget.release(waiting.claim)
    assert budget.held_size == 100


def test_one_who_insists_and_was_first_in_line_lets_the_next_pass() -> None:
    budget = BufferBudget(MAX)
    asked(budget, 40)
    large, small = asked(budget, 70), asked(budget, 10)
    budget.insist(large.claim, 50)
    assert small.is_told


def test_a_body_that_grows_beyond_what_it_asked_for_is_counted_and_not_stopped() -> None:
    budget = BufferBudget(MAX)
    first = asked(budget, 60)
    assert budget.ask(first.claim, 150, 60)
    assert budget.held_size == 150


@pytest.mark.parametrize("size", [1, MAX * 10])
def test_though_slow_readers_hold_everything_one_body_after_the_other_is_admitted(
    size: int,
) -> None:
    budget = BufferBudget(MAX)
    budget.count(MAX * 2)
    first, second = asked(budget, size), asked(budget, size)
    assert first.claim.is_admitted
    assert second.claim.is_waiting
    budget.release(first.claim)
    assert second.is_told


def test_what_was_sent_makes_room() -> None:
    budget = BufferBudget(MAX)
    asked(budget, 1)
    budget.count(MAX)
    waiting = asked(budget, 50)
    budget.count(-49)
    assert not waiting.is_told
    budget.count(-MAX + 49)
    assert waiting.is_told


def test_room_is_scarce_from_a_half_on_until_a_quarter_is_held() -> None:
    said: list[bool] = []
    budget = BufferBudget(MAX, said.append)
    for difference, expected in [(50, []), (1, [True]), (40, [True]), (-65, [True])]:
        budget.count(difference)
        assert said == expected
    budget.count(-1)
    assert said == [True, False]
    assert not budget.is_scarce


def test_without_a_limit_room_is_never_scarce() -> None:
    said: list[bool] = []
    BufferBudget(0, said.append).count(10**12)
    assert said == []


def test_releasing_twice_gives_nothing_twice() -> None:
    budget = BufferBudget(MAX)
    first = asked(budget, 60)
    budget.release(first.claim)
    budget.release(first.claim)
    assert budget.held_size == 0
    assert budget.ask(first.claim, 60, 60)  # what is over neither holds nor waits
    budget.insist(first.claim, 60)
    assert (budget.held_size, budget.waiting_count) == (0, 0)


def test_without_a_limit_nobody_waits_and_all_is_counted() -> None:
    budget = BufferBudget(0)
    assert all(budget.ask(body().claim, 0, 10**9) for _ in range(3))
    assert budget.held_size == 3 * 10**9


def test_many_whose_turn_is_over_at_once_do_not_run_out_of_stack() -> None:
    budget = BufferBudget(MAX)
    first = asked(budget, MAX)
    count = 10_000
    done = []

    def wait() -> None:
        def give_back() -> None:
            done.append(claim)
            budget.release(claim)

        claim = Claim(give_back)
        budget.ask(claim, 0, MAX)

    for _ in range(count):
        wait()
    budget.release(first.claim)
    assert (len(done), budget.held_size, budget.waiting_count) == (count, 0, 0)


sizes = st.integers(0, 2 * MAX)


class Budget(RuleBasedStateMachine):
    """Whatever bodies and clients do, in whatever order."""

    @initialize(limit=st.sampled_from([0, MAX]))
    def begin(self, limit: int) -> None:
        self.limit = limit
        self.budget = BufferBudget(limit)
        self.bodies: list[Body] = []
        self.unsent = 0

    @rule(held=sizes, more=sizes)
    def come(self, held: int, more: int) -> None:
        new = body()
        self.bodies.append(new)
        if not self.budget.ask(new.claim, held, held + more):
            assert self.limit
            assert new.claim.is_waiting

    @rule(data=st.data(), held=sizes, more=sizes)
    def go_on(self, data: st.DataObject, held: int, more: int) -> None:
        if self.bodies:
            one = data.draw(st.sampled_from(self.bodies)).claim
            self.budget.ask(one, held, held + more)

    @rule(data=st.data(), size=sizes)
    def insist(self, data: st.DataObject, size: int) -> None:
        if self.bodies:
            one = data.draw(st.sampled_from(self.bodies)).claim
            self.budget.insist(one, size)
            assert one.is_admitted

    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        if self.bodies:
            one = data.draw(st.sampled_from(self.bodies))
            self.bodies.remove(one)
            self.budget.release(one.claim)

    @rule(size=sizes)
    def send(self, size: int) -> None:
        self.budget.count(size - self.unsent)
        self.unsent = size

    @invariant()
    def what_is_held_is_what_each_holds(self) -> None:
        assert self.budget.held_size == self.unsent + sum(b.claim.size for b in self.bodies)

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        waiting = [b.claim for b in self.bodies if b.claim.is_waiting]
        assert self.budget.waiting_count == len(waiting)
        if waiting:
            assert any(b.claim.is_admitted for b in self.bodies)
            wanted = min(self.budget.held_size + c.wanted_size - c.size for c in waiting)
            first_fits = wanted <= self.limit and len(waiting) == 1
            assert not first_fits

    @invariant()
    def each_is_told_once_if_it_had_to_wait(self) -> None:
        for one in self.bodies:
            assert len(one.told) <= 1
            assert not (one.told and one.claim.is_waiting)

    def teardown(self) -> None:
        for one in self.bodies:
            self.budget.release(one.claim)
        self.budget.count(-self.unsent)
        assert (self.budget.held_size, self.budget.waiting_count) == (0, 0)


TestAnyOrder = Budget.TestCase
