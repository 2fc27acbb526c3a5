"""The code blocks of README and docs/, as a reader finds them.

A block says by its language what it is:

``python``
    A program. One whose first line is a comment that names a file (``# shop.py``) is that file, and
    later blocks of the page find it; ``# shop.py, continued`` is more of it. Any other is a
    fragment: it may use what `tests/docs/given` has for its page. If it has tests, pytest runs it.
``ipython``
    A cell of a notebook, with the magic of this package.
``sh``
    Commands. ``pip install`` says what is installed for the whole page, in blocks as in sentences.
``ini``, ``nginx``, ``toml``
    Configuration: of pytest, or of ``pserve`` if its section is that of a server; of nginx; of this
    package.
``json``
    A file for ``--log-config``; or an entry of ``examples/vscode/launch.json``.
``text``
    What something shows.

Comments tell the tests what readers need not be told. ``<!-- serves: /path -->`` before a block: it
serves until it is interrupted, and is asked for that path (commands called ``asyncwsgi`` always do;
for ``/`` if none is named). ``<!-- needs: django -->`` in a page: its readers have that already.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", *sorted(f"docs/{path.name}" for path in ROOT.joinpath("docs").glob("*.md")))

_BLOCK = re.compile(
    r"(?:^<!-- serves: (?P<path>/\S*) -->\n)?^```(?P<language>\S*)\n(?P<source>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_FILE = re.compile(r"# (?P<name>\S+\.py)(?P<continued>, continued)?\n")
_INSTALLATION = re.compile(r"\bpip install ([^`\n]+)|^<!-- needs: (.+) -->$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One code block."""

    page: str
    line: int
    language: str
    source: str
    path: str | None
    """For what a block that serves is asked."""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def file(self) -> str | None:
        """The file that it is, or a part of."""
        match = _FILE.match(self.source) if self.language == "python" else None
        return match and match["name"]

    @property
    def is_continued(self) -> bool:
        """Whether it is no more than a further part of its file."""
        match = _FILE.match(self.source)
        return match is not None and match["continued"] is not None

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command of a block in ``sh``."""
        lines = self.source.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]


def blocks_of(page: str) -> list[Block]:
    """The blocks of a page, in order."""
    text = ROOT.joinpath(page).read_text(encoding="utf-8")
    return [
        Block(
            page,
            text.count("\n", 0, match.start("language")) + 1,
            match["language"],
            match["source"],
            match["path"],
        )
        for match in _BLOCK.finditer(text)
    ]


def installed_by(page: str) -> list[str]:
    """What a page has its reader install, or takes for granted: arguments of ``pip install``."""
    text = ROOT.joinpath(page).read_text(encoding="utf-8")
    return [
        requirement
        for match in _INSTALLATION.finditer(text)
        for requirement in shlex.split(match[1] or match[2], comments=True)
    ]


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
