"""The page of the inspector in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.inspection.page import Page
from tests.inspection.recorded import Recorded
from tests.serving.browser.conftest import chromium

if TYPE_CHECKING:
    from selenium.webdriver import Chrome


@pytest.fixture(scope="module")
def tabs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """One browser for all tests of a module: each has a tab of its own, and sites of their own."""
    with chromium(tmp_path_factory.mktemp("profile"), "--window-size=1280,860") as driver:
        yield driver


@pytest.fixture
def page(tabs: Chrome) -> Iterator[Page]:
    """A new tab. In the end nothing may stand in its console, where violations of the content
    security policy do, too, but for what the test has taken out.
    """
    first = tabs.current_window_handle
    tabs.switch_to.new_window("tab")
    page = Page(tabs)
    page.console()  # whatever the tab before has left
    yield page
    left = page.console()
    tabs.close()
    tabs.switch_to.window(first)
    assert left == []


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    """Give its `server_class` to a server, and look at its `reports`."""
    made = Recorded()
    yield made
    made.close()
