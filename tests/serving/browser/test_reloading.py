"""``asyncwsgi --reload`` under a browser that does not stop asking."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from selenium.webdriver import Chrome

from tests.doors.processes import READY, Process, replace
from tests.reloading.conftest import has_ended

SITE = Path(__file__).parent / "site_under_test"
RELOADS = 10
HELD = 5
"""Requests in flight during each reload, and as many behind it. Browsers open six connections to a
host, and one has to be left."""

# Each URL is another one: a browser asks for the same one after the other.
ASK = """\
window.replies = Array.from({length: arguments[1]}, (_, number) =>
  fetch(`${arguments[0]}?number=${number}`).then(
    reply => reply.text(), error => `lost: ${error}`));
"""
PID = "fetch('/pid').then(reply => reply.json()).then(arguments[0]);"
HEAR = "Promise.all(window.replies).then(arguments[0]);"


def test_no_request_is_lost_or_refused_by_ten_reloads(tmp_path: Path, browser: Chrome) -> None:
    site = Path(shutil.copytree(SITE, tmp_path / "site"))
    # A browser has six connections to a host, and one of them would be the stream of --refresh.
    options = ["--reload", "--no-refresh", "--port", "0"]
    process = Process("-m", "asyncwsgi", *options, "app.py:app", directory=site)
    try:
        browser.get(process.urls()[0])
        answer = "the first answer"
        for number in range(RELOADS):
            answer = reload(site, browser, process, number, answer)
    finally:
        process.close()


def reload(site: Path, browser: Chrome, process: Process, number: int, before: str) -> str:
    """Edit the source while requests are in flight; what the application answers then."""
    pid = browser.execute_async_script(PID)
    pipe = site / f"pipe-{number}"
    os.mkfifo(pipe)
    browser.execute_script(ASK, f"/held/{pipe.name}", HELD)
    with pipe.open("w"):  # once there is a reader
        for _ in range(HELD):
            process.read_until("held")
        behind = f"answer {number}"
        replace(site / "app.py", before, behind)
        process.read_until(READY)
        process.read_until("stopping; ")
    assert browser.execute_async_script(HEAR) == [before] * HELD
    # Until then, a connection that was kept may be answered by the code from before.
    assert has_ended(pid)

    browser.execute_script(ASK, "/answer", HELD)
    assert browser.execute_async_script(HEAR) == [behind] * HELD
    return behind
