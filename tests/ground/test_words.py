"""Numbers and types in messages."""

from __future__ import annotations

import pytest

from asyncwsgi.words import counted, with_article


@pytest.mark.parametrize(
    ("number", "expected"), [(0, "0 requests"), (1, "1 request"), (2, "2 requests")]
)
def test_one_is_no_plural(number: int, expected: str) -> None:
    assert counted(number, "request") == expected


class Executor:
    pass


@pytest.mark.parametrize(
    ("kind", "expected"), [(int, "an int"), (str, "a str"), (Executor, "an Executor")]
)
def test_a_vowel_has_another_article(kind: type, expected: str) -> None:
    assert with_article(kind) == expected
