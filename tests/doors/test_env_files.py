"""Environment variables out of files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from asyncwsgi import ConfigError
from asyncwsgi.env_files import EnvFiles, are_found_files_skipped

Variables = dict[str, str]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory."""
    directory = tmp_path / "project"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture
def without_dotenv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dotenv", None)


def load(files: EnvFiles, **environ: str) -> Variables:
    files.load(environ)
    return environ


def test_what_is_named_counts_for_more_than_env_and_that_for_more_than_flaskenv(
    here: Path,
) -> None:
    (here / ".flaskenv").write_text("A=flaskenv\nB=flaskenv\nC=flaskenv\nD=flaskenv")
    (here / ".env").write_text("B=env\nC=env\nD=env")
    (here / "one").write_text("C=one\nD=one")
    (here / "two").write_text("D=two")
    expected = {"A": "flaskenv", "B": "env", "C": "one", "D": "two"}
    assert load(EnvFiles(("one", "two"), finds=True)) == expected


def test_what_is_set_is_left_as_it_is_and_the_rest_is_told(here: Path) -> None:
    (here / ".env").write_text("A=file\nB=file\nC=file\nD\n")
    environ = {"A": "set", "B": ""}
    assert EnvFiles(finds=True).load(environ) == ["C"]
    assert environ == {"A": "set", "B": "", "C": "file"}


def test_files_are_found_above_too_and_the_nearest_counts(here: Path) -> None:
    (here.parent / ".env").write_text("A=above")
    assert load(EnvFiles(finds=True)) == {"A": "above"}
    (here / ".env").write_text("B=here")
    assert load(EnvFiles(finds=True)) == {"B": "here"}


def test_nothing_is_found_unless_asked_for(here: Path) -> None:
    (here / ".env").write_text("A=file")
    assert load(EnvFiles()) == {}
    assert EnvFiles().watched == []


@pytest.mark.parametrize(
    ("value", "are_skipped"),
    [("1", True), ("true", True), ("", False), ("0", False), ("False", False), ("no", False)],
)
def test_flasks_variable_skips_those_that_are_found(value: str, are_skipped: bool) -> None:
    assert are_found_files_skipped({"FLASK_SKIP_DOTENV": value}) == are_skipped
    assert not are_found_files_skipped({})


def test_only_files_that_are_named_say_what_the_server_does(here: Path) -> None:
    (here / ".env").write_text("ASYNCWSGI_THREADS=1\nAsyncWSGI_PORT=1\nASYNCWSGINESS=1")
    files = EnvFiles(finds=True)
    assert load(files) == {"ASYNCWSGINESS": "1"}
    assert [complaint.partition(" of ")[0] for complaint in files.complaints] == [
        "ignored ASYNCWSGI_THREADS",
        "ignored AsyncWSGI_PORT",
    ]
    (here / "link").symlink_to(".env")
    for name in (".env", "link"):
        named = EnvFiles((name,), finds=True)
        assert load(named)["ASYNCWSGI_THREADS"] == "1"
        assert named.complaints == []


def test_files_that_may_be_made_yet_are_watched(here: Path) -> None:
    (here.parent / ".env").write_text("")
    watched = EnvFiles(("prod.env",), finds=True).watched
    assert watched == ["prod.env", ".env", ".flaskenv", str(here.parent / ".env")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(None, "there is no file prod.env; correct the path", id="none"),
        pytest.param(b"A=\xff", "prod.env cannot be read: 'utf-8' codec", id="no UTF-8"),
    ],
)
def test_a_named_file_that_cannot_be_read_is_an_error(
    here: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        (here / "prod.env").write_bytes(content)
    with pytest.raises(ConfigError, match=f"env_file: {message}"):
        load(EnvFiles(("prod.env",)))


@pytest.mark.usefixtures("without_dotenv")
class TestWithoutDotenv:
    def test_a_named_file_is_an_error_with_the_cure(self, here: Path) -> None:
        (here / "prod.env").write_text("A=1")
        with pytest.raises(ConfigError, match="install it: pip install python-dotenv"):
            load(EnvFiles(("prod.env",)))

    def test_one_that_is_there_is_a_complaint(self, here: Path) -> None:
        (here / ".env").write_text("A=1")
        files = EnvFiles(finds=True)
        assert load(files) == {}
        (complaint,) = files.complaints
        assert complaint.startswith("ignored .env, which python-dotenv reads; install it: pip ")
        assert EnvFiles().complaints == []

    def test_none_that_is_there_is_no_complaint(self) -> None:
        assert EnvFiles(finds=True).complaints == []
