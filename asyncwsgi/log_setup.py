"""Logging for processes that the server owns: the command line and `run`. Never for libraries."""

from __future__ import annotations

import atexit
import json
import logging
import os
import sys
import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TextIO

from asyncwsgi.access_log import ACCESS_LOGGER, AccessEntry, EntryHandler
from asyncwsgi.log_config import apply_log_config
from asyncwsgi.log_file import open_log_file
from asyncwsgi.log_writer import LogWriter, writer_for
from asyncwsgi.words import counted

if TYPE_CHECKING:
    from asyncwsgi.config import Config

LOGGER = "asyncwsgi"
ACCESS_FIELDS = (
    "client", "method", "target", "protocol", "status", "size", "seconds", "referer", "user_agent",
)  # fmt: skip

_ENABLE_VIRTUAL_TERMINAL_PROCESSING = 0x0004
_writers: list[LogWriter] = []
_error_writers: list[LogWriter] = []
"""Those of standard error."""
_handlers: list[tuple[logging.Logger, logging.Handler]] = []
"""Those that `configure_logging` has made, if it was called, and whose they are."""
_applied: list[str] = []
"""The file by which logging was configured, if it was."""
_RESET = "\x1b[0m"
_STATUS_COLOURS = {1: "\x1b[1m", 2: "\x1b[32m", 3: "\x1b[36m", 4: "\x1b[33m", 5: "\x1b[31m"}
_LEVEL_COLOURS = {
    logging.DEBUG: "\x1b[2m",
    logging.WARNING: "\x1b[33m",
    logging.ERROR: "\x1b[31m",
    logging.CRITICAL: "\x1b[1;31m",
}


class LineFormatter(logging.Formatter):
    """What `LineHandler` has lines made by: of records, and of entries of which there is none."""

    def access_line(self, entry: AccessEntry, message: str) -> str:
        """What `format` makes of the record of `entry`, whose line is `message`."""
        raise NotImplementedError


