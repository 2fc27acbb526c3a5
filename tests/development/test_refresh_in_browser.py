"""What a developer sees in a browser while a project is edited that ``--reload`` serves."""

from __future__ import annotations

from typing import Any

from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from asyncwsgi.development.refresh import Refresh
from tests.conftest import Serve
from tests.reloading.conftest import BROKEN, Project
from tests.serving.browser.conftest import PATIENCE

APP = """
import asyncwsgi
from flask import Flask, render_template

app = Flask(__name__)

@app.get("/")
def index():
    return render_template("index.html", version="{version}")

@app.get("/strict")
def strict():
    policy = "default-src 'none'; style-src 'self'; img-src data:"
    return render_template("index.html", version="{version}"), {{"Content-Security-Policy": policy}}

@app.get("/self")
def own():
    policy = "default-src 'self'; img-src data:"
    return render_template("index.html", version="{version}"), {{"Content-Security-Policy": policy}}

@app.get("/streams")
def streams():
    return str(STREAMS[0])

# How many browsers listen, counted where the server hears of them.
STREAMS = [0]
make_body = asyncwsgi.EventStream.body

def counted(self, last_event_id=None):
    body = make_body(self, last_event_id)
    close = body.close
    STREAMS[0] += 1

    def close_counted():
        STREAMS[0] -= 1
        close()

    body.close = close_counted
    return body

asyncwsgi.EventStream.body = counted
"""
PAGE = """
<!doctype html>
<html>
<head>
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/static/site.css">
</head>
<body>
<h1>{title} {{{{ version }}}}</h1>
<input>
<p>bottom</p>
</body>
</html>
"""
STYLE = "p {{ margin-top: 5000px; color: {color} }}"


class Browsing:
    """A project with a page, a stylesheet, and a browser that looks at it."""

    def __init__(self, project: Project, browser: Chrome, *options: str) -> None:
        self.project = project
        self.browser = browser
        self.wait = WebDriverWait(browser, PATIENCE, 0.1, [WebDriverException])
        self.write_code("one")
        self.write_template("Title")
        self.write_style("rgb(1, 0, 0)")
        project.start(*(options or ("--reload",)))
        self.url = project.process.urls()[0].replace("127.0.0.1", "localhost")
        project.wait_until_watched()

    def write_code(self, version: str) -> None:
        self.project.write("web.py", APP.format(version=version))

    def write_template(self, title: str) -> None:
        self.project.write("templates/index.html", PAGE.format(title=title).lstrip())

    def write_style(self, color: str) -> None:
        self.project.write("static/site.css", STYLE.format(color=color))

    def open(self, path: str = "/", heading: str = "Title one") -> None:
        self.browser.get(self.url + path)
        self.shows(heading)

    def shows(self, heading: str) -> None:
        self.wait.until(lambda b: b.find_element(By.TAG_NAME, "h1").text == heading)

    def ask(self, script: str) -> Any:
        return self.browser.execute_script(script)

    def has_color(self, color: str) -> None:
        script = "return getComputedStyle(document.querySelector('p')).color"
        self.wait.until(lambda _: self.ask(script) == color)

    def console(self) -> list[str]:
        """What the browser complains of."""
        return [entry["message"] for entry in self.browser.get_log("browser")]  # type: ignore[no-untyped-call]

    def listens(self) -> None:
        """Wait until the server has somebody to tell."""
        self.wait.until(lambda _: self.streams() > 0)

    def streams(self) -> int:
        script = "return fetch('/streams').then((answer) => answer.text())"
        return int(self.ask(script))


def test_new_code_has_the_page_loaded_again(project: Project, browser: Chrome) -> None:
    page = Browsing(project, browser)
    page.open()
    page.listens()
    page.write_code("two")
    page.shows("Title two")
    page.listens()
    page.write_code("three")
    page.shows("Title three")
    assert page.console() == []


def test_a_template_has_it_loaded_again_where_it_was(project: Project, browser: Chrome) -> None:
    page = Browsing(project, browser)
    page.open()
    page.listens()
    page.ask("scrollTo(0, 1234)")
    page.write_template("Other")
    page.shows("Other one")
    page.wait.until(lambda _: page.ask("return scrollY") == 1234)
    assert "reloading" not in project.process.log
    assert page.console() == []


def test_a_stylesheet_is_taken_up_without_that(project: Project, browser: Chrome) -> None:
    page = Browsing(project, browser)
    page.open()
    page.listens()
    browser.find_element(By.TAG_NAME, "input").send_keys("not lost")
    for color in ("rgb(2, 0, 0)", "rgb(3, 0, 0)"):
        page.write_style(color)
        page.has_color(color)
    field = browser.find_element(By.TAG_NAME, "input")
    assert field.get_property("value") == "not lost"
    page.wait.until(lambda b: len(b.find_elements(By.CSS_SELECTOR, "[rel=stylesheet]")) == 1)
    page.write_template("Other")
    page.shows("Other one")
    assert page.console() == []


