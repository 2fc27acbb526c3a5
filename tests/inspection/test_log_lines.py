"""The inspector hears of log lines, and changes none."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from asyncwsgi.access_log import AccessEntry, AccessLogger, EntryHandler
from asyncwsgi.inspection.log_lines import LogLines

ENTRY = AccessEntry("", "GET", "/", "HTTP/1.1", 200, 0, 0.0, "-", "-", {})


class Written(EntryHandler):
    """Can write access lines of which there is no record."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def write_entry(self, entry: AccessEntry, message: str) -> bool:
        self.calls.append("an entry")
        return True

    def emit(self, record: logging.LogRecord) -> None:
        self.calls.append("a record")


@contextmanager
def only_handler() -> Iterator[Written]:
    """Nobody else sees access lines; pytest has handlers for them in each test."""
    logger, handler = logging.getLogger("asyncwsgi.access"), Written()
    before = (logger.level, logger.propagate, logger.handlers)
    logger.propagate, logger.handlers = False, [handler]
    logger.setLevel(logging.INFO)
    try:
        yield handler
    finally:
        level, logger.propagate, logger.handlers = before
        logger.setLevel(level)


@pytest.fixture
def factory() -> Iterator[None]:
    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(logging.LogRecord)
    yield
    logging.setLogRecordFactory(before)


@pytest.mark.usefixtures("factory")
class TestAccessLines:
    def test_they_need_no_record_for_it(self) -> None:
        # A record costs a third of a small view.
        lines = LogLines(lambda: None)
        lines.open()
        with only_handler() as written:
            AccessLogger().log(ENTRY)
        lines.close()
        assert written.calls == ["an entry"]

    def test_who_made_records_before_sees_them_still(self) -> None:
        logging.setLogRecordFactory(lambda *args, **kwargs: logging.LogRecord(*args, **kwargs))
        lines = LogLines(lambda: None)
        lines.open()
        with only_handler() as written:
            AccessLogger().log(ENTRY)
        lines.close()
        assert written.calls == ["a record"]


@pytest.mark.usefixtures("factory")
def test_who_has_taken_its_place_keeps_it() -> None:
    lines = LogLines(lambda: None)
    lines.open()
    ours = logging.getLogRecordFactory()

    def other(*args: object, **kwargs: object) -> logging.LogRecord:
        return ours(*args, **kwargs)

    logging.setLogRecordFactory(other)
    lines.close()
    assert logging.getLogRecordFactory() is other
    assert logging.getLogger("spam").makeRecord("spam", 10, "", 0, "a", (), None).msg == "a"
