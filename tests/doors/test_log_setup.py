"""How log lines look, and where they go, in a process that the server owns."""

from __future__ import annotations

import ctypes
import io
import json
import logging
import re
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TextIO

import pytest

from asyncwsgi import Config
from asyncwsgi.access_log import DEFAULT_FORMAT, AccessEntry, AccessLogger
from asyncwsgi.log_setup import (
    JSONFormatter,
    TextFormatter,
    configure_logging,
    finish_log,
    flush_log,
    is_coloured,
)

RED, GREEN, YELLOW, CYAN = "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[36m"
BOLD, DIM, BOLD_RED, RESET = "\x1b[1m", "\x1b[2m", "\x1b[1;31m", "\x1b[0m"


Configure = Callable[..., io.StringIO]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def entry(**changes: Any) -> AccessEntry:
    plain = AccessEntry("192.0.2.1", "GET", "/", "HTTP/1.1", 200, 99, 0.0015, "-", "tests/1")
    return plain._replace(**changes)


def record_of(
    message: str = "a message", level: int = logging.INFO, **more: Any
) -> logging.LogRecord:
    return logging.LogRecord("asyncwsgi.server", level, __file__, 1, message, (), None, **more)


def caught() -> Any:
    """What `sys.exc_info` says of an exception with a traceback."""
    try:
        _ = 1 // 0
    except ZeroDivisionError:
        return sys.exc_info()


@pytest.fixture(autouse=True)
def _tidy() -> Iterator[None]:
    """Takes back what `configure_logging` does."""
    logger = logging.getLogger("asyncwsgi")
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.level, logger.propagate = before
    logger.setLevel(logger.level)  # forgets what child loggers remember


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment says of terminals that they have colours."""
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def configure(terminal: None, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Configures logging to a stream in the place of standard error; that stream."""

    def configure(stream: io.StringIO | None = None, **options: Any) -> io.StringIO:
        stream = stream or io.StringIO()
        # Here and not in the fixture: pytest puts its own stream there before each test.
        monkeypatch.setattr(sys, "stderr", stream)
        configure_logging(Config(**options))
        return stream

    return configure


