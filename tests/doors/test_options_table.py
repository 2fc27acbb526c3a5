"""docs/options.md is what the declarations of the options give."""

from __future__ import annotations

import runpy
from pathlib import Path

from asyncwsgi.config import option_fields
from asyncwsgi.supervision.options import ProcessOptions

DOCS = Path(__file__).parents[2] / "docs"


def test_the_table_is_up_to_date() -> None:
    expected = runpy.run_path(str(DOCS / "write_options.py"))["render"]()
    actual = (DOCS / "options.md").read_text(encoding="utf-8")
    assert actual == expected, "docs/options.md is behind asyncwsgi/config.py; run `make docs`"


def test_every_option_is_in_the_table() -> None:
    lines = (DOCS / "options.md").read_text(encoding="utf-8").splitlines()
    rows = [line.split(" | ")[0] for line in lines if line.startswith("| `")]
    fields = [*option_fields(), *option_fields(ProcessOptions)]
    assert rows == [f"| `{field.name}`" for field, _ in fields]
