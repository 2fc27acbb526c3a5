"""Templates and static files: which they are, and what becomes of their changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from asyncwsgi.development.options import Development
from asyncwsgi.reloading.page_files import (
    LONGEST_LOOP,
    LOOP_INTERVAL,
    PAGE_SUFFIXES,
    PageFiles,
)
from asyncwsgi.reloading.sources import Sources
from tests.client import Client
from tests.http.helpers import Clock
from tests.reloading.conftest import Project


@pytest.mark.parametrize(
    ("options", "refreshes"),
    [
        ({"reload": True}, True),
        ({"debug": True}, True),
        ({"debug": True, "refresh": False}, False),
        ({"debug": True, "reload": False}, False),
        ({"refresh": True}, False),  # a variable may say so to many programs
    ],
)
def test_reloading_implies_it(options: dict[str, bool], refreshes: bool) -> None:
    given = {"reload": None, "refresh": None, "debugger": False, **options}
    assert Development.from_options(given).refresh is refreshes


class TestWhichCount:
    def sources(self, tmp_path: Path, **more: Any) -> Sources:
        sources = Sources(page_suffixes=PAGE_SUFFIXES, directory=str(tmp_path), **more)
        sources.add_roots([str(tmp_path)])
        return sources

    @pytest.mark.parametrize(
        "name", ["templates/a.html", "a.jinja2", "static/site.css", "b/c/d.js", "logo.svg"]
    )
    def test_those_below_the_roots(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        sources = self.sources(tmp_path)
        assert sources.counts(str(path))
        assert sources.is_for_pages(str(path))
        assert str(path) in sources.stamps()

    def test_code_is_none_of_them(self, tmp_path: Path) -> None:
        assert not self.sources(tmp_path).is_for_pages(str(tmp_path / "web.py"))

    @pytest.mark.parametrize("name", ["node_modules/a/b.js", ".git/c.html", "data.json"])
    def test_what_is_skipped_or_something_else_does_not(self, tmp_path: Path, name: str) -> None:
        assert not self.sources(tmp_path).counts(str(tmp_path / name))

    def test_nor_does_what_is_excluded(self, tmp_path: Path) -> None:
        sources = self.sources(tmp_path, exclude=["uploads"])
        assert not sources.counts(str(tmp_path / "uploads" / "a.png"))

    def test_what_is_included_calls_for_new_code(self, tmp_path: Path) -> None:
        sources = self.sources(tmp_path, include=["*.html"])
        assert not sources.is_for_pages(str(tmp_path / "a.html"))
        assert sources.is_for_pages(str(tmp_path / "a.css"))

    def test_none_does_where_pages_are_not_refreshed(self, tmp_path: Path) -> None:
        sources = Sources()
        sources.add_roots([str(tmp_path)])
        assert not sources.counts(str(tmp_path / "a.html"))


class TestLoops:
    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> Clock:
        clock = Clock()
        monkeypatch.setattr("asyncwsgi.reloading.page_files.clock", clock)
        return clock

    def test_a_file_that_pages_write_is_told_of_some_times_only(
        self, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        told: list[set[str]] = []
        files = PageFiles(told.append)
        for _ in range(3 * LONGEST_LOOP):
            files.tell({"/plot.svg"})
            clock.let_pass(LOOP_INTERVAL / 2)
        assert told == [{"/plot.svg"}] * (LONGEST_LOOP - 1)
        assert caplog.text.count("--reload-exclude '*/plot.svg'") == 1
        files.tell({"/plot.svg", "/a.html"})
        assert told[-1] == {"/a.html"}

    def test_one_that_was_left_alone_for_a_while_counts_again(self, clock: Clock) -> None:
        told: list[set[str]] = []
        files = PageFiles(told.append)
        for _ in range(LONGEST_LOOP):
            files.tell({"/plot.svg"})
        clock.let_pass(LOOP_INTERVAL + 1)
        files.tell({"/plot.svg"})
        assert len(told) == LONGEST_LOOP


def listen(project: Project) -> Client:
    """A browser's stream, behind its first event."""
    client = project.connect()
    client.request("GET", "/-/refresh")
    read_event(client)
    return client


def read_event(client: Client) -> Any:
    while not (line := client.read_line()).startswith(b"data: "):
        assert line, "the stream has ended"
    return json.loads(line.removeprefix(b"data: "))


class TestServed:
    def test_a_change_is_told_and_starts_no_process(self, project: Project) -> None:
        project.write("templates/a.html", "one")
        project.serve()
        project.wait_until_watched()
        pid = project.pid()
        browser = listen(project)
        project.write("templates/a.html", "two")
        assert read_event(browser)["stylesheets"] == []
        project.process.read_until("refreshing: templates/a.html changed")
        project.write("static/site.css", "p {}")
        assert read_event(browser)["stylesheets"] == ["site.css"]
        assert project.pid() == pid
        assert "reloading" not in project.process.log

    def test_all_workers_are_told(self, project: Project) -> None:
        project.serve("--workers", "2")
        project.process.read_until("listening on ")
        browsers = [listen(project) for _ in range(16)]
        project.write("site.css", "p {}")
        assert [read_event(browser)["files"] for browser in browsers] == [1] * 16

    def test_new_code_ends_streams_as_whole_responses(self, project: Project) -> None:
        project.serve()
        project.wait_until_watched()
        browser = project.connect()
        browser.request("GET", "/-/refresh", Connection="close")
        state = read_event(browser)
        project.reload("two")
        assert browser.read_all().endswith(b"\r\n0\r\n\r\n")
        assert project.answers("two")
        browser = project.connect()
        browser.request("GET", "/-/refresh")
        assert read_event(browser)["code"] > state["code"]

    def test_programs_get_none_of_it(self, project: Project) -> None:
        project.write_version("one")
        project.write("serve.py", "import asyncwsgi\nasyncwsgi.run('web:app', port=0, reload=True)")
        project.run("serve.py")
        with project.process.connect() as client:
            assert client.get("/-/refresh").body == b"one"

    def test_nor_does_who_switches_it_off(self, project: Project) -> None:
        project.serve("--no-refresh")
        assert project.get("/-/refresh").body == b"one"