class TestText:
    def test_a_line_has_time_level_and_message(self, configure: Configure) -> None:
        stream = configure()
        logging.getLogger("asyncwsgi.server").warning("all %d threads are busy", 4)
        date, time, rest = stream.getvalue().split(" ", 2)
        assert datetime.fromisoformat(f"{date} {time}")
        assert rest == "WARNING all 4 threads are busy\n"

    def test_a_traceback_follows_its_line(self, configure: Configure) -> None:
        stream = configure()
        logging.getLogger("asyncwsgi.server").error("GET / failed", exc_info=caught())
        lines = stream.getvalue().splitlines()
        assert lines[0].endswith("ERROR GET / failed")
        assert (lines[1], lines[-1]) == (
            "Traceback (most recent call last):",
            "ZeroDivisionError: integer division or modulo by zero",
        )

    @pytest.mark.parametrize(
        ("status", "colour"),
        [(101, BOLD), (200, GREEN), (304, CYAN), (404, YELLOW), (499, YELLOW), (500, RED)],
    )
    def test_an_access_line_on_a_terminal_has_the_colour_of_its_status(
        self, configure: Configure, status: int, colour: str
    ) -> None:
        terminal = configure(Terminal())
        AccessLogger("%(status)s %(target)s").log(entry(status=status))
        line = terminal.getvalue()
        assert line.startswith(colour)
        assert line.endswith(f" INFO {status} /{RESET}\n")

    @pytest.mark.parametrize(
        ("level", "colour"),
        [
            (logging.DEBUG, DIM),
            (logging.WARNING, YELLOW),
            (logging.ERROR, RED),
            (logging.CRITICAL, BOLD_RED),
        ],
    )
    def test_any_other_line_has_the_colour_of_its_level(self, level: int, colour: str) -> None:
        line = TextFormatter(is_coloured=True).format(record_of(level=level))
        assert line.startswith(colour)
        assert line.endswith(RESET)

    def test_a_line_of_plain_news_has_no_colour(self) -> None:
        assert "\x1b" not in TextFormatter(is_coloured=True).format(record_of())

    def test_a_line_beside_a_terminal_has_no_colour(self, configure: Configure) -> None:
        stream = configure()
        AccessLogger().log(entry(status=500))
        assert "\x1b" not in stream.getvalue()

    @pytest.mark.parametrize(
        ("stream", "variables", "expected"),
        [
            pytest.param(Terminal(), {}, True, id="a terminal"),
            pytest.param(io.StringIO(), {}, False, id="a file"),
            # no-color.org: "when present and not an empty string (regardless of its value)".
            pytest.param(Terminal(), {"NO_COLOR": "0"}, False, id="NO_COLOR"),
            pytest.param(Terminal(), {"NO_COLOR": ""}, True, id="an empty NO_COLOR"),
            pytest.param(io.StringIO(), {"FORCE_COLOR": "1"}, True, id="FORCE_COLOR"),
            pytest.param(io.StringIO(), {"FORCE_COLOR": ""}, False, id="an empty FORCE_COLOR"),
            pytest.param(Terminal(), {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, id="both"),
            pytest.param(Terminal(), {"TERM": "dumb"}, False, id="a dumb terminal"),
            pytest.param(Terminal(), {"TERM": "dumb", "FORCE_COLOR": "1"}, True, id="forced"),
        ],
    )
    def test_colours_are_for_terminals_that_have_them_and_for_who_asks(
        self,
        terminal: None,
        monkeypatch: pytest.MonkeyPatch,
        stream: io.StringIO,
        variables: dict[str, str],
        expected: bool,
    ) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert is_coloured(stream) is expected

    @pytest.mark.parametrize("takes_escapes", [True, False], ids=["a new one", "a classic one"])
    def test_a_console_of_windows_is_asked_whether_it_has_them(
        self, terminal: None, monkeypatch: pytest.MonkeyPatch, takes_escapes: bool
    ) -> None:
        modes: list[int] = []

        def set_mode(_console: int, mode: int) -> bool:
            modes.append(mode)
            return takes_escapes

        kernel = SimpleNamespace(GetConsoleMode=lambda *_: True, SetConsoleMode=set_mode)
        monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=kernel), raising=False)
        monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(get_osfhandle=lambda n: n))
        monkeypatch.setattr(sys, "platform", "win32")
        monkeypatch.setattr(Terminal, "fileno", lambda _: 2)
        assert is_coloured(Terminal()) is takes_escapes
        assert modes == [0x0004]  # ENABLE_VIRTUAL_TERMINAL_PROCESSING


