"""docs/options.md is what the declarations of the options give."""

from __future__ import annotations

import runpy
from pathlib import Path

from asyncwsgi.command.options import ApplicationOptions
from asyncwsgi.config import Config, option_fields
from asyncwsgi.development.options import Development
from asyncwsgi.supervision.options import ProcessOptions

DOCS = Path(__file__).parents[2] / "docs"


def test_the_table_is_up_to_date() -> None:
    expected = runpy.run_path(str(DOCS / "write_options.py"))["render"]()
    actual = (DOCS / "options.md").read_text(encoding="utf-8")
    assert actual == expected, "docs/options.md is behind the declarations; run `make docs`"


def test_every_option_that_is_not_hidden_is_in_the_table() -> None:
    lines = (DOCS / "options.md").read_text(encoding="utf-8").splitlines()
    rows = [line.split(" | ")[0] for line in lines if line.startswith("| `")]
    every = (Config, ProcessOptions, ApplicationOptions, Development)
    options = [option for each in every for option in option_fields(each)]
    assert rows == [f"| `{field.name}`" for field, option in options if not option.hidden]
