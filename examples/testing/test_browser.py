"""A page in a real browser: Selenium and Chromium without a window.

Chromium and chromedriver are looked for on PATH (`make browser` installs them).

    python -m pytest examples/testing/test_browser.py

With Playwright, whose plugin for pytest has a fixture `page`, no fixture `browser` is needed:

    def test_a_click_is_counted(asyncwsgi_server, page):
        page.goto(asyncwsgi_server.url)
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import flask
import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions
from selenium.webdriver.support.wait import WebDriverWait

from asyncwsgi.testing import LiveServer

PAGE = """<!doctype html>
<title>Likes</title>
<button>Like</button> <output>0</output>
<script>
document.querySelector("button").onclick = async () => {
  const response = await fetch("/likes", {method: "POST"});
  document.querySelector("output").textContent = await response.text();
};
</script>
"""
PATIENCE = 10
"""Seconds that a page gets to show what a test waits for."""


@pytest.fixture
def app() -> flask.Flask:
    app = flask.Flask("likes")
    app.config["LIKES"] = 0

    @app.get("/")
    def index() -> str:
        return PAGE

    @app.post("/likes")
    def like() -> str:
        app.config["LIKES"] += 1
        return str(app.config["LIKES"])

    return app


@pytest.fixture(scope="session")
def browser() -> Iterator[Chrome]:
    """One browser for all tests: it takes longer to start than a server does."""
    options = ChromeOptions()
    options.add_argument("--headless=new")
    options.add_argument("--disable-dev-shm-usage")  # /dev/shm is small in a container
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium's sandbox refuses root
    if chromium := shutil.which("chromium"):
        options.binary_location = chromium
    driver = Chrome(options, ChromeService(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def test_a_click_is_counted(
    asyncwsgi_server: LiveServer, browser: Chrome, app: flask.Flask
) -> None:
    browser.get(asyncwsgi_server.url)
    browser.find_element(By.TAG_NAME, "button").click()
    shown = expected_conditions.text_to_be_present_in_element((By.TAG_NAME, "output"), "1")
    WebDriverWait(browser, PATIENCE).until(shown)
    assert app.config["LIKES"] == 1


def test_the_server_says_what_the_browser_asked_for(
    asyncwsgi_server: LiveServer, browser: Chrome
) -> None:
    browser.get(asyncwsgi_server.url_for("/"))
    browser.find_element(By.TAG_NAME, "button").click()
    request = asyncwsgi_server.wait_for_request("/likes", method="POST")
    assert request.status == 200
    assert request.header("Origin") == asyncwsgi_server.url
    assert "Chrom" in (request.header("User-Agent") or "")
