"""Werkzeug's debugger as it is here: whom it trusts, and its pages, which can be seen again.

A module of its own because it cannot be imported without Werkzeug.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from werkzeug.debug import DebuggedApplication
from werkzeug.debug.tbtools import DebugTraceback

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication

PAGES = "/-/debugger/"
"""What the paths of pages begin with."""
MOST_PAGES = 20
"""Exceptions whose pages are kept: the newest. What Werkzeug keeps of one, which is its frames and
all that they hold, it never lets go of."""


class Debugged(DebuggedApplication):
    """The debugger around an application.

    Args:
        application: what is debugged.
        is_trusted: whether a Host is one of those that are served, besides Werkzeug's.
        on_debugged: a key of the environ; a callable there is called, once, with the exception that
            the debugger shows, and the path under which its page can be seen again.
    """

    def __init__(
        self, application: WSGIApplication, is_trusted: Callable[[str], bool], on_debugged: str
    ) -> None:
        super().__init__(application, evalex=True)
        self._is_trusted = is_trusted
        self._on_debugged = on_debugged
        self._pages: OrderedDict[str, DebugTraceback] = OrderedDict()
        self._page_count = 0

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        shown = self._pages.get(environ.get("PATH_INFO", ""))
        if shown is None or not self.check_host_trust(environ):
            return super().__call__(environ, start_response)
        page = shown.render_debugger_html(
            evalex=self.evalex,
            secret=self.secret,
            evalex_trusted=bool(self.check_pin_trust(environ)),
        ).encode("utf-8", "replace")
        headers = [
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Length", str(len(page))),
            ("Cache-Control", "no-store"),
        ]
        start_response("200 OK", headers)
        return [page]

    def check_host_trust(self, environ: dict[str, Any]) -> bool:
        return self._is_trusted(environ.get("HTTP_HOST", "")) or super().check_host_trust(environ)

    def check_pin_trust(self, environ: dict[str, Any]) -> bool | None:
        # Asked, among others, while an exception is in hand, whose page is about to be made.
        error = sys.exc_info()[1]
        if error is not None and (tell := environ.pop(self._on_debugged, None)) is not None:
            tell(error, f"{environ.get('SCRIPT_NAME', '')}{self._keep(error, environ)}")
        return super().check_pin_trust(environ)

    def _keep(self, error: BaseException, environ: dict[str, Any]) -> str:
        """Keep what the page of an exception is made of. Returns its path."""
        shown = DebugTraceback(error, skip=1)
        # The contexts that Flask wants kept are in the list whose append() it was given.
        preserve = environ.get("werkzeug.debug.preserve_context")
        contexts = getattr(preserve, "__self__", [])
        for frame in shown.all_frames:
            self.frames[id(frame)] = frame
            self.frame_contexts[id(frame)] = contexts
        self._page_count += 1
        path = f"{PAGES}{self._page_count}"
        self._pages[path] = shown
        while len(self._pages) > MOST_PAGES:
            self._pages.popitem(last=False)
        return path