class TestJSON:
    def test_every_line_is_an_object(self, configure: Configure) -> None:
        stream = configure(log_format="json")
        logging.getLogger("asyncwsgi.server").warning("first\nand %s", "second")
        AccessLogger().log(entry())
        news, access = map(json.loads, stream.getvalue().splitlines())
        assert datetime.fromisoformat(news.pop("time")).tzinfo is not None
        assert news == {
            "level": "warning",
            "logger": "asyncwsgi.server",
            "message": "first\nand second",
        }
        assert access["logger"] == "asyncwsgi.access"

    def test_an_access_line_carries_its_fields(self) -> None:
        record = record_of()
        record.__dict__.update(entry(target="/a?b", status=404).fields())
        fields = json.loads(JSONFormatter().format(record))
        names = ("client", "method", "target", "protocol", "status", "size", "seconds")
        assert [fields[name] for name in names] == [
            "192.0.2.1", "GET", "/a?b", "HTTP/1.1", 404, 99, 0.0015,
        ]  # fmt: skip
        assert (fields["referer"], fields["user_agent"]) == ("-", "tests/1")

    def test_an_access_line_carries_what_its_format_names(self) -> None:
        record = record_of()
        record.__dict__.update(entry(named={"request:traceparent": "00-a-b-01"}).fields())
        fields = json.loads(JSONFormatter().format(record))
        assert fields["request:traceparent"] == "00-a-b-01"

    def test_an_exception_is_a_field(self) -> None:
        record = record_of("GET / failed", logging.ERROR)
        record.exc_info = caught()
        fields = json.loads(JSONFormatter().format(record))
        assert fields["message"] == "GET / failed"
        assert fields["exception"].startswith("Traceback (most recent call last):\n")
        assert fields["exception"].endswith("ZeroDivisionError: integer division or modulo by zero")

    def test_one_of_several_processes_is_named(self) -> None:
        record = record_of()
        fields = json.loads(JSONFormatter(names_process=True).format(record))
        assert fields["process"] == record.process

    def test_other_lines_have_no_fields_of_requests(self) -> None:
        fields = json.loads(JSONFormatter().format(record_of()))
        assert fields.keys() == {"time", "level", "logger", "message"}

    def test_a_line_has_no_colour_on_a_terminal(self, configure: Configure) -> None:
        terminal = configure(Terminal(), log_format="json")
        AccessLogger().log(entry(status=500))
        assert json.loads(terminal.getvalue())["status"] == 500

    def test_characters_that_end_lines_elsewhere_do_not_here(self, configure: Configure) -> None:
        stream = configure(log_format="json")
        AccessLogger().log(entry(user_agent="\x85\r\n"))
        assert len(stream.getvalue().splitlines()) == 1


LINE_FORMATS = [
    DEFAULT_FORMAT,
    "100%% %(status)05d %(duration)8s %(seconds)g %(referer)s %(user_agent)s %(request:x-id)s",
]


class LogFile:
    """Standard error is a file, with colours."""

    def __init__(self, stream: TextIO, monkeypatch: pytest.MonkeyPatch) -> None:
        self._stream = stream
        self._monkeypatch = monkeypatch

    def configure(self, config: Config, **options: Any) -> None:
        self._monkeypatch.setattr(sys, "stderr", self._stream)
        configure_logging(config, **options)

    def read(self) -> str:
        """What stands in it so far, but for times."""
        flush_log()
        text = Path(self._stream.name).read_text(encoding="utf-8")
        return re.sub(r"\d+-\d+-\d+[ T]\d+:\d+:[0-9.+:]+", "TIME", text)


