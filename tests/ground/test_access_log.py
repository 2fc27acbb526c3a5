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
    ],
)
def test_escaping(text: str, expected: str) -> None:
    assert escape(text) == expected


@pytest.mark.parametrize("name", ["method", "target", "referer", "user_agent"])
def test_what_the_client_says_is_escaped(name: str) -> None:
    entry = AccessEntry(**{**ENTRY._asdict(), name: '\x1b"'})
    assert entry.fields()[name] == r"\x1b\x22"


@pytest.mark.parametrize("line_format", [DEFAULT_FORMAT, "%(status)s", "%(status)d 100%%"])
def test_a_format_that_every_entry_fills_in_is_accepted(line_format: str) -> None:
    check_format(line_format)
