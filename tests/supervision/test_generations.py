"""Which children are started and stopped, so that as many serve as shall."""

from __future__ import annotations

from asyncwsgi.supervision.generations import Generations


def settle(generations: Generations[str], names: str) -> list[str]:
    """Start children by the letters of `names` and let each serve; what is done, in order."""
    letters = iter(names)
    done = []
    while count := generations.missing():
        started = [next(letters) for _ in range(count)]
        for name in started:
            generations.started(name)
        done.append("+" + "".join(started))
        for name in started:
            generations.serves(name)
            for old in generations.surplus():
                generations.ended(old)
                done.append("-" + old)
    return done


def test_the_first_is_started_alone_and_the_others_together() -> None:
    assert settle(Generations(4), "abcd") == ["+a", "+bcd"]


def test_a_new_generation_takes_the_places_of_the_old_one_by_one() -> None:
    generations = Generations[str](3)
    settle(generations, "abc")
    assert generations.begin() == []
    assert settle(generations, "def") == ["+d", "-a", "+e", "-b", "+f", "-c"]


def test_a_new_generation_supersedes_what_is_being_imported() -> None:
    generations = Generations[str](2)
    generations.started("a")
    assert generations.begin() == ["a"]
    assert settle(generations, "bc") == ["+b", "+c"]


def test_a_generation_that_is_given_up_leaves_those_from_before() -> None:
    generations = Generations[str](2)
    settle(generations, "ab")
    generations.begin()
    generations.started("c")
    generations.give_up()
    assert (generations.missing(), generations.surplus()) == (0, [])


def test_one_that_ends_is_missed() -> None:
    generations = Generations[str](3)
    settle(generations, "abc")
    generations.ended("b")
    assert settle(generations, "d") == ["+d"]


def test_one_that_is_outdated_serves_until_its_successor_does() -> None:
    generations = Generations[str](2)
    settle(generations, "ab")
    generations.outdates("b")
    assert settle(generations, "c") == ["+c", "-b"]


def test_more_are_started_and_the_newest_stopped_when_their_number_changes() -> None:
    generations = Generations[str](1)
    settle(generations, "a")
    generations.wanted = 3
    assert settle(generations, "bc") == ["+bc"]
    generations.wanted = 1
    assert generations.surplus() == ["c", "b"]


def test_one_that_imports_is_stopped_when_it_is_not_wanted_any_more() -> None:
    generations = Generations[str](1)
    settle(generations, "a")
    generations.wanted = 2
    generations.started("b")
    generations.wanted = 1
    assert generations.surplus() == ["b"]


def test_in_the_midst_of_a_replacement_outdated_ones_are_stopped_first() -> None:
    generations = Generations[str](2)
    settle(generations, "ab")
    generations.begin()
    generations.started("c")
    generations.wanted = 1
    assert generations.surplus() == ["a"]
    generations.ended("a")
    assert settle_importing(generations) == ["-b"]


def settle_importing(generations: Generations[str]) -> list[str]:
    """Let those serve that import."""
    for name in list(generations.importing):
        generations.serves(name)
    surplus = generations.surplus()
    for name in surplus:
        generations.ended(name)
    return [f"-{name}" for name in surplus] + settle(generations, "")
