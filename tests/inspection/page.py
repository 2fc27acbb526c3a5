"""The page of the request inspector, as somebody uses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from tests.serving.browser.conftest import PATIENCE

T = TypeVar("T")

TARGETS = """
return Array.from(document.querySelectorAll("#rows .row:not([hidden])"))
  .sort((one, other) => one.ariaRowIndex - other.ariaRowIndex)
  .map((row) => row.querySelector(".target").textContent);
"""
CLICK = """
const row = Array.from(document.querySelectorAll("#rows .row:not([hidden])"))
  .find((row) => row.querySelector(".target").textContent === arguments[0]);
row?.click();
return row !== undefined;
"""


class Page:
    """A tab with the page."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        """Load it, and wait until it follows the stream."""
        self.driver.get(url)
        self.until(lambda: self.state() == "live")

    def leave(self) -> None:
        """Go elsewhere, so that its stream ends."""
        self.driver.get("about:blank")

    def state(self) -> str:
        return str(self.run("return document.body.dataset.state"))

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def run_async(self, script: str, *arguments: Any) -> Any:
        """What the page's promise, the value of the expression `script`, comes to."""
        code = f"const done = arguments[arguments.length - 1]; ({script}).then(done);"
        return self.driver.execute_async_script(code, *arguments)

    def until(self, condition: Callable[[], T]) -> T:
        """Wait until it holds; what it returned. What it looks at may be drawn anew meanwhile."""
        wait = WebDriverWait(
            self.driver, PATIENCE, 0.05, ignored_exceptions=[StaleElementReferenceException]
        )
        return wait.until(lambda _: condition())

    def steadily(self, look: Callable[[], T]) -> T:
        """What `look` returns, once nothing is drawn anew between its finding and its reading."""
        seen: list[T] = []

        def has_looked() -> bool:
            seen.append(look())
            return True

        self.until(has_looked)
        return seen[0]

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """What an element says, seen or not."""
        return self.steadily(lambda: str(self.find(selector).get_property("textContent")))

    def count(self, selector: str) -> int:
        return len(self.driver.find_elements(By.CSS_SELECTOR, selector))

    def targets(self) -> list[str]:
        """Those of the rows that exist, from top to bottom."""
        return list(self.run(TARGETS))

    def shows(self, *targets: str) -> None:
        """Wait until these are all rows, in this order."""
        self.until(lambda: self.targets() == list(targets))

    def choose(self, target: str) -> None:
        """Click on a row with this target, and wait for what is shown about it."""
        # At once: a row that was found may have become another one's when it is clicked on.
        self.until(lambda: self.run(CLICK, target))
        self.until(lambda: self.detail() == target)

    def detail(self) -> str:
        """The target of the request that is shown; nothing if none is."""

        def look() -> str:
            shown = self.driver.find_elements(By.CSS_SELECTOR, "#detail:not([hidden]) h2 .target")
            return shown[0].text if shown else ""

        return self.steadily(look)

    def tab(self, name: str) -> str:
        """Show a tab of it; what stands there."""
        self.until(lambda: self.count(f"#tab-{name}") == 1)
        self.steadily(lambda: self.find(f"#tab-{name}").click())
        # Bodies are unpacked first, which takes a moment.
        self.until(
            lambda: (
                "…" not in [p.text for p in self.driver.find_elements(By.CSS_SELECTOR, ".body > p")]
            )
        )
        return self.panel()

    def panel(self) -> str:
        return self.steadily(lambda: self.find("#panel").text)

    def says(self, text: str) -> None:
        """Wait until the line at the bottom says this."""
        self.until(lambda: self.text("#said") == text)

    def filter(self, query: str) -> None:
        field = self.find("#query")
        field.clear()
        field.send_keys(query)

    def press(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def until_drawn(self) -> None:
        """Wait until transitions are over and everything stands as it will be seen."""
        self.run_async(
            """Promise.allSettled(document.getAnimations()
              .filter((one) => one instanceof CSSTransition).map((one) => one.finished))
            .then(() => new Promise(requestAnimationFrame))"""
        )

    def console(self) -> list[str]:
        """What the browser has complained of since it was asked last."""
        lines = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [str(line["message"]) for line in lines]
