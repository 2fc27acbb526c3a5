"""Logging as a file of the user's says: TOML, JSON or INI."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from asyncwsgi import Config, ConfigError
from asyncwsgi.log_config import apply_log_config
from tests.client import connect
from tests.doors.processes import Process, address_of

TOML = """
[formatters.own]
format = "OWN %(process)d %(name)s %(message)s"

[handlers.errors]
class = "logging.StreamHandler"
formatter = "own"

[loggers.asyncwsgi]
handlers = ["errors"]
level = "INFO"
"""
JSON = """
{
  "version": 1,
  "formatters": {"own": {"format": "OWN %(process)d %(name)s %(message)s"}},
  "handlers": {"errors": {"class": "logging.StreamHandler", "formatter": "own"}},
  "loggers": {"asyncwsgi": {"handlers": ["errors"], "level": "INFO"}}
}
"""
INI = """
[loggers]
keys = root, server

[handlers]
keys = errors

[formatters]
keys = own

[logger_root]
handlers =

[logger_server]
qualname = asyncwsgi
handlers = errors
level = INFO

[handler_errors]
class = StreamHandler
formatter = own

[formatter_own]
format = OWN %(process)d %(name)s %(message)s
"""
HANDLER = """
import logging

class Handler(logging.StreamHandler):
    pass
"""


@pytest.fixture(autouse=True)
def _tidy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Takes back what is configured."""
    monkeypatch.chdir(tmp_path)
    loggers = [logging.getLogger(name) for name in (None, "asyncwsgi", "asyncwsgi.server", "spam")]
    before = [(each, each.handlers[:], each.level, each.propagate) for each in loggers]
    yield
    for each, handlers, level, propagate in before:
        each.handlers[:], each.propagate, each.disabled = handlers, propagate, False
        each.setLevel(level)


def write(name: str, text: str) -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


class TestAFile:
    @pytest.mark.parametrize(
        ("name", "text"),
        [("log.toml", TOML), ("log.json", JSON), ("LOG.INI", INI), ("log.conf", INI)],
    )
    def test_says_who_writes_what(self, name: str, text: str) -> None:
        apply_log_config(write(name, text))
        (handler,) = logging.getLogger("asyncwsgi").handlers
        record = logging.makeLogRecord({"process": 7, "name": "spam", "msg": "eggs"})
        assert handler.format(record) == "OWN 7 spam eggs"

    @pytest.mark.parametrize(("name", "text"), [("log.toml", TOML), ("log.ini", INI)])
    def test_switches_no_logger_off_that_it_does_not_name(self, name: str, text: str) -> None:
        spam = logging.getLogger("spam")
        apply_log_config(write(name, text))
        assert not spam.disabled

    def test_may_name_a_handler_beside_the_application(self) -> None:
        write("own_handler.py", HANDLER)
        apply_log_config(
            write("log.toml", TOML.replace("logging.StreamHandler", "own_handler.Handler"))
        )
        (handler,) = logging.getLogger("asyncwsgi").handlers
        assert type(handler).__name__ == "Handler"

    def test_may_have_lines_as_json(self) -> None:
        own = '"()" = "asyncwsgi.log_setup.JSONFormatter"'
        apply_log_config(write("log.toml", re.sub("format = .*", own, TOML, count=1)))
        (handler,) = logging.getLogger("asyncwsgi").handlers
        assert '"message": "eggs"' in handler.format(logging.makeLogRecord({"msg": "eggs"}))


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        pytest.param("log.yaml", "a: 1", "expected a file that ends in .toml", id="another form"),
        pytest.param("log.toml", "\n[a b]", r"\(at line 2, column 4\)", id="TOML"),
        pytest.param("log.json", '{\n"a": }', "line 2, column 6: Expecting value", id="JSON"),
        pytest.param("log.json", "[]", "expected an object, got list", id="no object"),
        pytest.param("log.ini", "[a]\nb\n", r"\[line 2\]: 'b", id="INI"),
        pytest.param("log.ini", "[a]\nb = 1\n", r"expected a section \[loggers\]", id="no loggers"),
        pytest.param(
            "log.ini",
            INI.replace("[handler_errors]", "[handler_others]"),
            "handler_errors",
            id="no handler of that name in INI",
        ),
        pytest.param(
            "log.toml",
            TOML.replace('"errors"]', '"others"]'),
            "logger 'asyncwsgi': .*'others'",
            id="no handler of that name",
        ),
        pytest.param(
            "log.toml",
            TOML.replace("logging.StreamHandler", "nowhere.Handler"),
            "handler 'errors': .*No module named 'nowhere'",
            id="no class of that name",
        ),
        pytest.param(
            "log.toml", TOML.replace("INFO", "LOUD"), "Unknown level: 'LOUD'", id="no such level"
        ),
        pytest.param(
            "log.toml",
            TOML.replace('"logging.StreamHandler"', '"logging.FileHandler"\nfilename = "no/where"'),
            "handler 'errors': .*No such file or directory",
            id="a file that cannot be opened",
        ),
    ],
)
def test_an_error_names_the_file_and_the_place(name: str, text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=f"^log_config {name}: .*{reason}"):
        apply_log_config(write(name, text))


def test_a_file_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"log.toml: it cannot be read: No such file or direc"):
        apply_log_config("log.toml")


@pytest.mark.parametrize(
    "options",
    [{"log_format": "json"}, {"log_level": "debug"}, {"access_log_file": "access.log"}],
    ids=lambda options: next(iter(options)),
)
def test_what_the_file_says_is_said_nowhere_else(options: dict[str, str]) -> None:
    (name,) = options
    with pytest.raises(ConfigError, match=f"{name} and log_config exclude each other"):
        Config.from_options({"log_config": "log.toml", **options})


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Runs the command line in a directory with an application and a file."""
    (tmp_path / "log.toml").write_text(TOML)
    (tmp_path / "web.py").write_text(
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [('Content-Length', '0')])\n    return []\n"
    )
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
def test_every_process_logs_as_the_file_says_and_in_no_other_way(
    start: Callable[..., Process], options: list[str]
) -> None:
    process = start("--log-config", "log.toml", *options)
    with connect(address_of(process.urls()[0])) as client:
        assert client.get().status == 200
    assert process.interrupt() == 0
    lines = process.log.splitlines()
    assert all(line.startswith("OWN ") for line in lines), process.log
    assert sum(" asyncwsgi.access " in line for line in lines) == 1


def test_an_error_in_the_file_ends_the_command(
    start: Callable[..., Process], tmp_path: Path
) -> None:
    (tmp_path / "log.toml").write_text("[handlers")
    process = start("--log-config", "log.toml")
    assert process.wait() == 2
    assert "log_config log.toml: " in process.log
    assert "(at " in process.log
    assert "Traceback" not in process.log