class TextFormatter(LineFormatter):
    """Lines for people; access lines coloured by status, others by level."""

    def __init__(self, *, is_coloured: bool, names_process: bool = False) -> None:
        process = "[%(process)d] " if names_process else ""
        super().__init__(f"%(asctime)s {process}%(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S")
        self._is_coloured = is_coloured
        process = f"[{os.getpid()}] " if names_process else ""
        self._access_head = f"%Y-%m-%d %H:%M:%S {process}INFO "
        self._second_and_head = (0, "")
        """The last second in which an access line was made, and what its lines begin with."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        colour = self._colour(record) if self._is_coloured else ""
        return f"{colour}{line}{_RESET}" if colour else line

    def access_line(self, entry: AccessEntry, message: str) -> str:
        now = int(time.time())
        second, head = self._second_and_head
        if second != now:
            head = time.strftime(self._access_head, self.converter(now))
            self._second_and_head = now, head
        colour = _STATUS_COLOURS.get(entry.status // 100, "") if self._is_coloured else ""
        return f"{colour}{head}{message}{_RESET}" if colour else f"{head}{message}"

    def _colour(self, record: logging.LogRecord) -> str:
        status = getattr(record, "status", None)
        if isinstance(status, int):
            return _STATUS_COLOURS.get(status // 100, "")
        return _LEVEL_COLOURS.get(record.levelno, "")


class JSONFormatter(LineFormatter):
    """One JSON object a line; access lines carry their fields."""

    def __init__(self, *, names_process: bool = False) -> None:
        super().__init__()
        self._names_process = names_process

    def access_line(self, entry: AccessEntry, message: str) -> str:
        line = self._begun(time.time(), "info", ACCESS_LOGGER, message)
        fields = entry.fields()
        line.update({name: fields[name] for name in ACCESS_FIELDS})
        line.update({name: fields[name] for name in entry.named})
        return json.dumps(line, ensure_ascii=False)

    def format(self, record: logging.LogRecord) -> str:
        level, message = record.levelname.lower(), record.getMessage()
        entry = self._begun(record.created, level, record.name, message)
        fields = record.__dict__
        entry.update({name: fields[name] for name in ACCESS_FIELDS if name in fields})
        # Those that the format of access lines names itself, as "request:traceparent".
        entry.update({name: value for name, value in fields.items() if ":" in name})
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)

    def _begun(self, created: float, level: str, logger: str, message: str) -> dict[str, object]:
        """An object with what all lines have."""
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(created, UTC).isoformat(timespec="milliseconds"),
            "level": level,
            "logger": logger,
            "message": message,
        }
        if self._names_process:
            entry["process"] = os.getpid()
        return entry


class LineHandler(logging.StreamHandler[Any], EntryHandler):
    """Writes lines to the thread that writes them, or to a stream."""

    def write_entry(self, entry: AccessEntry, message: str) -> bool:
        formatter, stream = self.formatter, self.stream
        if not isinstance(stream, LogWriter) or not isinstance(formatter, LineFormatter):
            return False
        stream.write(f"{formatter.access_line(entry, message)}\n")
        return True


def is_logging_configured(config: Config) -> bool:
    """Whether the program has said where log lines go, or has done as `config` says."""
    if config.log_config is not None:
        return _applied == [config.log_config]
    return logging.getLogger(LOGGER).hasHandlers()


def configure_logging(
    config: Config, *, in_background: bool = True, names_process: bool = False
) -> None:
    """Write the log of this package to standard error, as `config` says; nowhere without one.

    Access lines go to a file, if it names one. If there is a `log_config`, that says it all.
    May be called again, as in a process that was forked.

    Args:
        config: says how lines look.
        in_background: whether a thread writes them, and nobody else waits.
        names_process: whether lines have the number of the process, since others write there, too.

    Raises:
        ConfigError: a file that `config` names cannot be used.
    """
    while _handlers:
        logger, handler = _handlers.pop()
        logger.removeHandler(handler)
    if config.log_config is not None:
        apply_log_config(config.log_config)
        _applied[:] = [config.log_config]
        return
    if config.access_log_file is not None:
        file = open_log_file(config.access_log_file, "access_log_file")
        form = _formatter(config, is_coloured=False, names_process=names_process)
        place = config.access_log_file
        _handle(ACCESS_LOGGER, _handler_for(file, form, place, in_background=in_background))
    _handle(LOGGER, _handler_of_errors(config, names_process, in_background=in_background))
    logging.getLogger(LOGGER).setLevel(config.log_level.upper())


def _handle(name: str, handler: logging.Handler) -> None:
    logger = logging.getLogger(name)
    _handlers.append((logger, handler))
    logger.addHandler(handler)
    # The application may configure the root logger as it likes; no line is written twice.
    logger.propagate = False


def _handler_of_errors(
    config: Config, names_process: bool, *, in_background: bool
) -> logging.Handler:
    stream: TextIO | None = sys.stderr
    # Python has none under pythonw, in a Windows service, or if its descriptor is closed.
    if stream is None or stream.closed:
        return logging.NullHandler()
    form = _formatter(config, is_coloured=is_coloured(stream), names_process=names_process)
    handler = _handler_for(stream, form, "standard error", in_background=in_background)
    if isinstance(handler.stream, LogWriter):
        _own_errors(handler.stream)
    return handler


def _handler_for(
    stream: TextIO, formatter: logging.Formatter, place: str, *, in_background: bool
) -> LineHandler:
    tell_lost = partial(_line_of_lost, formatter, place)
    writer = writer_for(stream, tell_lost) if in_background else None
    if writer is not None:
        _writers.append(writer)
        atexit.register(finish_log)
    handler = LineHandler(writer or stream)
    handler.setFormatter(formatter)
    return handler


def _own_errors(writer: LogWriter) -> None:
    _error_writers.append(writer)
    # Where Python puts what loggers without a handler have to say, asyncio's for instance: it would
    # wait for standard error, in the loop's thread.
    logging.lastResort = logging.StreamHandler(writer)
    logging.lastResort.setLevel(logging.WARNING)


def _formatter(config: Config, *, is_coloured: bool, names_process: bool) -> logging.Formatter:
    if config.log_format == "json":
        return JSONFormatter(names_process=names_process)
    return TextFormatter(is_coloured=is_coloured, names_process=names_process)


def _line_of_lost(formatter: logging.Formatter, place: str, number: int) -> str:
    lost = f"{counted(number, 'log line')} {'was' if number == 1 else 'were'} lost"
    message = f"{lost} while {place} could not be written"
    record = logging.LogRecord(
        f"{LOGGER}.server", logging.WARNING, __file__, 0, message, None, None
    )
    return f"{formatter.format(record)}\n"


def flush_log() -> None:
    """Wait for log lines that are still to be written, so that what follows comes behind them.

    Not for long: nobody may be reading them.
    """
    for writer in _writers:
        writer.drain()


def finish_log() -> None:
    """Write what is left of the log, at the end of the process.

    From then on nothing holds the process up: if standard error cannot be written, the null device
    takes its place.
    """
    for writer in _writers:
        writer.finish()


def write_error(text: str) -> None:
    """Say why this process does not serve, behind what it has logged."""
    if _error_writers:
        _error_writers[-1].write(text)
    elif sys.stderr is not None:
        sys.stderr.write(text)


def enable_loggers() -> None:
    """Switch this package's loggers on again, behind the application's import.

    `logging.config.dictConfig` disables every logger that exists and that it is not told of, unless
    it gets ``disable_existing_loggers=False``, which is not its default. Nobody means the server.
    """
    for name, logger in logging.root.manager.loggerDict.items():
        if isinstance(logger, logging.Logger) and f"{name}.".startswith(f"{LOGGER}."):
            logger.disabled = False


def is_coloured(stream: TextIO) -> bool:
    """Whether colours suit `stream`: a terminal that has them.

    NO_COLOR (no-color.org) and FORCE_COLOR (force-color.org) decide without a look at it; the first
    counts for more.
    """
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb" and _obeys_escapes(stream)


def _obeys_escapes(stream: TextIO) -> bool:
    """Whether a terminal takes escape sequences for what they are; Windows has to be asked to."""
    if sys.platform != "win32":
        return True
    import ctypes
    import msvcrt

    kernel, mode = ctypes.windll.kernel32, ctypes.c_uint32()
    console = msvcrt.get_osfhandle(stream.fileno())
    return bool(
        kernel.GetConsoleMode(console, ctypes.byref(mode))
        and kernel.SetConsoleMode(console, mode.value | _ENABLE_VIRTUAL_TERMINAL_PROCESSING)
    )
