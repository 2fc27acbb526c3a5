"""What an inspector shows of an exception that Werkzeug's debugger has caught."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.inspection.inspected import Inspected, inspected

FAILS = """
def app(environ, start_response):
    return [1 / 0]
"""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Inspected]:
    with inspected(tmp_path) as served:
        yield served


def test_an_application_without_a_framework_has_its_traceback_and_the_way_to_the_debugger(
    served: Inspected,
) -> None:
    served.start("--debugger", source=FAILS)
    with served.project.connect() as client:
        shown = client.get("/", Host="localhost").body
        entry = served.ended("/")
        assert "ZeroDivisionError" in entry["traceback"]
        own = [frame["source"] for frame in entry["frames"] if frame["is_own"]]
        assert own == ["return [1 / 0]"]
        assert client.get(entry["debugger"], Host="localhost").body == shown


def test_requests_of_what_the_server_itself_has_shown_are_left_out(served: Inspected) -> None:
    served.start("--debugger", source=FAILS)
    with served.project.connect() as client:
        client.get("/", Host="localhost")
        debugger = served.ended("/")["debugger"]
        for target in (debugger, "/-/refresh.js", "/-/inspect", "/last/-/refreshed"):
            client.get(target, Host="localhost")
    served.ended("/last/-/refreshed")
    assert [one["target"] for one in served.entries()] == ["/", "/last/-/refreshed"]


def test_settings_say_where_the_project_is_and_which_editor_opens_it(served: Inspected) -> None:
    served.start("--editor", "code")
    settings = served.get("/api/settings")
    assert Path(settings["directory"]).samefile(served.project.directory)
    assert settings["editor"] == "vscode://file/{path}:{line}"
