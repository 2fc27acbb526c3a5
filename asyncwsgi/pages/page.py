"""Makes a page of HTML, with the stylesheet in it and the headers that go with it.

A page is one response: its styles and its script are within it, since it may stand for a server
that serves nothing else. It knows neither a server nor an application.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

# What only a page needs is imported when one is made: every server imports this module.

STYLESHEET = Path(__file__).with_name("style.css")
"""Its file, for pages that link it."""

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
{head}</head>
<body>
{body}
{script}</body>
</html>
"""


class Page(NamedTuple):
    """A page as a response has it, but for its status."""

    headers: list[tuple[str, str]]
    body: bytes


def make_page(title: str, body: str, *, style: str = "", script: str = "", head: str = "") -> Page:
    """Make a page that loads nothing, and that the browser lets do nothing else.

    Args:
        title: text; it is escaped here.
        body: HTML, in which whatever comes from elsewhere is escaped.
        style: CSS behind the common stylesheet, such as the page alone needs.
        head: HTML in the head, behind all else there.
        script: JavaScript at the end of the body; it may fetch from the page's origin.
    """
    import html

    styles = stylesheet() + style
    text = _PAGE.format(
        title=html.escape(title),
        style=styles,
        head=head,
        body=body,
        script=f"<script>{script}</script>\n" if script else "",
    )
    # What a file was read from, or an exception has said, may be no Unicode.
    content = text.encode(errors="backslashreplace")
    headers = [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Length", str(len(content))),
        ("Content-Security-Policy", _policy(styles, script)),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Cache-Control", "no-store"),
    ]
    return Page(headers, content)


@functools.cache
def stylesheet() -> str:
    """The common stylesheet."""
    return STYLESHEET.read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Have the browser run and apply what the page was made with, and nothing that got into it."""
    allowed = f"default-src 'none'; img-src data:; style-src {_source(style)}"
    if script:
        allowed += f"; script-src {_source(script)}; connect-src 'self'"
    return f"{allowed}; base-uri 'none'; form-action 'none'"


def _source(text: str) -> str:
    import base64
    import hashlib

    # CSP 3, 2.3.1: a hash-source.
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
