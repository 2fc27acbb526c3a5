"""Breakpoints of an editor, in views of processes that a reloader starts.

The editor's configurations are those of ``examples/vscode/launch.json``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.client import Client
from tests.debugging.adapter import Editor, Session
from tests.django.conftest import Project, client_of
from tests.django.conftest import project as project
from tests.doors.processes import Process, replace

LAUNCH = Path(__file__).parents[2] / "examples" / "vscode" / "launch.json"

APP = """\
def app(environ, start_response):
    answer = b"the first answer"
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]
"""
VIEW = """\
from django.http import HttpResponse
from django.urls import path


def app(request):
    answer = b"the first answer"
    return HttpResponse(answer)


urlpatterns = [path("", app)]
"""


class Desk:
    """A developer's editor and terminal, with a breakpoint below the line of the answer."""

    def __init__(self, file: Path) -> None:
        self.file = file
        before = file.read_text().partition("answer = ")[0]
        self.line = before.count("\n") + 2
        self.editor = Editor(file, [self.line], self._run)
        self._processes: list[Process] = []

    def _run(self, command: list[str], environment: Mapping[str, str]) -> int:
        program, *arguments = command
        folder = self.file.parent
        process = Process(*arguments, executable=program, directory=folder, environment=environment)
        self._processes.append(process)
        return process.pid

    @property
    def process(self) -> Process:
        """The program that was launched."""
        [process] = self._processes
        return process

    def launch(self, name: str, *arguments: str) -> Session:
        """Start debugging by the configuration of that name, with more arguments."""
        text = LAUNCH.read_text().replace("${workspaceFolder}", str(self.file.parent))
        [found] = [each for each in json.loads(text)["configurations"] if each["name"] == name]
        found["args"] += arguments
        return self.editor.launch({**found, "env": {"ASYNCWSGI_PORT": "0"}})

    def close(self) -> None:
        for process in self._processes:
            process.close()
        self.editor.close()

    def go_on(self, session: Session, client: Client) -> Any:
        """Have a request meet the breakpoint; look; let it go on to its response."""
        client.request()
        stopped = session.event("stopped")
        assert stopped["reason"] == "breakpoint"
        frame = session.ask("stackTrace", threadId=stopped["threadId"])["stackFrames"][0]
        assert (frame["name"], frame["line"]) == ("app", self.line)
        value = session.ask("evaluate", expression="answer", frameId=frame["id"])["result"]
        session.ask("continue", threadId=stopped["threadId"])
        assert repr(client.reply().body) == value
        return value


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    file = tmp_path / "app.py"
    file.write_text(APP)
    desk = Desk(file)
    yield desk
    desk.close()


@pytest.fixture
def django_desk(project: Project) -> Iterator[Desk]:
    desk = Desk(project.write("urls.py", VIEW))
    yield desk
    desk.close()


def test_it_is_hit_in_one_process(desk: Desk) -> None:
    session = desk.launch("asyncwsgi in one process")
    with desk.process.connect() as client:
        assert desk.go_on(session, client) == "b'the first answer'"


def test_it_is_hit_below_the_reloader_before_and_after_a_change(desk: Desk) -> None:
    desk.launch("asyncwsgi --reload")
    first = desk.editor.process(0)
    with desk.process.connect() as client:
        assert desk.go_on(first, client) == "b'the first answer'"
    replace(desk.file, "the first answer", "another answer")
    second = desk.editor.process(1)
    first.event("terminated")  # until it is told to stop it may have clients, too
    with desk.process.connect() as client:
        assert desk.go_on(second, client) == "b'another answer'"


@pytest.mark.parametrize("flags", [(), ("--preload",)], ids=["started", "forked"])
def test_it_is_hit_in_a_worker(desk: Desk, flags: tuple[str, ...]) -> None:
    desk.launch("asyncwsgi in one process", "--workers", "1", *flags)
    with desk.process.connect() as client:
        session = desk.editor.process(len(flags))
        assert desk.go_on(session, client) == "b'the first answer'"


def test_to_stop_debugging_ends_all_processes(desk: Desk) -> None:
    session = desk.launch("asyncwsgi --reload")
    with desk.process.connect() as client:
        client.request()
        desk.editor.process(0).event("stopped")
        session.ask("disconnect", terminateDebuggee=True)
        desk.process.wait()  # for the end of its standard error, which all of them have


def test_it_is_hit_in_a_view_of_django(django_desk: Desk) -> None:
    django_desk.launch("manage.py runserver", "127.0.0.1:0")
    with client_of(django_desk.process) as client:
        session = django_desk.editor.process(0)
        assert django_desk.go_on(session, client) == "b'the first answer'"
