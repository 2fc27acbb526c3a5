"""How messages put numbers and types into English."""

from __future__ import annotations

from collections.abc import Iterable


def counted(number: int, noun: str) -> str:
    """``1 request``, ``2 requests``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def with_article(kind: type) -> str:
    """``a str``, ``an int``."""
    name = kind.__name__
    return f"an {name}" if name[0] in "aeiouAEIO" else f"a {name}"


def nearest(name: str, known: Iterable[str]) -> str:
    """The cure for a name that is none of `known`."""
    import difflib

    matches = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {matches[0]!r}?" if matches else "see docs/options.md"
