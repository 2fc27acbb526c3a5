"""The page that says why code does not serve: whatever that code was."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from html import unescape
from pathlib import Path
from textwrap import dedent

import pytest

from asyncwsgi import AppImportError
from asyncwsgi.app_loading import load_application
from asyncwsgi.development.error_page import NEW_CODE, NO_CODE, ErrorPage, answer_page_load
from asyncwsgi.development.report import Report, report_of, report_of_text
from tests.apps import hello
from tests.client import connect
from tests.conftest import Serve

BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8"
EVIL = "<script>alert('&\"')</script>"

Failing = Callable[..., Report]


@pytest.fixture
def failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Failing:
    """Loads an application of the source that it is called with; the report of why it cannot."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def failing(source: str, app: str = "spam.py") -> Report:
        Path("spam.py").write_text(dedent(source), encoding="utf-8")
        with pytest.raises(AppImportError) as raised:
            load_application(app)
        return report_of(raised.value)

    return failing


def page_of(report: Report, editor: str = "") -> str:
    blocks = answer_page_load({}, lambda *_: print, report, NEW_CODE, editor)
    return b"".join(blocks).decode()


def text_of(fragment: str) -> str:
    return unescape(re.sub("<[^>]+>", "", fragment)).strip()


def places_in(page: str) -> list[str]:
    """The places in the order in which they are shown."""
    return [text_of(each) for each in re.findall(r'class="place"[^>]*>(.*?)</', page)]


def test_the_users_own_frame_comes_first(failing: Failing, tmp_path: Path) -> None:
    report = failing("import json\ndef load():\n    json.loads('{')\n\nload()\n")
    page = page_of(report)
    places = places_in(page)
    assert places[:2] == ["spam.py:3", "spam.py:5"]
    assert [each for each in places[2:] if "spam.py" in each] == []
    fold = page.partition("of Python and installed packages</summary>")[2]
    assert "decoder.py" in fold
    assert "app_loading.py" in fold


def test_the_line_is_marked_among_those_around_it(failing: Failing) -> None:
    page = page_of(failing("x = 1\ny = [int('one')]\nz = 3\n"))
    (lines,) = re.findall(r'<ol class="source".*?</ol>', page)
    assert [text_of(line) for line in lines.split("</li>")] == [
        "x = 1",
        "y = [int('one')]",
        "z = 3",
        "",
    ]
    assert re.findall(r'<li value="(\d)" class="here"', lines) == ["2"]
    assert text_of(re.findall("<mark>(.*)</mark>", lines)[0]) == "int('one')"


def test_a_syntax_error_is_shown_where_it_is(failing: Failing) -> None:
    page = page_of(failing("x = 1\nspam = (1 2)\n"))
    assert places_in(page)[0] == "spam.py:2"
    assert text_of(re.findall(r"<h1>(.*?)</h1>", page)[0]).startswith("SyntaxError: invalid syntax")
    assert "<mark>1 2</mark>" in page


def test_what_caused_it_is_told_with_its_own_frames(failing: Failing) -> None:
    page = page_of(
        failing(
            """
            try:
                int("one")
            except ValueError as error:
                raise LookupError("spam") from error
            """
        )
    )
    heads = [text_of(each) for each in re.findall(r"<h[12]>(.*?)</h[12]>", page)]
    assert heads == [
        "LookupError: spam",
        "It was caused byValueError: invalid literal for int() with base 10: 'one'",
    ]
    assert places_in(page)[0] == "spam.py:5"
    assert "spam.py:3" in places_in(page)


def test_without_an_exception_there_is_what_the_server_says(failing: Failing) -> None:
    page = page_of(failing("", app="nothing:app"))
    assert "<h1>there is no module &#x27;nothing&#x27;; run from the directory" in page
    assert '<details class="block">' in page


def test_the_traceback_is_there_as_text(failing: Failing) -> None:
    report = failing("1 / 0\n")
    (text,) = re.findall(r'<pre id="text"[^>]*>\n(.*?)</pre>', page_of(report), re.DOTALL)
    assert unescape(text) == report["text"]
    assert report["text"].startswith("Traceback (most recent call last):")


def test_places_are_links_to_the_editor(failing: Failing, tmp_path: Path) -> None:
    page = page_of(failing("1 / 0\n"), "subl://open?url=file://{path}&line={line}")
    link = f"subl://open?url=file://{tmp_path}/spam.py&line=1"
    assert unescape(re.findall(r'<a class="place" href="([^"]*)"', page)[0]) == link


def test_nothing_of_the_application_becomes_html(failing: Failing) -> None:
    report = failing(
        f"""
        class Evil(Exception):
            pass
        Evil.__qualname__ = {EVIL!r}
        try:
            exec(compile("1 / 0", {EVIL!r}, "exec"), {{}})
        except ZeroDivisionError:
            raise Evil({EVIL!r})
        """
    )
    report["failures"].append({"link": EVIL, "type": EVIL, "message": EVIL, "frames": []})
    page = page_of(report, f"x:{EVIL}{{path}}")
    assert page.count("<script>") == 1  # that of the page itself
    assert EVIL.partition("(")[0] not in page
    assert "&lt;script&gt;alert(&#x27;&amp;&quot;&#x27;)" in page


def test_a_page_of_a_huge_report_is_bounded(failing: Failing) -> None:
    lines = "\n".join(f"x{number} = '{'&' * 1000}'" for number in range(100))
    page = page_of(failing(f"{lines}\n1 / 0\n{lines}\n"))
    assert len(page) < 100_000


class TestMiddleware:
    @pytest.mark.parametrize(
        ("method", "accept"),
        [("GET", "*/*"), ("GET", "application/json"), ("POST", BROWSER), ("HEAD", BROWSER)],
    )
    def test_everything_but_a_page_load_is_the_applications(
        self, serve: Serve, method: str, accept: str
    ) -> None:
        page = ErrorPage(hello)
        page.report = report_of_text("a traceback")
        with connect(serve(page).addresses[0]) as client:
            client.request(method, "/", None, Accept=accept)
            assert client.reply(method).status == 200

    def test_it_has_no_say_while_nothing_is_broken(self, serve: Serve) -> None:
        page = ErrorPage(hello)
        with connect(serve(page).addresses[0]) as client:
            assert client.get(Accept=BROWSER).body == b"Hello, world!"
            page.report = report_of_text("a traceback")
            reply = client.get(Accept=BROWSER)
            assert (reply.status, reply.header("Cache-Control")) == (500, "no-store")

    def test_an_open_page_learns_whether_it_has_become_another(self, serve: Serve) -> None:
        page = ErrorPage(hello)
        page.report = report_of_text("a traceback")
        with connect(serve(page).addresses[0]) as client:
            shown = re.findall(rb'data-shown="(\w+)"', client.get(Accept=BROWSER).body)[0].decode()
            look = {"Asyncwsgi-Error": shown}
            assert client.get(**look).status == 204
            page.report = report_of_text("another one")
            assert client.get(**look).status == 200
            page.report = None
            reply = client.get(**look)
            assert (reply.status, reply.body) == (200, b""), "the application is not asked"


def test_it_needs_no_application_around_it() -> None:
    statuses = []

    def start_response(status: str, *_: object) -> Callable[[bytes], object]:
        statuses.append(status)
        return print

    report = report_of_text("the first import failed")
    blocks = answer_page_load({}, start_response, report, NO_CODE)
    assert statuses == ["503 Service Unavailable"]
    assert b"The application does not serve" in b"".join(blocks)
