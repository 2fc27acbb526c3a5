"""Two tabs that chat over flask-sock, by the plain command."""

from __future__ import annotations

import shutil
from pathlib import Path

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions as condition
from selenium.webdriver.support.wait import WebDriverWait

from tests.doors import chat
from tests.doors.processes import Process
from tests.serving.browser.conftest import PATIENCE

LINES = (By.CSS_SELECTOR, "#said li")


def test_two_tabs_chat_and_hear_of_the_end(tmp_path: Path, browser: Chrome) -> None:
    app = Path(shutil.copy(chat.__file__, tmp_path / "app.py"))
    process = Process("-m", "asyncwsgi", "--debug", "--port", "0", f"{app}:app", directory=tmp_path)
    try:
        url = process.urls()[0]
        one = enter(browser, url)
        browser.switch_to.new_window("tab")
        other = enter(browser, url)
        assert one != other

        say(browser, "hello from the other")
        hear(browser, "hello from the other")
        browser.switch_to.window(one)
        hear(browser, "hello from the other")
        say(browser, "hello back")
        browser.switch_to.window(other)
        hear(browser, "hello back")

        assert process.interrupt() == 0
        for tab in (one, other):
            browser.switch_to.window(tab)
            WebDriverWait(browser, PATIENCE).until(condition.title_is("closed"))
    finally:
        process.close()


def enter(browser: Chrome, url: str) -> str:
    """Load the page into this tab, and wait until its WebSocket is open; which tab it is."""
    browser.get(f"{url}/")
    WebDriverWait(browser, PATIENCE).until(condition.title_is("open"))
    return browser.current_window_handle


def say(browser: Chrome, text: str) -> None:
    field = browser.find_element(By.ID, "text")
    field.send_keys(text)
    field.submit()


def hear(browser: Chrome, text: str) -> None:
    def has_come(driver: Chrome) -> bool:
        return text in [line.text for line in driver.find_elements(*LINES)]

    WebDriverWait(browser, PATIENCE).until(has_come)
