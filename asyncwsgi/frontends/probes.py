"""Paths that the loop answers itself, for whoever looks from outside whether to send requests.

An orchestrator or a load balancer asks two things. Whether the process lives, so that it is not
replaced without need: the loop answers, also while every worker thread is busy. And whether it is
ready, so that new clients go elsewhere: that turns false when the whole server begins to stop,
before its listeners close (see `asyncwsgi.server.server.Server.begin_shutdown`). A server that has
a successor on the same listeners stays ready, since the service goes on.
"""

from __future__ import annotations

from asyncwsgi.http1.head import RequestHead

_METHODS = ("GET", "HEAD")


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
