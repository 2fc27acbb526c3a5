"""examples/websocket_chat.py: who is in a room hears what is said there, on one worker thread."""

from __future__ import annotations

import json

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait
from websockets.exceptions import ConnectionClosedOK, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.client import TIMEOUT
from tests.examples.programs import served_by_command_line
from tests.serving.browser.conftest import PATIENCE


def heard(client: ClientConnection) -> object:
    return json.loads(client.recv(TIMEOUT))


def test_a_room_hears_what_is_said_in_it_and_who_comes_and_goes() -> None:
    with served_by_command_line("websocket_chat.py", "--threads", "1") as program:
        url = program.read_url().replace("http", "ws", 1)
        with connect(f"{url}/chat/a") as one, connect(f"{url}/chat/b") as elsewhere:
            assert heard(one) == heard(elsewhere) == {"here": 1}
            with connect(f"{url}/chat/a") as other:
                assert heard(one) == heard(other) == {"here": 2}
                other.send('{"name": "Ann", "text": "hello"}')
                assert heard(one) == heard(other) == {"name": "Ann", "text": "hello"}
            assert heard(one) == {"here": 1}
            elsewhere.send('{"name": "Ben", "text": "nobody here"}')
            assert heard(elsewhere) == {"name": "Ben", "text": "nobody here"}
            with pytest.raises(InvalidStatus, match="403"), connect(f"{url}/chat/a?name=Mallory"):
                pass
            assert program.interrupt() in (0, 130)
            for client in (one, elsewhere):
                with pytest.raises(ConnectionClosedOK, match="1001"):
                    client.recv(TIMEOUT)
        assert "Traceback" not in program.log


def test_two_tabs_of_a_browser_chat(browser: Chrome) -> None:
    with served_by_command_line("websocket_chat.py", "--threads", "1") as program:
        url = program.read_url()
        wait = WebDriverWait(browser, PATIENCE)

        def shows(tab: str, text: str) -> None:
            browser.switch_to.window(tab)
            wait.until(lambda driver: text in driver.find_element(By.TAG_NAME, "body").text)

        def say(tab: str, name: str, text: str) -> None:
            browser.switch_to.window(tab)
            field = browser.find_element(By.NAME, "name")
            field.clear()
            field.send_keys(name)
            browser.find_element(By.NAME, "text").send_keys(text)
            browser.find_element(By.TAG_NAME, "button").click()

        browser.get(url)
        first = browser.current_window_handle
        shows(first, "1 here")
        browser.switch_to.new_window("tab")
        browser.get(url)
        second = browser.current_window_handle
        shows(second, "2 here")
        say(second, "Ann", "hello from the second tab")
        shows(first, "Ann: hello from the second tab")
        say(first, "Ben", "and from the first")
        shows(second, "Ben: and from the first")
        browser.close()
        shows(first, "1 here")
        program.interrupt()
        shows(first, "connecting again")
        log = browser.get_log("browser")  # type: ignore[no-untyped-call]
        assert [
            line for line in log if "WebSocket" not in str(line) and "favicon" not in str(line)
        ] == []
