"""Paths that the loop answers itself, for whoever looks from outside whether to send requests.

An orchestrator or a load balancer asks two things. Whether the process lives, so that it is not
replaced without need: the loop answers, also while every worker thread is busy. And whether it is
ready, so that new clients go elsewhere: that turns false when the whole server begins to stop,
before its listeners close (see `asyncwsgi.server.server.Server.begin_shutdown`). A server that has
a successor on the same listeners stays ready, since the service goes on.
"""

from __future__ import annotations

import functools

from asyncwsgi.http1.head import RequestHead
from asyncwsgi.pages.page import Page, make_page

_METHODS = ("GET", "HEAD")
_PAGE = """\
<main class="column">
<p class="bar"><span class="badge {kind}">{status}</span><b>{title}</b></p>
<p class="quiet">{text}</p>
</main>"""


class Probes:
    """What is answered at which path.

    Args:
        health_path: answered with 200 as long as the loop runs; empty for none.
        ready_path: answered with 200 as long as the server is ready, else with 503; empty for none.
    """

    def __init__(self, health_path: str = "", ready_path: str = "") -> None:
        self.is_ready = True
        """Whether new clients are welcome."""
        self._health_path = health_path
        self._ready_path = ready_path

    def status_for(self, head: RequestHead) -> int | None:
        """The status of the answer; None if the request is the application's."""
        path = head.target.partition("?")[0]
        # The empty path is no request target: one that is not configured answers nothing.
        if path not in (self._health_path, self._ready_path):
            return None
        if head.method not in _METHODS:
            return 405
        if path == self._ready_path and not self.is_ready:
            return 503
        return 200

    def page_for(self, head: RequestHead, status: int, accept: str) -> Page | None:
        """What people are shown of the answer; None for whoever reads but its status.

        Args:
            head: of the request.
            status: see `status_for`.
            accept: the header, or empty.
        """
        if status == 405 or not prefers_html(accept):
            return None
        return _page(status, asks_if_ready=head.target.partition("?")[0] == self._ready_path)


@functools.cache
def _page(status: int, *, asks_if_ready: bool) -> Page:
    kind, title = "good", "This server lives"
    text = "Its loop answers. Whether the application does is not asked here."
    if status == 503:
        kind, title = "warn", "This server stops"
        text = "It is not ready for new clients; requests that are under way are served."
    elif asks_if_ready:
        title = "This server is ready"
        text = "New clients are welcome."
    return make_page(title, _PAGE.format(kind=kind, status=status, title=title, text=text))


def prefers_html(accept: str) -> bool:
    """Whether a header Accept has ``text/html`` before anything else, as that of a browser has."""
    ranges = [_media_range(part) for part in accept.split(",")]
    # RFC 9110 12.5.1; what is equally welcome goes by its order, as clients mean it.
    best, quality = max(ranges, key=lambda each: each[1])
    return best == "text/html" and quality > 0


def _media_range(text: str) -> tuple[str, float]:
    """A media range and how welcome it is."""
    name, *parameters = (part.strip().lower() for part in text.split(";"))
    weights = [value for value in parameters if value.startswith("q=")]
    try:
        return name, float(weights[0][2:]) if weights else 1.0
    except ValueError:
        return name, 0.0
