"""What ``asyncwsgi`` says once the application is served."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from asyncwsgi import __version__
from tests.doors.conftest import Start, Write
from tests.doors.processes import replace

APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "0")])
    return [b""]
"""


@pytest.fixture
def web(write: Write) -> Path:
    """The module ``web``."""
    return write("web.py", APP)


def start_lines(log: str) -> list[str]:
    return [line for line in log.splitlines() if f"asyncwsgi {__version__} serves" in line]


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param(
            ["--loop", "asyncio", "--threads", "3"],
            "(asyncio, 3 threads; Ctrl+C to stop)",
            id="one",
        ),
        pytest.param(
            ["--loop", "uvloop", "--threads", "1", "--reload"],
            "(uvloop, 1 thread; Ctrl+C to stop)",
            id="reload",
        ),
        pytest.param(
            ["--loop", "asyncio", "--workers", "1"],
            "(1 worker, asyncio, 40 threads each; Ctrl+C to stop)",
            id="workers",
        ),
    ],
)
def test_it_is_one_line_with_all_that_people_want_to_know(
    start: Start, options: list[str], said: str
) -> None:
    process = start("-m", "asyncwsgi", "--port", "0", *options, "web:app")
    line = process.read_until("listening on ")
    expected = rf"asyncwsgi {re.escape(__version__)} serves web:app {re.escape(said)}, "
    assert re.search(f"INFO {expected}listening on http://127.0.0.1:[0-9]+$", line)
    assert process.interrupt() == 0
    assert process.log.count("listening on ") == 1


@pytest.mark.usefixtures("web")
def test_workers_say_it_together_and_each_that_it_serves(start: Start) -> None:
    process = start("-m", "asyncwsgi", "--port", "0", "--workers", "3", "web:app")
    for _ in range(3):
        process.read_until(" serves\n")
    assert process.interrupt() == 0
    assert len(start_lines(process.log)) == 1
    assert process.log.count("listening on ") == 1


def test_new_code_says_where_it_is_served_but_not_all_the_rest(start: Start, web: Path) -> None:
    process = start("-m", "asyncwsgi", "--port", "0", "--reload", "web:app")
    process.read_until(" for changes")
    replace(web, "[b", "[ b")
    line = process.read_until("the new code serves, listening on http://127.0.0.1:")
    assert __version__ not in line
    assert process.interrupt() == 0
    assert len(start_lines(process.log)) == 1


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize("mode", [[], ["--reload"]], ids=["plain", "reload"])
@pytest.mark.parametrize(
    ("host", "url"),
    [
        pytest.param("0.0.0.0", "http://127.0.0.1:", id="of IPv4"),
        pytest.param("::", "http://[::1]:", id="of IPv6"),
    ],
)
def test_a_wildcard_is_a_note_and_the_url_can_be_opened(
    start: Start, host: str, url: str, mode: list[str]
) -> None:
    process = start("-m", "asyncwsgi", "--host", host, "--port", "0", *mode, "web:app")
    with process.connect() as client:
        assert client.get().status == 200
    assert f", on all interfaces, listening on {url}" in process.log
