"""Symbolic links on the way to what is watched.

What counts goes by its name, as it was given or imported: if a link on the way is pointed
elsewhere, other files have that name from then on, and that is the change. So does Kubernetes
change a ConfigMap: ``site.toml`` leads to ``..data/site.toml``, and ``..data`` to another directory
each time.

The kernel goes by directories and knows no names. It is asked about the directory to which a name
leads, and about those in which the links are.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

MOST_LINKS = 40
"""On one way; as for the kernel, whoever meets more goes round (path_resolution(7))."""


class Way(NamedTuple):
    """Where a name leads."""

    name: str
    real: str
    """The path without a link in it; what is not there yet, too, leads somewhere."""
    links: list[str]
    """The links that are met, each by its real directory."""


def follow(name: str) -> Way:
    """Find the way of an absolute path; nothing has to be there."""
    links: list[str] = []
    real = os.sep
    ahead = list(Path(name).parts[::-1])
    while ahead:
        part = ahead.pop()
        if part == os.pardir:
            real = os.path.dirname(real)  # noqa: PTH120  strings suffice
            continue
        real = os.path.join(real, part)  # noqa: PTH118  an absolute target begins at the root
        if len(links) < MOST_LINKS and (target := _target(real)) is not None:
            links.append(real)
            ahead += Path(target).parts[::-1]
            real = os.path.dirname(real)  # noqa: PTH120
    return Way(name, real, links)


def _target(path: str) -> str | None:
    try:
        return os.readlink(path)  # noqa: PTH115
    except OSError:
        return None
