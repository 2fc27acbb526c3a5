"""Shows a browser why the newest code does not serve: the user's own frame first.

What is shown comes from a process that has ended. It is text that may hold anything.
"""

from __future__ import annotations

import hashlib
import html
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asyncwsgi.development.editor import place_link
from asyncwsgi.development.frames import Excerpt, Failure, Frame
from asyncwsgi.development.report import Report
from asyncwsgi.pages.page import make_page
from asyncwsgi.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication

_LINKS = {
    "cause": "It was caused by",
    "context": "It was raised while this one was handled:",
    "part": "A part of the group:",
}
_SHOWN = "HTTP_ASYNCWSGI_ERROR"
"""The header by which the script asks whether the page is still what there is to show."""
_STYLE, _SCRIPT = (Path(__file__).with_name(f"error_page.{kind}") for kind in ("css", "js"))

# Without scripts, a page can only be loaded again.
_HEAD = '<noscript><meta http-equiv="refresh" content="1"></noscript>'


@dataclass(frozen=True)
class Trouble:
    """What a report means for who opens a page."""

    heading: str
    hint: str
    status: str


NEW_CODE = Trouble(
    "The new code cannot be imported",
    "Correct it and save: this page becomes another as soon as it serves. Until then the code from "
    "before serves everything but page loads.",
    "500 Internal Server Error",
)
NO_CODE = Trouble(
    "The application does not serve",
    "Correct it and save: this page becomes another as soon as it serves.",
    "503 Service Unavailable",
)


class ErrorPage:
    """WSGI middleware that answers page loads with a report, if there is one.

    A page load is a GET that accepts HTML: who navigates shall see the error. Scripts, styles,
    pictures and calls of an API are the application's, so that a page which is open stays usable.

    Args:
        application: what is called for all else.
        trouble: what a report means.
        editor: see `answer_page_load`.
    """

    def __init__(
        self, application: WSGIApplication, trouble: Trouble = NEW_CODE, editor: str = ""
    ) -> None:
        self.application = application
        self.report: Report | None = None
        """Why newer code does not serve. Set from the loop, read by worker threads."""
        self._trouble = trouble
        self._editor = editor

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        report = self.report
        if is_look(environ) or (report is not None and is_page_load(environ)):
            return answer_page_load(environ, start_response, report, self._trouble, self._editor)
        return self.application(environ, start_response)


def is_page_load(environ: dict[str, Any]) -> bool:
    """Whether somebody navigates: a GET that accepts HTML."""
    accepts_html = "text/html" in environ.get("HTTP_ACCEPT", "").lower()
    return environ["REQUEST_METHOD"] == "GET" and accepts_html


def is_look(environ: dict[str, Any]) -> bool:
    """Whether a page that is open asks if it has become another."""
    return _SHOWN in environ


def answer_page_load(
    environ: dict[str, Any],
    start_response: StartResponse,
    report: Report | None,
    trouble: Trouble,
    editor: str = "",
) -> Iterable[bytes]:
    """Answer a page load, or the look of an open page, which never gets to the application.

    Args:
        environ: of the request. Whether its client may see the report is for the caller to know.
        start_response: of it, too.
        report: None, if there is nothing to report any more.
        trouble: what it means.
        editor: the link by which places are opened (see `editor_template`); empty for none.
    """
    if is_look(environ):
        headers = [("Cache-Control", "no-store")]
        if report is not None and environ[_SHOWN] == _id_of(report):
            start_response("204 No Content", headers)
        else:
            start_response("200 OK", [*headers, ("Content-Type", "text/plain")])
        return []
    assert report is not None, "only a look asks in vain"
    body = _body(report, trouble, editor)
    page = make_page(
        trouble.heading,
        body,
        style=_STYLE.read_text(encoding="utf-8"),
        script=_SCRIPT.read_text(encoding="utf-8"),
        head=_HEAD,
    )
    start_response(trouble.status, page.headers)
    return [page.body]


def _id_of(report: Report) -> str:
    return hashlib.sha256(report["text"].encode(errors="replace")).hexdigest()[:32]


