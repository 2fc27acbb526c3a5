"""A real browser: Chromium without a window, driven by Selenium."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

FLAGS = (
    "--headless=new",
    "--no-sandbox",  # its sandbox refuses to run as root, which is who tests in a container
    "--disable-dev-shm-usage",  # /dev/shm is small in a container
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE = 60
"""Seconds after which a page that does not come fails a test."""


@contextlib.contextmanager
def chromium(profile: Path, *flags: str) -> Iterator[Chrome]:
    """Chromium with this profile, until the end of the block."""
    options = ChromeOptions()
    options.binary_location = found("chromium")
    for flag in (*FLAGS, *flags, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SE_OFFLINE", "true")  # Selenium is to use what is here, and ask no one
        patch.setenv("SE_AVOID_STATS", "true")
        driver = Chrome(options, ChromeService(found("chromedriver")))
    try:
        driver.set_page_load_timeout(PATIENCE)
        driver.set_script_timeout(PATIENCE)
        yield driver
    finally:
        driver.quit()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chrome]:
    """Chromium with a profile of its own."""
    with chromium(tmp_path / "profile") as driver:
        yield driver


def found(program: str) -> str:
    """Where a program is; a machine without it fails the test, since the test is what it is for."""
    path = shutil.which(program)
    assert path, f"{program} is not installed: `make browser` installs Chromium and its driver"
    return path
