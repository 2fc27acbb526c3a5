"""The table of what is seen through each way in is what is seen."""

from __future__ import annotations

import re

import pytest

from tests.deployment.ways import PAGE, TABLE, WAYS, seen_through


@pytest.mark.parametrize("name", WAYS)
def test_the_page_says_what_is_seen(name: str) -> None:
    [table] = TABLE.findall(PAGE.read_text(encoding="utf-8"))
    rows = {cells[0]: cells[1:] for cells in map(cells_of, table.splitlines())}
    # `python -m tests.deployment.ways` writes it.
    assert rows[name] == [f"`{value}`" for value in seen_through(WAYS[name])]


def test_the_page_has_no_other_way() -> None:
    [table] = TABLE.findall(PAGE.read_text(encoding="utf-8"))
    assert [cells_of(line)[0] for line in table.splitlines()[2:]] == list(WAYS)


def cells_of(line: str) -> list[str]:
    return re.split(r" \| ", line.removeprefix("| ").removesuffix(" |"))