def _body(report: Report, trouble: Trouble, editor: str) -> str:
    writer = _Writer(report["directory"], editor)
    first, others = next(iter(report["failures"]), None), report["failures"][1:]
    heading = html.escape(report["message"]) if first is None else _exception(first)
    opens = "<kbd>o</kbd> opens the editor, " if editor else ""
    return f"""\
<main class="column" data-shown="{_id_of(report)}">
<div class="bar"><span class="badge bad">{html.escape(trouble.heading)}</span></div>
<h1>{heading}</h1>
<p class="quiet">{html.escape(trouble.hint)}</p>
{"" if first is None else writer.frames(first)}
{"".join(map(writer.failure, others))}
<details class="block">
<summary>The traceback as text</summary>
<pre id="text" tabindex="0">
{html.escape(report["text"])}</pre>
</details>
<p class="bar quiet"><button id="copy" hidden>Copy the traceback</button>
<span>{opens}<kbd>c</kbd> copies the traceback</span></p>
</main>"""


def _exception(failure: Failure) -> str:
    message = html.escape(failure["message"])
    return f'<span class="bad">{html.escape(failure["type"])}</span>{message and ": "}{message}'


class _Writer:
    """Frames as HTML, with their places as links."""

    def __init__(self, directory: str, editor: str) -> None:
        self._directory = os.path.join(directory, "") if directory else ""  # noqa: PTH118
        self._editor = editor

    def failure(self, failure: Failure) -> str:
        link = html.escape(_LINKS.get(failure["link"], ""))
        heading = f'<h2><span class="quiet">{link}</span>{_exception(failure)}</h2>'
        return f"<section>{heading}{self.frames(failure)}</section>"

    def frames(self, failure: Failure) -> str:
        """The user's own, the innermost first and open; the others behind a fold."""
        frames = failure["frames"][::-1]
        own = [frame for frame in frames if frame["is_own"]] or frames[:1]
        others = [frame for frame in frames if frame not in own]
        blocks = [self._block(frame, is_open=not number) for number, frame in enumerate(own)]
        return "".join(blocks) + self._fold(others)

    def _block(self, frame: Frame, *, is_open: bool) -> str:
        excerpt = frame.get("excerpt")
        if excerpt is None:
            return f'<div class="block"><div class="bar">{self._title(frame)}</div></div>'
        opened = " open" if is_open else ""
        source = _source(frame, excerpt)
        summary = f"<summary>{self._title(frame)}</summary>"
        return f'<details class="block"{opened}>{summary}{source}</details>'

    def _fold(self, frames: list[Frame]) -> str:
        if not frames:
            return ""
        rows = "".join(f"<li>{self._title(frame)}{_line(frame)}</li>" for frame in frames)
        title = f"{counted(len(frames), 'frame')} of Python and installed packages"
        return f"<details><summary>{title}</summary><ul>{rows}</ul></details>"

    def _title(self, frame: Frame) -> str:
        function = html.escape(frame["function"])
        is_named = function and frame["function"] != "<module>"
        return self._place(frame) + (f" in <code>{function}</code>" if is_named else "")

    def _place(self, frame: Frame) -> str:
        path = frame["file"]
        name = html.escape(f"{path.removeprefix(self._directory)}:{frame['line']}")
        if link := place_link(self._editor, path, frame["line"]):
            return f'<a class="place" href="{html.escape(link)}">{name}</a>'
        return f'<span class="place">{name}</span>'


def _line(frame: Frame) -> str:
    source = html.escape(frame["source"])
    return source and f"<br><code>{source}</code>"


def _source(frame: Frame, excerpt: Excerpt) -> str:
    rows = []
    for number, line in enumerate(excerpt["lines"], excerpt["first"]):
        is_here = number == frame["line"]
        text = _marked(line, excerpt["start"], excerpt["end"]) if is_here else html.escape(line)
        here = ' class="here" aria-current="true"' if is_here else ""
        rows.append(f'<li value="{number}"{here}><code>{text}</code></li>')
    return f'<ol class="source" tabindex="0">{"".join(rows)}</ol>'


def _marked(line: str, start: int, end: int) -> str:
    parts = line[:start], line[start:end], line[end:]
    before, here, behind = map(html.escape, parts)
    # What is the whole line, or unknown, needs no mark beside that of the line.
    is_part = here and (before.strip() or behind.strip())
    return f"{before}<mark>{here}</mark>{behind}" if is_part else html.escape(line)