class TestEntriesWithoutARecord:
    """A process that writes its log itself makes no record of a request, if nobody would see it."""

    @pytest.fixture
    def log(
        self, terminal: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> Iterator[LogFile]:
        monkeypatch.setenv("FORCE_COLOR", "1")
        with (tmp_path / "log").open("w", encoding="utf-8") as stream:
            yield LogFile(stream, monkeypatch)
            finish_log()

    @pytest.fixture
    def made(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """The loggers of the records that were made."""
        names: list[str] = []
        make = logging.LogRecord.__init__

        def note(self: logging.LogRecord, name: str, *args: Any, **kwargs: Any) -> None:
            names.append(name)
            make(self, name, *args, **kwargs)

        monkeypatch.setattr(logging.LogRecord, "__init__", note)
        return names

    @pytest.mark.parametrize("log_format", ["text", "json"])
    @pytest.mark.parametrize("names_process", [False, True])
    @pytest.mark.parametrize("line_format", LINE_FORMATS)
    def test_its_line_is_that_of_the_record(
        self,
        log: LogFile,
        made: list[str],
        log_format: Any,
        names_process: bool,
        line_format: str,
    ) -> None:
        log.configure(Config(log_format=log_format), names_process=names_process)
        hostile = entry(target='/"\x1b[2J\u2028', user_agent="%s %(x)s", status=503)
        entries = [each._replace(named={"request:x-id": "a\nb"}) for each in (entry(), hostile)]
        for each in entries:
            AccessLogger(line_format).log(each)
        without, has_made_some = log.read(), bool(made)
        with_filter = logging.getLogger("asyncwsgi.access")
        with_filter.addFilter(allow_all)
        for each in entries:
            AccessLogger(line_format).log(each)
        with_filter.removeFilter(allow_all)
        assert log.read() == without + without
        assert without
        assert (has_made_some, made) == (False, ["asyncwsgi.access"] * len(entries))

    @pytest.mark.parametrize(
        "who", ["a handler", "a filter", "a root handler", "a factory", "a patch"]
    )
    def test_whoever_would_see_a_record_gets_one(
        self, log: LogFile, monkeypatch: pytest.MonkeyPatch, who: str
    ) -> None:
        log.configure(Config())
        seen: list[str] = []
        logger, parent = logging.getLogger("asyncwsgi.access"), logging.getLogger("asyncwsgi")

        def see(record: logging.LogRecord) -> bool:
            seen.append(record.getMessage())
            return True

        handler = logging.Handler()
        handler.emit = see  # type: ignore[method-assign,assignment]
        if who == "a handler":
            monkeypatch.setattr(logger, "handlers", [handler])
        elif who == "a filter":
            monkeypatch.setattr(parent.handlers[0], "filters", [see])
        elif who == "a root handler":
            monkeypatch.setattr(parent, "propagate", True)
            monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
        elif who == "a factory":

            def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
                record = logging.LogRecord(*args, **kwargs)
                see(record)
                return record

            before = logging.getLogRecordFactory()
            monkeypatch.setattr(logging, "_logRecordFactory", make)
            assert logging.getLogRecordFactory() is not before
        else:

            def call(self: logging.Logger, record: logging.LogRecord) -> None:
                see(record)

            monkeypatch.setattr(logging.Logger, "callHandlers", call)
        AccessLogger().log(entry())
        assert len(seen) == 1

    def test_a_stream_that_no_thread_writes_gets_its_line(self, configure: Configure) -> None:
        stream = configure()
        AccessLogger().log(entry())
        assert stream.getvalue().count("192.0.2.1") == 1


def allow_all(_: logging.LogRecord) -> bool:
    return True


class TestConfigureLogging:
    def test_what_is_below_the_level_is_not_logged(self, configure: Configure) -> None:
        stream = configure(log_level="error")
        logging.getLogger("asyncwsgi.server").warning("unseen")
        logging.getLogger("asyncwsgi.server").error("seen")
        assert stream.getvalue().endswith("ERROR seen\n")
        assert "unseen" not in stream.getvalue()

    def test_no_line_is_written_twice_if_the_application_configures_logging(
        self, configure: Configure
    ) -> None:
        stream = configure()
        root, handler = logging.getLogger(), logging.StreamHandler(stream)
        root.addHandler(handler)
        logging.getLogger("asyncwsgi.server").error("once")
        root.removeHandler(handler)
        assert stream.getvalue().count("once") == 1

    @pytest.mark.parametrize("log_format", ["text", "json"])
    @pytest.mark.parametrize("is_closed", [False, True])
    def test_without_standard_error_lines_go_nowhere(
        self, monkeypatch: pytest.MonkeyPatch, log_format: str, is_closed: bool
    ) -> None:
        stream = io.StringIO()
        stream.close()
        # None: pythonw, or a descriptor that was closed before Python started.
        monkeypatch.setattr(sys, "stderr", stream if is_closed else None)
        configure_logging(Config.from_options({"log_format": log_format}))
        logging.getLogger("asyncwsgi.server").error("unheard")

    def test_the_root_logger_is_left_to_the_application(self, configure: Configure) -> None:
        root = logging.getLogger()
        before = root.handlers[:], root.level
        configure(log_level="debug")
        assert (root.handlers, root.level) == before
