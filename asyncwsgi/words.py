"""How messages put numbers and types into English."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """``1 request``, ``2 requests``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def with_article(kind: type) -> str:
    """``a str``, ``an int``."""
    name = kind.__name__
    return f"an {name}" if name[0] in "aeiouAEIO" else f"a {name}"
