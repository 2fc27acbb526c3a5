"""Templates and static files: what pages show and no process has imported.

A change of one calls for no new process, but pages that are open are loaded again. An application
may write such a file for each page that it makes, a plot say: then each page that is loaded again
would have itself loaded again, for ever. So a file that has changed several times in quick
succession counts no more until it has been left alone for a while; the log says so.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from asyncwsgi.clock import clock
from asyncwsgi.server_log import logger

PAGE_SUFFIXES = (
    ".html", ".htm", ".jinja", ".jinja2", ".j2", ".djhtml", ".mako", ".pt",
    ".css", ".js", ".mjs", ".wasm",
    ".svg", ".png", ".jpg", ".jpeg", ".gif", ".webp", ".avif", ".ico",
    ".woff", ".woff2", ".ttf", ".otf",
)  # fmt: skip
STYLESHEET_SUFFIX = ".css"
LONGEST_LOOP = 5
"""How often in a row a file may change that quickly; the last of them is not told any more."""
LOOP_INTERVAL = 3.0
"""Seconds from one change to the next that may be a loop's: a page is made, loaded and noticed."""


class PageFiles:
    """Tells of changes of such files, but for those that loops bring.

    Args:
        changed: called with the paths of files, one or more.
        name: what a path is called in the log.
    """

    def __init__(
        self, changed: Callable[[set[str]], None], name: Callable[[str], str] = str
    ) -> None:
        self._changed = changed
        self._name = name
        self._changes: dict[str, tuple[int, float]] = {}
        """How often each has changed in a row, and when it did last."""

    def tell(self, paths: set[str]) -> None:
        """Tell that files have changed."""
        now = clock.monotonic()
        last = {path: c for path, c in self._changes.items() if now - c[1] <= LOOP_INTERVAL}
        for path in paths:
            last[path] = (last[path][0] + 1 if path in last else 1, now)
        self._changes = last
        told = {path for path in paths if last[path][0] < LONGEST_LOOP}
        for path in sorted(paths - told):
            if last[path][0] == LONGEST_LOOP:
                logger.error(
                    "%s has changed %d times within seconds, so the pages that show it seem to "
                    "write it; they are not refreshed for it before it is left alone; "
                    "--reload-exclude '*/%s' has --reload ignore the file",
                    self._name(path), LONGEST_LOOP, Path(path).name,
                )  # fmt: skip
        if told:
            logger.info("refreshing: %s changed", self._name(min(told)))
            self._changed(told)
