"""Frames of exceptions: where, whose code, what was executed; bounded."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from asyncwsgi.development.frames import (
    MOST_CHARACTERS,
    MOST_FAILURES,
    MOST_FRAMES,
    Failure,
    Frame,
    failures_of,
    frames_of,
)

Failing = Callable[[str], BaseException]


@pytest.fixture
def failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Failing]:
    """Imports a module ``spam`` of the source that it is called with; what that raises."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def failing(source: str) -> BaseException:
        (tmp_path / "spam.py").write_text(dedent(source), encoding="utf-8")
        importlib.invalidate_caches()
        with pytest.raises(Exception) as raised:  # noqa: PT011  whichever
            importlib.import_module("spam")
        return raised.value.with_traceback(raised.tb.tb_next)  # without this frame

    yield failing
    sys.modules.pop("spam", None)


def marked(frame: Frame) -> str:
    """What of the line of a frame was executed."""
    excerpt = frame["excerpt"]
    line = excerpt["lines"][frame["line"] - excerpt["first"]]
    return line[excerpt["start"] : excerpt["end"]]


def own(frames: list[Frame]) -> list[Frame]:
    return [frame for frame in frames if frame["is_own"]]


def test_a_frame_says_where_it_is_and_in_which_function(failing: Failing, tmp_path: Path) -> None:
    error = failing(
        """
        class Eggs:
            def fail(self):
                return 1 / 0

        Eggs().fail()
        """
    )
    path = str(tmp_path / "spam.py")
    line = {"file": path, "is_own": True}
    assert own(frames_of(error)) == [
        {**line, "line": 6, "function": "<module>", "source": "Eggs().fail()"},
        {**line, "line": 4, "function": "Eggs.fail", "source": "return 1 / 0"},
    ]


def test_code_of_python_and_of_packages_is_not_the_users(failing: Failing, tmp_path: Path) -> None:
    package = tmp_path / "lib" / "site-packages"
    package.mkdir(parents=True)
    (package / "installed.py").write_text(
        "import json\n\ndef read(text): return json.loads(text)\n"
    )
    error = failing(
        """
        import sys
        sys.path.append(__file__.replace("spam.py", "lib/site-packages"))
        from installed import read
        read("{")
        """
    )
    sys.path.remove(str(package))
    frames = frames_of(error)
    assert [Path(each["file"]).name for each in own(frames)] == ["spam.py"]
    foreign = {Path(each["file"]).name for each in frames if not each["is_own"]}
    assert {"installed.py", "decoder.py", "<frozen importlib._bootstrap>"} <= foreign


@pytest.mark.parametrize(
    ("line", "what"),
    [
        pytest.param("x = [int('1'), int('one'), 2]", "int('one')", id="a part of the line"),
        pytest.param("x = 'äöü', int('ä')", "int('ä')", id="behind letters of two bytes"),
        pytest.param("x = int(\n    'one'\n)", "int(", id="it goes on in the next line"),
    ],
)
def test_what_was_executed_is_marked(failing: Failing, line: str, what: str) -> None:
    error = failing(f"pass\n{line}\n")
    assert marked(failures_of(error)[0]["frames"][-1]) == what


def test_an_excerpt_has_the_lines_around(failing: Failing) -> None:
    source = "\n".join(f"line_{number} = {number}" for number in range(1, 10))
    error = failing(f"{source}\n1 / 0\nafter = 1\n")
    excerpt = failures_of(error)[0]["frames"][-1]["excerpt"]
    assert excerpt["first"] == 5
    assert excerpt["lines"] == [
        *(f"line_{number} = {number}" for number in range(5, 10)),
        "1 / 0",
        "after = 1",
    ]


@pytest.mark.parametrize(
    ("source", "line", "what"),
    [
        pytest.param("x = 1\ny = (1 2)\n", 2, "1 2", id="with an end"),
        pytest.param("x = 1\ny = = 2\n", 2, "=", id="a token"),
        pytest.param("def f(:\n    pass\n", 1, ":", id="in the first line"),
        pytest.param("if True:\nx = 1\n", 2, "x", id="no indentation"),
    ],
)
def test_a_syntax_error_shows_its_own_place(
    failing: Failing, tmp_path: Path, source: str, line: int, what: str
) -> None:
    frame = failures_of(failing(source))[0]["frames"][-1]
    assert frame["file"] == str(tmp_path / "spam.py")
    assert (frame["line"], frame["is_own"], frame["function"]) == (line, True, "")
    assert marked(frame) == what


def links_of(failures: list[Failure]) -> list[tuple[str, str, str]]:
    return [(each["link"], each["type"], each["message"]) for each in failures]


