"""The inspector of a Flask application, by the plain command, in Chromium: what docs/ show of it.

``make pictures`` has it write the pictures of docs/inspecting.md anew.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from selenium.webdriver import Keys

from tests.client import TIMEOUT
from tests.doors.processes import Process
from tests.inspection import shop
from tests.inspection.page import Page
from tests.inspection.pictures import indexed, shrunk

PICTURES = os.environ.get("INSPECT_PICTURES")
SUNSET = indexed(
    [(255 - 2 * y, 170 - 2 * y, 60 + 2 * y) for y in range(64)],
    [bytes([y]) * 96 for y in range(64)],
)


class Shop:
    """The application, and its clients."""

    def __init__(self, folder: Path) -> None:
        shutil.copy(shop.__file__, folder)
        arguments = (
            "--debug",
            "--editor",
            "code",
            "--no-reload",
            "--port",
            "0",
            "--threads",
            "4",
            "shop.py:app",
        )
        self.process = Process("-m", "asyncwsgi", *arguments, directory=folder)
        self._open = ExitStack()
        self.inspector = ""
        self.url = ""

    def wait(self) -> None:
        """Wait until it and its inspector are served."""
        lines: list[str] = []
        while not (self.inspector and self.url):
            lines.append(self.process.read_until("http://"))
            if match := re.search(r"http://127\.0\.0\.1:\d+/#\S+", lines[-1]):
                self.inspector = match[0]
            elif match := re.search(r"listening on (http://\S+)", lines[-1]):
                self.url = match[1].rstrip(",")

    def request(self, method: str, target: str, **more: object) -> httpx.Response:
        return httpx.request(method, self.url + target, timeout=TIMEOUT, **more)  # type: ignore[arg-type]

    def begin(self, target: str) -> None:
        """Send a request, whose response nobody waits for."""
        thread = threading.Thread(target=self.request, args=("GET", target))
        thread.start()
        self._open.callback(thread.join)

    def follow(self, target: str) -> None:
        """Open an event stream, which stays open."""
        stream = httpx.stream("GET", self.url + target, timeout=TIMEOUT)
        self._open.enter_context(stream)

    def close(self) -> None:
        if self.url:
            self.request("GET", "/release")
        self._open.close()
        self.process.close()


@pytest.fixture
def bikes(tmp_path: Path, page: Page) -> Iterator[Shop]:
    shop = Shop(tmp_path)
    try:
        shop.wait()
        yield shop
        page.leave()
    finally:
        shop.close()


@pytest.fixture
def picture(page: Page) -> Iterator[Callable[..., None]]:
    """Takes the picture of this name, in the light or the dark, if pictures are wanted."""
    taken: dict[str, bytes] = {}

    def picture(name: str, scheme: str = "light") -> None:
        if PICTURES is None:
            return
        command = page.driver.execute_cdp_cmd
        feature = {"name": "prefers-color-scheme", "value": scheme}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        command("Emulation.setEmulatedMedia", {"features": [feature, still]})
        page.until_drawn()
        taken[name] = base64.b64decode(command("Page.captureScreenshot", {"format": "png"})["data"])

    yield picture
    # Behind the test: to shrink them takes a while, in which a stream would time out.
    for name, data in taken.items():
        Path(str(PICTURES), f"inspect-{name}.png").write_bytes(shrunk(data))


def test_the_film_strip(page: Page, picture: Callable[..., None], bikes: Shop) -> None:
    page.open(bikes.inspector)
    assert page.find("#empty").is_displayed()

    # What is quick.
    for number in range(1, 9):
        bikes.request("GET", f"/api/bikes?page={number}")
        bikes.request("GET", "/")
    bikes.request("GET", "/")
    bikes.request("GET", "/api/bikes")
    bikes.request("GET", "/api/bikes?sort=price")
    bikes.request("POST", "/login", data={"user": "ann", "password": "secret word"})
    bikes.request("GET", "/bikes/17")
    page.choose("/api/bikes")
    text = page.tab("timeline")
    assert "SQL: 1 statement" in text
    assert "URL is matched" in text
    assert "shop.bikes" in page.text("#detail .facts")
    assert "Touring" in page.tab("response")
    page.choose("/login")
    assert "user ann" in page.tab("request")
    assert "secret word" not in page.panel()

    # A slow query.
    bikes.request("GET", "/api/sales?days=400000")
    page.choose("/api/sales?days=400000")
    page.until(lambda: "SQL: 2 statements" in page.tab("timeline"))
    assert "WITH RECURSIVE sale" in page.text(".statements")
    picture("slow-query")
    assert "no index helps" in page.tab("logs")

    # An exception.
    assert bikes.request("POST", "/checkout", json={"bike": 3, "count": 1}).status_code == 500
    page.choose("/checkout")
    assert page.tab("traceback").startswith("KeyError: 3")
    assert page.text(".frames li strong") == "reserve"
    assert "shop.py" in page.text(".frames .place")
    page.until(lambda: page.count(".traceback a[target]") == 1)
    debugger = str(page.find(".traceback a[target]").get_attribute("href"))
    picture("exception")

    # An upload; the picture comes back.
    upload = {"photo": ("bike.png", SUNSET, "image/png")}
    assert bikes.request("POST", "/photos", files=upload).content == SUNSET
    page.choose("/photos")
    assert "photo bike.png image/png" in page.tab("request")
    page.tab("response")
    page.until(lambda: page.find("#panel img").get_property("naturalWidth") == 96)
    picture("upload")

    # An event stream that is open.
    bikes.follow("/prices")
    page.choose("/prices")
    page.tab("events")
    page.until(lambda: '{"bike": 3, "price": 1320}' in page.panel())
    assert "The stream is open." in page.panel()
    picture("events")

    # A request that hangs, where it does.
    bikes.begin("/report")
    page.choose("/report")
    page.press("s")
    page.until(lambda: "is_released.wait()" in page.panel())
    assert page.text(".frames .own strong") == "report"
    page.until(lambda: "1 of 4 threads busy" in page.text("#threads-text"))
    picture("hangs", "dark")
    page.press(Keys.ESCAPE)
    picture("list", "dark")

    # Replay, changed.
    page.choose("/checkout")
    page.press("e")
    body = page.find("#replay [name=body]")
    assert body.get_property("value") == '{"bike":3,"count":1}'
    body.clear()
    body.send_keys('{"bike":1,"count":1}')
    picture("replay")
    body.send_keys(Keys.CONTROL, Keys.ENTER)
    page.until(lambda: "200" in page.text("#detail h2"))
    assert "replay of" in page.text("#detail .facts")
    assert '"left": 3' in page.tab("response")

    # The debugger of the exception, to which its traceback has led.
    page.driver.get(debugger)
    assert page.driver.title == "KeyError: 3 // Werkzeug Debugger"
