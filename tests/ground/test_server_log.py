"""The log of the server, with a program whose logging fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from asyncwsgi.server_log import logger
from tests.requests.helpers import broken_logging


def test_a_line_that_cannot_be_written_raises_nothing() -> None:
    with broken_logging("asyncwsgi.server") as was_asked:
        logger.error("spam")
    assert was_asked.is_set()


def test_a_line_is_its_callers(caplog: pytest.LogCaptureFixture) -> None:
    logger.error("spam %d", 1)
    (record,) = caplog.records
    assert record.getMessage() == "spam 1"
    assert (record.name, record.filename) == ("asyncwsgi.server", Path(__file__).name)