def test_a_chain_is_told_from_its_end() -> None:
    try:
        try:
            try:
                int("one")
            except ValueError:
                dict[str, str]()["spam"]
        except KeyError as error:
            raise LookupError("eggs") from error
    except LookupError as error:
        failures = failures_of(error)
    assert links_of(failures) == [
        ("", "LookupError", "eggs"),
        ("cause", "KeyError", "'spam'"),
        ("context", "ValueError", "invalid literal for int() with base 10: 'one'"),
    ]


def test_what_is_hidden_by_from_none_stays_hidden() -> None:
    error = LookupError("eggs")
    error.__context__ = ValueError("spam")
    error.__suppress_context__ = True
    assert links_of(failures_of(error)) == [("", "LookupError", "eggs")]


def test_a_circle_of_exceptions_has_an_end() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert [link for link, _, _ in links_of(failures_of(one))] == ["", "cause"]


def test_the_parts_of_a_group_are_told_behind_it() -> None:
    group = ExceptionGroup("both", [ValueError("one"), KeyError("two")])
    assert links_of(failures_of(group)) == [
        ("", "ExceptionGroup", "both (2 sub-exceptions)"),
        ("part", "ValueError", "one"),
        ("part", "KeyError", "'two'"),
    ]


def test_notes_are_part_of_the_message() -> None:
    error = ValueError("spam")
    error.add_note("eggs")
    assert failures_of(error)[0]["message"] == "spam\neggs"


def test_an_exception_that_cannot_be_told_says_so() -> None:
    class Silent(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert failures_of(Silent())[0]["message"] == "<its text cannot be had: RuntimeError>"


def characters_of(failures: list[Failure]) -> int:
    texts = [text for each in failures for text in (each["type"], each["message"])]
    for frame in (frame for each in failures for frame in each["frames"]):
        texts += [frame["file"], frame["function"], frame["source"]]
        if "excerpt" in frame:
            texts += frame["excerpt"]["lines"]
    return sum(map(len, texts))


class TestBounds:
    def test_of_many_frames_the_innermost_are_kept(self, failing: Failing) -> None:
        fall = "def fall(depth):\n    return fall(depth - 1) if depth else 1 / 0\n"
        error = failing(f"{fall}fall(200)\n")
        frames = own(frames_of(error))
        assert len(frames) == MOST_FRAMES
        assert frames[-1]["function"] == "fall"

    def test_many_frames_of_others_drive_none_of_the_users_out(self, failing: Failing) -> None:
        error = failing(
            """
            import copy
            nested = []
            for _ in range(100):
                nested = [nested, 1]
            inner = nested
            while inner[0]:
                inner = inner[0]

            class No:
                def __deepcopy__(self, memo):
                    raise ValueError("no")

            inner.append(No())
            copy.deepcopy(nested)
            """
        )
        frames = frames_of(error)
        assert [each["function"] for each in own(frames)] == ["<module>", "No.__deepcopy__"]
        assert len(frames) == MOST_FRAMES + 2

    def test_of_a_long_chain_the_last_are_kept(self) -> None:
        error = ValueError("0")
        for number in range(1, 50):
            later = ValueError(str(number))
            later.__cause__ = error
            error = later
        failures = failures_of(error)
        assert [each["message"] for each in failures] == ["49", "48", "47", "46", "45", "44"]
        assert len(failures) == MOST_FAILURES

    def test_long_lines_paths_and_messages_are_cut(self, failing: Failing) -> None:
        error = failing(f"raise ValueError('{'x' * 100_000}')\n")
        (failure,) = failures_of(error)
        assert failure["message"].endswith("x\N{HORIZONTAL ELLIPSIS}")
        assert characters_of([failure]) < 10_000

    def test_all_texts_together_have_a_bound(self, failing: Failing) -> None:
        calls = "\n".join(
            f"def f{number}(): f{number - 1}()  # {'x' * 200}" for number in range(1, 300)
        )
        error = failing(f"def f0(): 1 / 0\n{calls}\nf299()\n")
        failures = failures_of(error)
        assert MOST_CHARACTERS - 5_000 < characters_of(failures) <= MOST_CHARACTERS
        assert failures[0]["frames"][-1]["source"] == "def f0(): 1 / 0"

    def test_all_of_it_is_json(self, failing: Failing) -> None:
        failures = failures_of(failing("1 / 0\n"))
        assert json.loads(json.dumps(failures)) == failures


def test_a_file_that_has_changed_is_read_anew(failing: Failing, tmp_path: Path) -> None:
    failures_of(failing("1 / 0\n"))
    error = failing("x = 'spam'\n\n{}[x]\n")
    assert frames_of(error)[-1]["source"] == "{}[x]"
    (tmp_path / "spam.py").unlink()
    assert frames_of(error)[-1]["source"] == ""