def test_eight_tabs_share_one_stream(project: Project, browser: Chrome) -> None:
    page = Browsing(project, browser)
    page.open()
    for _ in range(7):
        browser.switch_to.new_window("tab")
        page.open()
    page.wait.until(lambda _: page.streams() == 1)
    page.write_template("Other")
    for tab in browser.window_handles:
        browser.switch_to.window(tab)
        page.shows("Other one")
    page.wait.until(lambda _: page.streams() == 1)
    # Whichever tab it is that listens is among those which are closed.
    for tab in browser.window_handles[1:]:
        browser.switch_to.window(tab)
        browser.close()
    browser.switch_to.window(browser.window_handles[0])
    page.wait.until(lambda _: page.streams() == 1)
    page.write_code("two")
    page.shows("Other two")


def test_a_page_whose_policy_forbids_it_is_not_broken(project: Project, browser: Chrome) -> None:
    page = Browsing(project, browser)
    page.open("/strict")
    assert browser.find_elements(By.TAG_NAME, "script") == []
    page.has_color("rgb(1, 0, 0)")
    assert page.console() == []


def test_one_whose_policy_allows_it_is_loaded_again(project: Project, browser: Chrome) -> None:
    page = Browsing(project, browser)
    page.open("/self")
    page.listens()
    page.write_code("two")
    page.shows("Title two")
    assert page.console() == []


def test_code_that_cannot_be_imported_is_shown_until_it_is_mended(
    project: Project, browser: Chrome
) -> None:
    page = Browsing(project, browser, "--debug")
    page.open()
    page.listens()
    page.ask("scrollTo(0, 1234)")
    project.write("web.py", BROKEN)
    page.wait.until(lambda b: "LookupError" in b.find_element(By.TAG_NAME, "body").text)
    page.write_code("two")
    page.shows("Title two")
    page.wait.until(lambda _: page.ask("return scrollY") == 1234)


def test_where_there_are_no_locks_each_tab_that_is_seen_listens(
    project: Project, browser: Chrome
) -> None:
    # As on plain HTTP from another machine, which is no secure context.
    script = {"source": "Object.defineProperty(navigator, 'locks', {value: undefined})"}
    browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", script)
    page = Browsing(project, browser)
    page.open()
    page.listens()
    page.write_code("two")
    page.shows("Title two")


def test_a_page_that_was_left_is_loaded_again_when_one_comes_back(
    project: Project, browser: Chrome
) -> None:
    page = Browsing(project, browser)
    page.open()
    page.listens()
    browser.get("data:text/html,<h1>elsewhere</h1>")
    page.write_code("two")
    project.wait_until_taken_over()
    browser.back()
    page.shows("Title two")


def test_a_page_that_stays_as_old_as_it_was_is_not_loaded_for_ever(
    serve: Serve, browser: Chrome
) -> None:
    loads: list[str] = []

    def kept(environ: Any, start_response: Any) -> list[bytes]:
        # As a cache answers that has the page with the script in it.
        page = b"<!doctype html><link rel=icon href='data:,'><h1>kept</h1>"
        script = b'<script src="/-/refresh.js" data-state="1.0"></script>'
        start_response("200 OK", [("Content-Type", "text/html"), ("ETag", '"kept"')])
        loads.append(environ["PATH_INFO"])
        return [page + script]

    refresh = Refresh(kept)
    refresh.begin(2, 0)
    impatient = "const wait = setTimeout; window.setTimeout = (call) => wait(call, 0)"
    command = "Page.addScriptToEvaluateOnNewDocument"
    browser.execute_cdp_cmd(command, {"source": f"{{ {impatient} }}"})
    browser.get(serve(refresh, validate=False).url)
    wait = WebDriverWait(browser, PATIENCE, 0.1, [WebDriverException])
    storage = "return Object.values(sessionStorage).some((value) => value.endsWith(',5]'))"
    wait.until(lambda b: b.execute_script(storage))
    for _ in range(20):
        browser.execute_async_script("fetch('/asked').then(arguments[0])")
    assert loads.count("/") == 6


def test_nothing_is_told_where_it_is_switched_off(project: Project, browser: Chrome) -> None:
    page = Browsing(project, browser, "--reload", "--no-refresh")
    page.open()
    assert browser.find_elements(By.TAG_NAME, "script") == []
    page.write_template("Other")
    page.write_code("two")
    project.wait_until_taken_over()
    page.shows("Title one")
    assert "refreshing" not in project.process.log
    assert page.console() == []
