"""What a developer does all day with ``--debug``, in a browser: load, fail, look, edit, load."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions as condition
from selenium.webdriver.support.wait import WebDriverWait

from tests.doors.processes import Process, replace
from tests.reloading.conftest import has_ended
from tests.serving.browser.conftest import PATIENCE

SITE = Path(__file__).parent / "site_under_test"
MOST_CONNECTIONS = 6
"""Browsers open no more to one host; Werkzeug's own server makes them open one for each request."""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A copy of the site, to be edited."""
    return Path(shutil.copytree(SITE, tmp_path / "site"))


def test_flask_run(site: Path, browser: Chrome) -> None:
    # Hides the package of that name. With watchdog, Werkzeug serves before it watches, and an edit
    # may come too early; without, it has looked at every file once before it serves.
    (site / "watchdog.py").touch()
    arguments = ("--app", "app", "run", "--debug", "--port", "0")
    process = Process("-m", "asyncwsgi.flask", *arguments, directory=site)
    try:
        url = process.read_until(" * Running on ").rpartition(" ")[2]
        pin = process.read_until(" * Debugger PIN: ").rpartition(" ")[2]
        debug(site, browser, url, pin)
    finally:
        process.close()


def test_command_line(site: Path, browser: Chrome) -> None:
    process = Process("-m", "asyncwsgi", "--debug", "--port", "0", "app.py:app", directory=site)
    try:
        pin = process.read_until(" * Debugger PIN: ").rpartition(" ")[2]
        url = process.urls()[0]
        debug(site, browser, url, pin)
    finally:
        process.close()


def debug(site: Path, browser: Chrome, url: str, pin: str) -> None:
    load_page(browser, url)
    assert browser.find_element(By.ID, "answer").text == "the first answer"
    assert_connections_were_kept(browser, url)

    browser.get(f"{url}/fails")
    look_at_frames(browser)
    assert evaluate(browser, "secret + 100", pin) == "142"

    pid = fetched(browser, url, "/pid")
    replace(site / "app.py", "the first answer", "another answer")
    # Until then, a connection that was kept may be answered by the code from before.
    assert has_ended(pid)
    load_page(browser, url)
    assert browser.find_element(By.ID, "answer").text == "another answer"


def load_page(browser: Chrome, url: str) -> None:
    """Load the page and everything on it."""
    browser.get(url)
    look = (
        "return [window.loaded, document.styleSheets.length,"
        " Array.from(document.images).filter(image => image.naturalWidth == 10).length];"
    )
    wait = WebDriverWait(browser, PATIENCE)
    wait.until(lambda _: browser.execute_script(look) == [13, 13, 14])


def fetched(browser: Chrome, url: str, target: str) -> Any:
    """What the page's own JavaScript gets from there, read as JSON."""
    fetch = "fetch(arguments[0]).then(reply => reply.json()).then(arguments[1]);"
    return browser.execute_async_script(fetch, url + target)


def assert_connections_were_kept(browser: Chrome, url: str) -> None:
    seen = fetched(browser, url, "/peers")
    assert seen["requests"] == 1 + 13 + 13 + 14 + 1
    assert seen["connections"] <= MOST_CONNECTIONS


def look_at_frames(browser: Chrome) -> None:
    WebDriverWait(browser, PATIENCE).until(condition.title_contains("Werkzeug Debugger"))
    assert "this view fails" in browser.find_element(By.CSS_SELECTOR, ".errormsg").text
    frame = browser.find_elements(By.CSS_SELECTOR, "div.traceback div.frame")[-1]
    assert frame.find_element(By.CSS_SELECTOR, ".function").text == "fails"
    assert "raise RuntimeError(" in frame.find_element(By.CSS_SELECTOR, ".source .current").text


def evaluate(browser: Chrome, expression: str, pin: str) -> str:
    """What the console of the innermost frame says, once it is unlocked."""
    wait = WebDriverWait(browser, PATIENCE)
    frame = browser.find_elements(By.CSS_SELECTOR, "div.traceback div.frame")[-1]
    line = frame.find_element(By.CSS_SELECTOR, "pre.current")
    # The icon shows when the pointer is over its line; a script's click needs no pointer.
    browser.execute_script("arguments[0].click()", line.find_element(By.TAG_NAME, "img"))

    prompt = browser.find_element(By.CLASS_NAME, "pin-prompt")
    entry = wait.until(condition.element_to_be_clickable(prompt.find_element(By.NAME, "pin")))
    # Werkzeug's script fades it in and out, frame by frame; who answers before it is there has both
    # go on for ever, each undoing what the other does.
    wait.until(lambda _: float(prompt.value_of_css_property("opacity")) > 0.95)
    entry.send_keys(pin, Keys.ENTER)
    wait.until(condition.invisibility_of_element(prompt))

    command = browser.find_element(By.CSS_SELECTOR, "pre.console input")
    command.send_keys(expression, Keys.ENTER)
    answer = (By.CSS_SELECTOR, "pre.console .output .number")
    return str(wait.until(condition.visibility_of_element_located(answer)).text)
