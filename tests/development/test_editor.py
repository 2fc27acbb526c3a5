"""Links that have an editor open a line of a file."""

from __future__ import annotations

import pytest

from asyncwsgi import ConfigError
from asyncwsgi.development.editor import EDITORS, editor_template, place_link

VSCODE = "vscode://file/{path}:{line}"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param("code", VSCODE, id="its command"),
        pytest.param("Cursor", "cursor://file/{path}:{line}", id="its name"),
        pytest.param("pycharm", "pycharm://open?file={path}&line={line}", id="JetBrains"),
        pytest.param("subl", "subl://open?url=file://{path}&line={line}", id="Sublime Text"),
        pytest.param("http://localhost:63342/{path}", "http://localhost:63342/{path}", id="a link"),
        pytest.param("none", "", id="none"),
    ],
)
def test_an_editor_is_named_or_its_link_is_given(given: str, expected: str) -> None:
    assert editor_template(given, {"EDITOR": "zed"}) == expected


@pytest.mark.parametrize("given", ["notepad", "{path}", "vscode://file", "code --wait"])
def test_what_is_no_editor_is_an_error_that_names_those_there_are(given: str) -> None:
    with pytest.raises(ConfigError, match=r"code, .*, none, or a link with \{path\} and \{line\}"):
        editor_template(given, {})


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        pytest.param({"EDITOR": "code --wait"}, VSCODE, id="with arguments"),
        pytest.param({"EDITOR": "/opt/my\\ apps/code.exe"}, VSCODE, id="by its path"),
        pytest.param({"VISUAL": "code", "EDITOR": "vi"}, VSCODE, id="VISUAL comes first"),
        pytest.param({"VISUAL": "vi", "EDITOR": "code"}, "", id="also if it has no links"),
        pytest.param({"VISUAL": "", "EDITOR": "code"}, VSCODE, id="an empty one says nothing"),
        pytest.param({"EDITOR": "ed 'unended"}, "", id="no command"),
        pytest.param({"EDITOR": "vi"}, "", id="without links"),
        pytest.param({}, "", id="none"),
    ],
)
def test_else_the_variables_say_which(environ: dict[str, str], expected: str) -> None:
    assert editor_template("", environ) == expected


def test_a_path_is_quoted() -> None:
    link = place_link(EDITORS["subl"], "/a b/c&d#e?f'g\"h.py", 3)
    assert link == "subl://open?url=file:///a%20b/c%26d%23e%3Ff%27g%22h.py&line=3"


@pytest.mark.parametrize(
    ("template", "path"),
    [pytest.param("", "/app.py", id="no editor"), pytest.param(VSCODE, "<string>", id="no file")],
)
def test_where_nothing_can_be_opened_there_is_no_link(template: str, path: str) -> None:
    assert place_link(template, path, 1) == ""
