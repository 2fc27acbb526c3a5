"""The access log in a file: appended to by all, rotated by others."""

from __future__ import annotations

import io
import logging
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from asyncwsgi import Config, ConfigError
from asyncwsgi.access_log import AccessEntry, AccessLogger
from asyncwsgi.log_file import AppendedFile, open_log_file
from asyncwsgi.log_setup import configure_logging, flush_log
from tests.client import connect
from tests.doors.processes import Process, address_of

APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "0")])
    return []
"""
ENTRY = AccessEntry("192.0.2.1", "GET", "/", "HTTP/1.1", 200, 99, 0.0015, "-", "tests/1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "access.log"


@pytest.fixture
def file(path: Path) -> Iterator[AppendedFile]:
    path.parent.mkdir()
    with AppendedFile(str(path)) as file:
        yield file


class TestAFile:
    def test_that_is_there_is_appended_to(self, file: AppendedFile, path: Path) -> None:
        file.write(b"one\n")
        with AppendedFile(str(path)) as other:
            other.write(b"two\n")
        file.write(b"three\n")
        assert path.read_text() == "one\ntwo\nthree\n"

    def test_that_is_made_is_not_for_everybody(self, file: AppendedFile, path: Path) -> None:
        assert stat.S_IMODE(path.stat().st_mode) & 0o007 == 0

    def test_that_was_renamed_is_followed_by_a_new_one(
        self, file: AppendedFile, path: Path
    ) -> None:
        file.write(b"one\n")
        rotated = path.rename(path.with_suffix(".1"))
        file.write(b"two\n")
        assert (rotated.read_text(), path.read_text()) == ("one\n", "two\n")

    def test_that_another_one_has_replaced_is_closed(self, file: AppendedFile, path: Path) -> None:
        descriptors = len([*Path("/proc/self/fd").iterdir()])
        for _ in range(3):
            path.unlink()
            file.write(b"two\n")
        assert path.read_text() == "two\n"
        assert len([*Path("/proc/self/fd").iterdir()]) == descriptors

    def test_that_was_cut_goes_on_from_its_beginning(self, file: AppendedFile, path: Path) -> None:
        file.write(b"one\n")
        os.truncate(path, 0)  # as logrotate's copytruncate does
        file.write(b"two\n")
        assert path.read_text() == "two\n"

    def test_whose_directory_is_gone_takes_lines_until_it_is_back(
        self, file: AppendedFile, path: Path
    ) -> None:
        kept = path.parent.rename(path.parent.with_name("kept"))
        file.write(b"one\n")
        path.parent.mkdir()
        file.write(b"two\n")
        assert (kept / path.name).read_text() == "one\n"
        assert path.read_text() == "two\n"

    def test_is_found_wherever_the_process_is(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with AppendedFile("access.log") as file:
            (tmp_path / "elsewhere").mkdir()
            monkeypatch.chdir(tmp_path / "elsewhere")
            (tmp_path / "access.log").unlink()
            file.write(b"one\n")
        assert (tmp_path / "access.log").read_text() == "one\n"

    @pytest.mark.parametrize(
        ("path", "reason"),
        [
            pytest.param("nowhere/access.log", "No such file or directory", id="no directory"),
            pytest.param(".", "Is a directory", id="a directory"),
        ],
    )
    def test_that_cannot_be_opened_is_an_error_with_a_cure(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, reason: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ConfigError, match=f"access_log_file: {path} .* {reason}; give a file"):
            open_log_file(path, "access_log_file")


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Configures logging, and takes that back."""
    monkeypatch.setattr("sys.stderr", io.StringIO())
    monkeypatch.chdir(tmp_path)
    loggers = [logging.getLogger(name) for name in ("asyncwsgi", "asyncwsgi.access")]
    before = [(each, each.handlers[:], each.level, each.propagate) for each in loggers]

    def configure(**options: object) -> None:
        configure_logging(Config.from_options({"access_log_file": "access.log", **options}))

    yield configure
    configure_logging(Config())
    for each, handlers, level, propagate in before:
        each.handlers[:], each.propagate = handlers, propagate
        each.setLevel(level)


class TestLines:
    def test_go_to_the_file_alone_and_without_colours(
        self, configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FORCE_COLOR", "1")
        configure()
        AccessLogger().log(ENTRY)
        logging.getLogger("asyncwsgi.server").warning("elsewhere")
        flush_log()
        line = Path("access.log").read_text()
        assert line.endswith(' INFO 192.0.2.1 "GET / HTTP/1.1" 200 99 1.5ms\n')
        assert line.count("\n") == 1

    def test_are_json_if_all_are(self, configure: Callable[..., None]) -> None:
        configure(log_format="json")
        AccessLogger().log(ENTRY)
        flush_log()
        assert '"status": 200' in Path("access.log").read_text()

    def test_go_back_to_standard_error_without_the_option(
        self, configure: Callable[..., None]
    ) -> None:
        configure()
        configure(access_log_file=None)
        AccessLogger().log(ENTRY)
        flush_log()
        assert Path("access.log").read_text() == ""


def test_a_file_for_lines_that_are_switched_off_is_an_error() -> None:
    with pytest.raises(ConfigError, match="access_log_file is for access_log, which is off"):
        Config(access_log=False, access_log_file="access.log")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Runs the command line in a directory with an application."""
    (tmp_path / "web.py").write_text(APP)
    processes: list[Process] = []

    def start(*options: str) -> Process:
        arguments = ("-m", "asyncwsgi", "--port", "0", *options, "web:app")
        processes.append(Process(*arguments, directory=tmp_path))
        return processes[-1]

    yield start
    for process in processes:
        process.close()


@pytest.mark.parametrize(
    "options",
    [
        pytest.param([], id="one process"),
        pytest.param(["--reload"], id="a child"),
        pytest.param(["--workers", "2"], id="workers"),
        pytest.param(["--workers", "2", "--preload"], id="forked workers"),
    ],
)
def test_every_process_appends_to_the_same_file_and_to_the_next_one(
    start: Callable[..., Process], tmp_path: Path, options: list[str]
) -> None:
    process = start("--access-log-file", "access.log", *options)
    address = address_of(process.urls()[0])
    for number in range(20):
        with connect(address) as client:
            client.get(f"/before/{number}")
    (tmp_path / "access.log").rename(tmp_path / "access.log.1")
    for number in range(20):
        with connect(address) as client:
            client.get(f"/behind/{number}")
    assert process.interrupt() == 0
    assert "/before/" not in process.log
    lines = (tmp_path / "access.log.1").read_text() + (tmp_path / "access.log").read_text()
    assert sorted(line.split()[-5] for line in lines.splitlines()) == sorted(
        f"{when}{number}" for when in ("/before/", "/behind/") for number in range(20)
    )
    assert "/behind/19 " in (tmp_path / "access.log").read_text()


def test_a_file_that_cannot_be_opened_ends_the_command(start: Callable[..., Process]) -> None:
    process = start("--access-log-file", "nowhere/access.log")
    assert process.wait() == 2
    assert "nowhere/access.log cannot be opened: No such file or directory; give" in process.log
    assert "Traceback" not in process.log
