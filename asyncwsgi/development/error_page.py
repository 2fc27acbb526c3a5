"""Shows a browser why the newest code does not serve, while the old one goes on."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="refresh" content="1">
<title>The new code cannot be imported</title>
<style>
body {{ font-family: sans-serif; margin: 2rem; }}
pre {{ background: #f6f6f6; border-left: 4px solid #c00; overflow-x: auto; padding: 1rem; }}
</style>
</head>
<body>
<h1>The new code cannot be imported</h1>
<pre>{traceback}</pre>
<p>Correct it and save: this page looks once a second whether it has become another. Until then the
code from before serves everything but page loads.</p>
</body>
</html>
"""


class ErrorPage:
    """WSGI middleware that answers page loads with a traceback, if there is one.

    A page load is a GET that accepts HTML: who navigates shall see the error. Scripts, styles,
    pictures and calls of an API are the application's, so that a page which is open stays usable.
    """

    def __init__(self, application: WSGIApplication) -> None:
        self.application = application
        self.traceback: str | None = None
        """Why newer code does not serve. Set from the loop, read by worker threads."""

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        traceback = self.traceback
        if traceback is None or not _is_page_load(environ):
            return self.application(environ, start_response)
        body = _PAGE.format(traceback=html.escape(traceback)).encode()
        headers = [
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
        ]
        start_response("500 Internal Server Error", headers)
        return [body]


def _is_page_load(environ: dict[str, Any]) -> bool:
    accepts_html = "text/html" in environ.get("HTTP_ACCEPT", "").lower()
    return environ["REQUEST_METHOD"] == "GET" and accepts_html
