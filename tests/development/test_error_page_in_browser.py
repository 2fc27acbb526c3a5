"""The error page in a real browser: dark and light, folds, links, keys; gone when all is well."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from tests.reloading.conftest import Project, project
from tests.serving.browser.conftest import PATIENCE, browser

__all__ = ["browser", "project"]

APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/html")])
    return [b"<!doctype html><title>it serves</title>"]
"""
BROKEN = """
import json


def load():
    return json.loads("{")


load()
"""


@pytest.fixture
def page(project: Project, browser: Chrome) -> Iterator[Chrome]:
    """The page of a project that was broken while it was served."""
    project.write("web.py", APP)
    project.start("--debug", "--editor", "code")
    url = project.process.urls()[0]
    project.wait_until_watched()
    project.write("web.py", BROKEN)
    project.process.read_until("the code from before goes on")
    WebDriverWait(browser, PATIENCE).until(lambda driver: shows_error(driver, url))
    yield browser
    log = browser.get_log("browser")  # type: ignore[no-untyped-call]
    # That the answer was 500 is no complaint of the page's.
    assert [line for line in log if "500 (Internal" not in str(line)] == []


def shows_error(driver: Chrome, url: str) -> bool:
    driver.get(url)
    return driver.title == "The new code cannot be imported"


def prefer(driver: Chrome, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def luminance(colour: str) -> float:
    """WCAG 2.2: the relative luminance of a colour as browsers compute it."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def colours_of(driver: Chrome, selector: str, behind: str) -> tuple[str, str]:
    text = driver.find_element(By.CSS_SELECTOR, selector).value_of_css_property("color")
    return text, driver.find_element(By.CSS_SELECTOR, behind).value_of_css_property(
        "background-color"
    )


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_it_can_be_read_in_the_dark_and_in_the_light(page: Chrome, scheme: str) -> None:
    prefer(page, scheme)
    paper = page.find_element(By.TAG_NAME, "html").value_of_css_property("background-color")
    assert (luminance(paper) < 0.5) == (scheme == "dark")
    for selector, behind in [
        ("h1", "html"),
        ("h1 .bad", "html"),
        ("p.quiet", "html"),
        (".badge", ".badge"),
        ("a.place", ".block > summary"),
        (".source li", ".block"),
        ("li.here", "li.here"),
    ]:
        # WCAG 2.2, 1.4.3: what is enough for text of any size.
        assert contrast(*colours_of(page, selector, behind)) >= 4.5, selector


def test_the_users_frame_is_open_and_the_others_are_behind_a_fold(page: Chrome) -> None:
    here = page.find_element(By.CSS_SELECTOR, "li.here")
    assert here.is_displayed()
    assert here.text.strip() == 'return json.loads("{")'
    summary = fold(page)
    assert not named(page, "decoder.py").is_displayed()
    summary.send_keys(Keys.ENTER)
    assert named(page, "decoder.py").is_displayed()


def fold(page: Chrome) -> WebElement:
    (summary,) = (
        each for each in page.find_elements(By.TAG_NAME, "summary") if "installed" in each.text
    )
    return summary


def named(page: Chrome, file: str) -> WebElement:
    return page.find_element(By.XPATH, f"//li[contains(., '{file}')]")


def test_places_are_links_that_the_keyboard_reaches(page: Chrome, project: Project) -> None:
    link = page.find_element(By.CSS_SELECTOR, "a.place")
    path = Path(project.directory, "web.py")
    assert link.text == "web.py:6"
    assert link.get_attribute("href") == f"vscode://file/{path}:6"
    page.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB, Keys.TAB)
    assert page.switch_to.active_element == link
    assert link.value_of_css_property("outline-style") == "solid"


def test_the_traceback_can_be_copied(page: Chrome) -> None:
    origin = re.sub("/$", "", page.current_url)
    granted = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"], "origin": origin}
    page.execute_cdp_cmd("Browser.grantPermissions", granted)
    page.find_element(By.TAG_NAME, "body").send_keys("c")
    button = page.find_element(By.ID, "copy")
    WebDriverWait(page, PATIENCE).until(lambda _: button.text == "Copied")
    copied = page.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    assert copied.startswith("Traceback (most recent call last):\n")
    assert "json.decoder.JSONDecodeError" in copied


def test_it_stays_as_the_reader_left_it_until_the_code_serves(
    page: Chrome, project: Project
) -> None:
    fold(page).send_keys(Keys.ENTER)
    # It has asked twice when two more requests are in the log.
    for _ in range(2):
        project.process.read_until('"GET / HTTP/1.1" 204')
    assert named(page, "decoder.py").is_displayed()
    project.write("web.py", BROKEN.replace("load()\n", "load(1)\n"))
    WebDriverWait(page, PATIENCE).until(lambda driver: "TypeError" in driver.page_source)
    project.write("web.py", APP)
    WebDriverWait(page, PATIENCE).until(lambda driver: driver.title == "it serves")
