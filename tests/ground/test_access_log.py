"""Access entries: their fields, their lines, and what must not get into a log."""

from __future__ import annotations

import logging

import pytest

from asyncwsgi.access_log import (
    DEFAULT_FORMAT,
    AccessEntry,
    AccessLogger,
    check_format,
    escape,
)

ENTRY = AccessEntry(
    client="192.0.2.1",
    method="GET",
    target="/path?query",
    protocol="HTTP/1.1",
    status=200,
    size=1234,
    seconds=0.0123456,
    referer="http://example.com/",
    user_agent="tests/1",
)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What is logged, access lines too."""
    caplog.set_level(logging.INFO, "asyncwsgi.access")
    return caplog


def test_the_fields_of_an_entry() -> None:
    assert ENTRY.fields() == {
        "client": "192.0.2.1",
        "method": "GET",
        "target": "/path?query",
        "protocol": "HTTP/1.1",
        "status": 200,
        "size": 1234,
        "duration": "12.3ms",
        "seconds": 0.012346,
        "referer": "http://example.com/",
        "user_agent": "tests/1",
    }


def test_the_line_of_an_entry(log: pytest.LogCaptureFixture) -> None:
    AccessLogger().log(ENTRY)
    assert log.messages == ['192.0.2.1 "GET /path?query HTTP/1.1" 200 1234 12.3ms']


def test_the_fields_stand_on_the_record(log: pytest.LogCaptureFixture) -> None:
    AccessLogger().log(ENTRY)
    (record,) = log.records
    assert {name: getattr(record, name) for name in ENTRY.fields()} == ENTRY.fields()


def test_nothing_is_logged_if_nobody_listens(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "asyncwsgi.access")
    caplog.handler.setLevel(logging.INFO)
    AccessLogger().log(ENTRY)
    assert caplog.records == []


def test_a_record_is_made_and_handled_as_any_of_its_logger(log: pytest.LogCaptureFixture) -> None:
    class Made(logging.LogRecord):
        pass

    seen: list[logging.LogRecord] = []

    def refuse(record: logging.LogRecord) -> bool:
        seen.append(record)
        return False

    factory, logger = logging.getLogRecordFactory(), logging.getLogger("asyncwsgi.access")
    logging.setLogRecordFactory(Made)
    logger.addFilter(refuse)
    try:
        AccessLogger().log(ENTRY)
    finally:
        logging.setLogRecordFactory(factory)
        logger.removeFilter(refuse)
    assert log.records == []
    (record,) = seen
    assert isinstance(record, Made)
    assert (record.name, record.levelno, record.args) == (logger.name, logging.INFO, ENTRY.fields())
    assert (record.module, record.funcName) == ("access_log", "log")


def test_a_percent_sign_in_a_request_is_no_conversion(log: pytest.LogCaptureFixture) -> None:
    AccessLogger("%(target)s %(user_agent)s").log(
        ENTRY._replace(target="/%73%(status)s", user_agent="100%d")
    )
    assert log.messages == ["/%73%(status)s 100%d"]


def test_whether_anyone_listens_follows_the_logger(caplog: pytest.LogCaptureFixture) -> None:
    access_logger = AccessLogger()
    caplog.set_level(logging.WARNING, "asyncwsgi")
    assert not access_logger.is_enabled()
    caplog.set_level(logging.INFO, "asyncwsgi")
    assert access_logger.is_enabled()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("/path?a=b%20c&d", "/path?a=b%20c&d", id="a plain target"),
        pytest.param("\x1b[31m", r"\x1b[31m", id="ESC, which begins a terminal's commands"),
        pytest.param("a\r\nb", r"a\x0d\x0ab", id="line ends"),
        pytest.param("\x00\x07\t", r"\x00\x07\x09", id="other control characters"),
        pytest.param("\x7f", r"\x7f", id="DEL"),
        pytest.param("\x9b31m", r"\x9b31m", id="CSI, which is ESC [ in one character"),
        pytest.param('" 200 "', r"\x22 200 \x22", id="quotes, which end a field"),
        pytest.param(r"\x1b", r"\x5cx1b", id="backslashes, which are ours"),
        pytest.param("caf\xe9", "caf\xe9", id="letters beyond ASCII"),
        pytest.param("\xa0\xad\u2028", "\xa0\xad\u2028", id="what is no letter beyond ASCII"),
    ],
)
def test_escaping(text: str, expected: str) -> None:
    assert escape(text) == expected


class Lying(str):
    """A str as an application may put it into its environ; it finds nothing wrong with itself."""

    __slots__ = ()

    def __contains__(self, _: object) -> bool:
        return False

    def __format__(self, _: str) -> str:
        return "forged"

    __str__ = __repr__ = lambda self: "forged"

    def isprintable(self) -> bool:
        return True

    def translate(self, _: object) -> Lying:
        return self


@pytest.mark.parametrize(("text", "expected"), [("spam", "spam"), ('\x1b"', r"\x1b\x22")])
def test_of_a_subclass_of_str_its_characters_are_logged(
    text: str, expected: str, log: pytest.LogCaptureFixture
) -> None:
    AccessLogger("%(user_agent)s").log(ENTRY._replace(user_agent=Lying(text)))
    assert log.messages == [expected]


@pytest.mark.parametrize("name", ["method", "target", "referer", "user_agent"])
def test_what_the_client_says_is_escaped(name: str) -> None:
    entry = AccessEntry(**{**ENTRY._asdict(), name: '\x1b"'})
    assert entry.fields()[name] == r"\x1b\x22"


@pytest.mark.parametrize("line_format", [DEFAULT_FORMAT, "%(status)s", "%(status)d 100%%"])
def test_a_format_that_every_entry_fills_in_is_accepted(line_format: str) -> None:
    check_format(line_format)
