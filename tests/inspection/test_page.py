"""The page of the inspector in Chromium, before a site with entries of the test's making."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.support.select import Select

from tests.inspection.page import Page
from tests.inspection.staged_site import StagedSite, entry

RUNNING: dict[str, Any] = {
    "state": "running",
    "status": None,
    "duration": None,
    "response_headers": [],
}
STREAMING: dict[str, Any] = {
    "state": "streaming",
    "duration": None,
    "response_headers": [["Content-Type", "text/event-stream"]],
}


TOP_ROW = """
const { left, top } = document.getElementById("list").getBoundingClientRect();
const row = document.elementFromPoint(left + 50, top + 5).closest(".row");
return row.querySelector(".target").textContent;
"""

Show = Callable[..., StagedSite]


@pytest.fixture
def show(page: Page) -> Iterator[Show]:
    """Opens the page on these entries; the site."""
    with ExitStack() as open_sites:

        def show(*entries: dict[str, Any], **settings: Any) -> StagedSite:
            site = open_sites.enter_context(StagedSite(entries, **settings))
            page.open(site.url)
            return site

        yield show
        page.leave()


def kept(data: bytes, *, is_cut: bool = False) -> dict[str, Any]:
    return {"size": len(data), "data": base64.b64encode(data).decode(), "is_cut": is_cut}


def response(content_type: str, data: bytes, *more: list[str], is_cut: bool = False) -> Any:
    """An entry whose response has this body."""
    headers = [["Content-Type", content_type], *more]
    return entry(1, response_headers=headers, response_body=kept(data, is_cut=is_cut))


# The list.


def test_requests_come_by_themselves_and_the_newest_stands_on_top(page: Page, show: Show) -> None:
    site = show(entry(1), entry(2), most=3)
    page.shows("/2", "/1")
    site.put(entry(3))
    page.shows("/3", "/2", "/1")
    assert page.text("#count") == "3 requests"
    # Those that are not kept any more go by themselves, too.
    site.put(entry(4))
    page.shows("/4", "/3", "/2")


def test_what_is_in_flight_stands_above_all_others_and_its_age_counts(
    page: Page, show: Show
) -> None:
    site = show(entry(1, **RUNNING), entry(2))
    page.shows("/1", "/2")
    assert page.text("#open") == "1 in flight"
    age = page.find("#rows .in-flight .duration")
    before = age.text
    page.until(lambda: age.text != before)
    site.put(entry(1))
    page.shows("/2", "/1")
    page.until(lambda: page.text("#open") == "")


def test_ten_thousand_requests_are_a_few_rows(page: Page, show: Show) -> None:
    site = show(*(entry(number) for number in range(10_000)))
    page.until(lambda: page.text("#count") == "10,000 requests")
    assert page.targets()[0] == "/9999"
    assert page.count("#rows .row") < 60
    page.run("const list = document.getElementById('list'); list.scrollTop = list.scrollHeight")
    page.until(lambda: page.targets()[-1] == "/0")
    assert page.count("*") < 1500

    # Who looks at old ones goes on seeing them while new ones come.
    page.run("document.getElementById('list').scrollTop /= 2")
    page.until(lambda: "/0" not in page.targets())
    before = page.run(TOP_ROW)
    for number in range(10_000, 10_010):
        site.put(entry(number))
    page.until(lambda: page.text("#count") == "10,010 requests")
    assert page.run(TOP_ROW) == before


def test_a_click_on_a_heading_sorts_and_another_one_ends_it(page: Page, show: Show) -> None:
    show(entry(1, duration=0.1), entry(2, duration=0.3), entry(3, duration=0.2))
    page.find("[data-order=duration]").click()
    page.shows("/2", "/3", "/1")
    page.find("[data-order=duration]").click()
    page.shows("/3", "/2", "/1")


def test_a_paused_list_stands_still_and_nothing_is_lost(page: Page, show: Show) -> None:
    site = show(entry(1), entry(2))
    page.shows("/2", "/1")
    page.press("p")
    site.put(entry(3))
    page.until(lambda: page.text("#pause") == "Resume · 1 new")
    page.shows("/2", "/1")
    page.press("p")
    page.shows("/3", "/2", "/1")


def test_a_paused_list_stands_still_while_the_server_is_started_again(page: Page) -> None:
    with StagedSite([entry(1), entry(2)]) as site:
        page.open(site.url)
        page.press("p")
    page.until(lambda: page.state() == "lost")
    with StagedSite([entry(1), entry(2), entry(3)], port=site.port):
        page.until(lambda: page.text("#pause") == "Resume · 1 new")
        page.shows("/2", "/1")
        page.leave()
    page.console()


def test_clear_forgets_all_and_the_empty_page_says_what_to_do(page: Page, show: Show) -> None:
    show(entry(1))
    page.shows("/1")
    page.find("#clear").click()
    page.until(lambda: page.find("#empty").is_displayed())
    assert "curl http://127.0.0.1:8000/" in page.find("#empty").text
    assert page.targets() == []


# Filters.

QUERIES = {
    "": "abc",
    "cart": "b",
    "GET": "ac",
    "status:500": "b",
    "status:5xx,404": "bc",
    "status:>=400": "bc",
    "-status:200": "bc",
    "method:post": "b",
    "path:/api": "bc",
    "path:page": "",
    "page=2": "c",
    "type:json": "c",
    "endpoint:shop": "b",
    "is:failed": "b",
    "duration:>100": "bc",
    "duration:>1s": "b",
    "duration:<=200ms": "ac",
    "size:>1kB": "c",
    "path:/api -is:failed": "c",
    '"api/items?page"': "c",
    "http://x": "",
    "status:": "abc",
}


def test_the_language_of_the_filter(page: Page, show: Show) -> None:
    show()
    a = {"method": "GET", "target": "/", "status": 200, "type": "text/html", "duration": 0.01}
    b = {"method": "POST", "target": "/api/cart", "status": 500, "endpoint": "shop.cart"}
    c = {"method": "GET", "target": "/api/items?page=2", "status": 404, "type": "application/json"}
    entries = [
        {"id": "a", "state": "ended", "response_size": 100, **a},
        {"id": "b", "state": "ended", "response_size": 100, "failed": True, "duration": 2.0, **b},
        {"id": "c", "state": "ended", "response_size": 9_000, "duration": 0.2, **c},
    ]
    script = """import("/assets/query.js").then(({ parse }) => arguments[0].map((query) =>
        arguments[1].filter(parse(query).matches).map((entry) => entry.id).join("")))"""
    found = page.run_async(script, list(QUERIES), entries)
    assert dict(zip(QUERIES, found, strict=True)) == QUERIES


def test_a_filter_hides_the_others_and_says_so(page: Page, show: Show) -> None:
    show(entry(1), entry(2, status=503))
    page.filter("status:5xx")
    page.shows("/2")
    assert page.text("#count") == "1 of 2 requests"
    page.filter("status:nonsense")
    page.until(lambda: page.text("#problems") == "status:nonsense says nothing")
    page.filter("nowhere")
    page.shows()
    page.find("#clear-query").click()
    page.shows("/2", "/1")


def test_buttons_and_lists_write_the_filter(page: Page, show: Show) -> None:
    show(entry(1), entry(2, status=503), entry(3, status=404, method="POST"))
    query = page.find("#query")
    page.find("[data-value='5xx']").click()
    page.find("[data-value='4xx']").click()
    assert query.get_property("value") == "status:5xx,4xx"
    page.shows("/3", "/2")
    Select(page.find("#method")).select_by_value("POST")
    page.shows("/3")
    page.find("[data-value='4xx']").click()
    page.find("[data-value='5xx']").click()
    assert query.get_property("value") == "method:POST"
    page.press("f")
    assert query.get_property("value") == "method:POST is:failed"


# One request.


def test_the_timeline_shows_marks_spans_and_where_the_time_went(page: Page, show: Show) -> None:
    marks = [
        ("accepted", -0.5),
        ("head", 0),
        ("thread", 0.1),
        ("view", 0.2),
        ("after_request", 0.9),
    ]
    show(
        entry(
            1,
            marks=[{"name": name, "at": at} for name, at in marks],
            spans=[
                {"kind": "sql", "at": 0.3, "seconds": 0.25, "text": "SELECT 1 FROM bikes"},
                {"kind": "loop", "at": 0.6, "seconds": 0.01, "text": "view"},
                {"kind": "wait", "at": 0.61, "seconds": 0.2, "text": "view"},
            ],
            duration=1.0,
        )
    )
    page.choose("/1")
    text = page.tab("timeline")
    assert "waits for a thread 0.00 ms 100 ms" in " ".join(text.split())
    assert "SQL: 1 statement, 250 ms" in text
    assert "On the event loop 10.0 ms, waiting 200 ms." in text
    assert "SELECT 1 FROM bikes" in page.text(".statements")
    assert "accepted 500 ms before" in text
    [left, width, all_width] = page.run(
        """const box = (node) => node.getBoundingClientRect();
        const bar = document.querySelector(".track .bar[data-kind=sql]");
        const track = box(bar.parentElement);
        return [box(bar).left - track.left, box(bar).width, track.width];"""
    )
    assert left / all_width == pytest.approx(0.3, abs=0.01)
    assert width / all_width == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["application", "first_byte"], ["application"]),
        (["matched", "view", "after_request"], ["before the view", "view"]),
        (["matched", "after_request"], ["before the view, and view"]),
        (["view", "teardown"], ["view"]),
    ],
    ids=["no-framework", "flask", "functions-before", "raises"],
)
def test_what_passes_between_two_marks_has_a_name(
    page: Page, show: Show, names: list[str], labels: list[str]
) -> None:
    marks = [{"name": name, "at": number} for number, name in enumerate(names)]
    show(entry(1, marks=marks))
    page.choose("/1")
    page.tab("timeline")
    found = page.run(
        "return [...document.querySelectorAll('.timeline th')].map(e => e.textContent)"
    )
    assert found == labels


def test_a_traceback_begins_with_the_own_frame_and_links_to_the_editor(
    page: Page, show: Show
) -> None:
    frames = [
        {"file": "/lib/flask.py", "line": 9, "function": "call", "source": "f()", "is_own": False},
        {"file": "/me/a b#.py", "line": 7, "function": "view", "source": "1 / 0", "is_own": True},
    ]
    text = 'Traceback (most recent call last):\n  File "/lib/flask.py", line 9, in call\n    f()\n'
    show(
        entry(
            1,
            status=500,
            traceback=f"{text}ZeroDivisionError: division by zero\n",
            frames=frames,
            debugger="/?__debugger__=yes",
        )
    )
    page.choose("/1")
    assert page.tab("traceback").startswith("ZeroDivisionError: division by zero")
    assert page.text(".frames li div") == "view a b#.py:7"
    assert page.find(".frames a").get_attribute("href") == "vscode://file/me/a%20b%23.py:7"
    debugger = page.find(".traceback a[target]").get_attribute("href")
    assert debugger == "http://127.0.0.1:8000/?__debugger__=yes"
    assert not page.find(".traceback details .foreign").is_displayed()
    page.find(".traceback summary").click()
    assert page.find(".traceback details .foreign").is_displayed()


def test_no_template_of_an_editor_and_no_path_of_a_debugger_leads_elsewhere(
    page: Page, show: Show
) -> None:
    show(
        entry(1, traceback='File "/a.py", line 1\nE', debugger="//evil.example/"),
        editor="javascript:alert('{path}')",
    )
    page.choose("/1")
    page.tab("traceback")
    assert page.count(".traceback a") == 0
    assert "/a.py:1" in page.text(".traceback")


def test_where_a_request_hangs_is_asked_for_when_somebody_looks(page: Page, show: Show) -> None:
    show(entry(1, **RUNNING))
    page.choose("/1")
    page.press("s")
    page.until(lambda: page.text(".frames .own") == "1-1 a.py:1")


def test_events_of_an_open_stream_come_as_they_are_sent(page: Page, show: Show) -> None:
    site = show(entry(1, **STREAMING, events=[{"at": 0.1, "text": "data: one"}]))
    page.choose("/1")
    assert "data: one" in page.tab("events")
    events = [{"at": 0.1, "text": "data: one"}, {"at": 0.2, "text": "data: two"}]
    site.put(entry(1, **STREAMING, events=events))
    page.until(lambda: "data: two" in page.panel())
    assert "The stream is open." in page.panel()


def test_what_has_not_changed_is_not_drawn_anew_while_a_request_goes_on(
    page: Page, show: Show
) -> None:
    # A click that begins on an element which is replaced meanwhile never ends.
    site = show(entry(1, **RUNNING))
    page.choose("/1")
    page.tab("request")
    page.run("window.kept = document.querySelectorAll('#detail button, #panel td')")
    line = {"at": 0.1, "level": "INFO", "logger": "shop", "text": "still here"}
    site.put(entry(1, **RUNNING, response_size=17, reason="", client="::1"))
    page.until(lambda: "from ::1" in page.text("#detail .facts"))
    assert page.run("return [...kept].every((one) => one.isConnected)")
    site.put(entry(1, **RUNNING, logs=[line]))
    page.until(lambda: page.count("#tab-logs") == 1)


def test_log_lines_stand_beside_their_time(page: Page, show: Show) -> None:
    line = {"at": 0.001, "level": "WARNING", "logger": "shop", "text": "nearly\nempty"}
    show(entry(1, logs=[line]))
    page.choose("/1")
    assert page.tab("logs").split() == ["1.00", "ms", "WARNING", "shop", "nearly", "empty"]


# Bodies.


def test_json_is_spread_out(page: Page, show: Show) -> None:
    show(response("application/json", b'{"a": [1, "<i>"], "b": null}'))
    page.choose("/1")
    page.tab("response")
    assert json.loads(page.text("pre.json")) == {"a": [1, "<i>"], "b": None}
    assert page.text("pre.json .key") == '"a"'


def test_a_form_is_a_table(page: Page, show: Show) -> None:
    headers = [["Content-Type", "application/x-www-form-urlencoded"]]
    show(entry(1, request_headers=headers, request_body=kept(b"name=J%C3%BCrgen&a=b+c")))
    page.choose("/1")
    text = page.tab("request")
    assert "name Jürgen" in text
    assert "a b c" in text


def test_an_upload_is_a_table_of_its_parts(page: Page, show: Show) -> None:
    body = (
        b'--xx\r\nContent-Disposition: form-data; name="title"\r\n\r\nA bike\r\n'
        b'--xx\r\nContent-Disposition: form-data; name="file"; filename="bike.bin"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n\x00\xff\xfe\r\n--xx--\r\n"
    )
    headers = [["Content-Type", "multipart/form-data; boundary=xx"]]
    show(entry(1, request_headers=headers, request_body=kept(body)))
    page.choose("/1")
    text = page.tab("request")
    assert "title A bike" in text
    assert "file bike.bin application/octet-stream · 3 B" in text


PIXEL = base64.b64decode("R0lGODlhAQABAIAAAP///wAAACH5BAAAAAAALAAAAAABAAEAAAICRAEAOw==")


def test_a_picture_is_shown(page: Page, show: Show) -> None:
    show(response("image/gif", PIXEL))
    page.choose("/1")
    page.tab("response")
    page.until(lambda: page.find("#panel img").get_property("naturalWidth") == 1)


def test_a_picture_that_could_hold_a_script_is_shown_as_text(page: Page, show: Show) -> None:
    show(response("image/svg+xml", b"<svg xmlns='http://www.w3.org/2000/svg'/>"))
    page.choose("/1")
    assert "<svg" in page.tab("response")
    assert page.count("#panel img") == 0


def test_what_is_packed_is_unpacked(page: Page, show: Show) -> None:
    data = gzip.compress(b"hello " * 50)
    show(response("text/plain", data, ["Content-Encoding", "gzip"]))
    page.choose("/1")
    assert "hello hello" in page.tab("response")


def test_what_is_no_text_is_shown_as_hex_and_what_was_cut_says_so(page: Page, show: Show) -> None:
    show(response("application/octet-stream", b"\x00\xffPNG", is_cut=True))
    page.choose("/1")
    text = page.tab("response")
    assert "000000  00 ff 50 4e 47" in page.text("pre.hex")
    assert "the first 5 B are kept" in text


# Replay and copies.


def test_replay_sends_it_again_and_shows_the_new_one(page: Page, show: Show) -> None:
    site = show(entry(1))
    page.choose("/1")
    page.press("r")
    page.until(lambda: page.detail() == "/2")
    assert site.replayed == [{"id": "1-1"}]
    assert "Left out, since masked: Cookie" in page.text("#said")
    page.until(lambda: "replay of" in page.text("#detail .facts"))


def test_a_request_is_changed_before_it_is_sent_again(page: Page, show: Show) -> None:
    headers = [["Host", "x"], ["Content-Type", "text/plain"], ["Content-Length", "3"]]
    site = show(entry(1, method="POST", request_headers=headers, request_body=kept(b"one")))
    page.choose("/1")
    page.press("e")
    target = page.find("#replay [name=target]")
    target.clear()
    target.send_keys("/other?x=1")
    assert page.find("#replay [name=headers]").get_property("value") == "Content-Type: text/plain"
    page.find("#replay [name=body]").send_keys(" and two", Keys.CONTROL, Keys.ENTER)
    page.until(lambda: page.detail() == "/2")
    assert site.replayed == [
        {
            "id": "1-1",
            "method": "POST",
            "target": "/other?x=1",
            "headers": [["Content-Type", "text/plain"]],
            "body": base64.b64encode(b"one and two").decode(),
        }
    ]


def test_a_body_that_nobody_touched_is_sent_as_it_came(page: Page, show: Show) -> None:
    site = show(entry(1, method="POST", request_body=kept(b"one\r\ntwo\r\n")))
    page.choose("/1")
    page.press("e")
    page.find("#replay .send").click()
    page.until(lambda: page.detail() == "/2")
    assert "body" not in site.replayed[0]


def test_a_line_that_is_no_header_is_named(page: Page, show: Show) -> None:
    site = show(entry(1))
    page.choose("/1")
    page.press("e")
    page.find("#replay [name=headers]").send_keys("nonsense")
    page.find("#replay .send").click()
    assert "“nonsense” is no header" in page.find("#replay .problem").text
    assert site.replayed == []


def test_copies_go_to_the_clipboard(page: Page, show: Show) -> None:
    show(entry(1))
    permissions = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    page.driver.execute_cdp_cmd("Browser.grantPermissions", permissions)
    page.choose("/1")
    for way in ("curl", "httpx", "test"):
        page.find(
            f"#detail button[title^='Copy as {'a pytest ' if way == 'test' else ''}{way}']"
        ).click()
        page.says(f"Copied as {way}.")
        assert page.run_async("navigator.clipboard.readText()") == f"{way} of 1-1"


def test_without_a_clipboard_the_text_is_there_to_be_copied(page: Page, show: Show) -> None:
    show(entry(1))
    page.choose("/1")
    page.run("navigator.clipboard.writeText = () => Promise.reject(new Error('no'))")
    page.press("c")
    field = page.find("#copied textarea")
    page.until(lambda: field.is_displayed())
    assert field.get_property("value") == "curl of 1-1"


# Keys, and who cannot see.


def test_everything_is_done_by_keys(page: Page, show: Show) -> None:
    show(*(entry(number) for number in range(5)))
    page.shows("/4", "/3", "/2", "/1", "/0")
    page.press("j", "j", "k", Keys.ARROW_DOWN, Keys.ENTER)
    page.until(lambda: page.detail() == "/3")
    assert page.driver.switch_to.active_element.get_attribute("id") == "panel"
    page.press("]")
    assert page.find("[role=tab][aria-selected=true]").text == "Request"
    page.press(Keys.ESCAPE)
    assert page.detail() == ""
    assert page.driver.switch_to.active_element.get_attribute("id") == "list"
    page.press("?")
    assert page.find("#help").is_displayed()
    page.press(Keys.ESCAPE)
    assert not page.find("#help").is_displayed()
    page.press("/", "nothing")
    page.shows()
    page.press(Keys.ESCAPE)
    assert page.driver.switch_to.active_element.get_attribute("id") == "list"


def test_the_line_between_the_panes_is_moved_and_stays_where_it_was_left(
    page: Page, show: Show
) -> None:
    site = show(entry(1))
    page.choose("/1")
    before = page.find("#requests").rect["width"]
    page.find("#splitter").send_keys(Keys.ARROW_LEFT)
    narrower = page.find("#requests").rect["width"]
    assert narrower < before
    page.leave()
    page.open(site.url)
    page.choose("/1")
    assert page.find("#requests").rect["width"] == narrower
    line = page.find("#splitter")
    ActionChains(page.driver).drag_and_drop_by_offset(line, 100, 0).perform()
    assert page.find("#requests").rect["width"] == pytest.approx(narrower + 100, abs=5)


def test_the_list_says_which_row_is_chosen_and_of_how_many(page: Page, show: Show) -> None:
    show(*(entry(number) for number in range(100)))
    page.until(lambda: page.find("#list").get_attribute("aria-rowcount") == "100")
    page.find("#list").send_keys(Keys.END)
    active = page.find("#list").get_attribute("aria-activedescendant")
    row = page.find(f"#{active}")
    assert row.get_attribute("aria-selected") == "true"
    assert row.get_attribute("aria-rowindex") == "100"
    assert row.is_displayed()


# The site goes, and comes.


def test_it_connects_again_when_the_server_is_back(page: Page) -> None:
    with StagedSite([entry(1)]) as site:
        page.open(site.url)
        page.shows("/1")
    page.until(lambda: page.state() == "lost")
    assert "being restarted" in page.find("#banner").text
    with StagedSite([entry(1), entry(2)], port=site.port):
        page.shows("/2", "/1")
        assert not page.find("#banner").is_displayed()
        page.leave()
    assert [line for line in page.console() if "/api/" not in line] == []


def test_without_the_key_it_says_where_the_key_is(page: Page) -> None:
    with StagedSite([entry(1)]) as site:
        page.driver.get(site.url.partition("#")[0])
        page.until(lambda: page.state() == "refused")
        assert "start line" in page.find("#banner").text
        page.leave()
        page.driver.get(f"{site.url}-no-longer")
        page.until(lambda: "is missing or wrong" in page.find("#banner").text)
        assert page.targets() == []
        page.leave()
    assert ["403" in line for line in page.console()] == [True]


def test_the_key_is_known_when_the_page_is_opened_without_it(page: Page) -> None:
    with StagedSite([entry(1)]) as site:
        page.open(site.url)
        page.leave()
        page.open(site.url.partition("#")[0])
        page.shows("/1")
        page.leave()


# What applications and clients send is hostile.

MARKUP = "<img src=x onerror=hacked=1><script>hacked=1</script>\"'`"


def test_nothing_that_is_sent_becomes_markup(page: Page, show: Show) -> None:
    frame = {"file": MARKUP, "line": 1, "function": MARKUP, "source": MARKUP, "is_own": True}
    hostile = entry(
        1,
        method="<b>X</b>",
        target=f"/{MARKUP}?{MARKUP}={MARKUP}",
        request_headers=[[MARKUP, MARKUP], ["X-Huge", "x" * 60_000], ["Content-Type", "text/html"]],
        response_headers=[["Content-Type", "text/html"], [MARKUP, "a\r\nb\x00\u202e"]],
        request_body=kept(b"\xff\xfe\x00<script>hacked=1</script>"),
        response_body=kept(MARKUP.encode()),
        flask={"endpoint": MARKUP, "rule": MARKUP, "view": MARKUP, "file": MARKUP, "line": 1},
        spans=[{"kind": "sql", "at": 0.001, "seconds": 0.001, "text": MARKUP}],
        logs=[{"at": 0, "level": MARKUP, "logger": MARKUP, "text": MARKUP}],
        events=[{"at": 0, "text": MARKUP}],
        traceback=f'File "{MARKUP}", line 1\n{MARKUP}',
        frames=[frame],
        debugger="javascript:hacked=1",
        client=MARKUP,
        protocol=MARKUP,
    )
    # A level is cut where no level of logging is that long.
    show(hostile, app=MARKUP, origin="javascript:hacked=1", version=MARKUP)
    page.until(lambda: page.targets() == [f"/{MARKUP}?{MARKUP}={MARKUP}"])
    page.find("#rows .row").click()
    page.until(lambda: page.count("[role=tab]") == 6)
    for name in ("timeline", "traceback", "request", "response", "events", "logs"):
        page.tab(name)
        # What shows it as text has shown it.
        assert "hacked" in page.panel()
    assert page.count("script") == 1
    assert page.count("#panel img, #panel b, #rows b, #detail h2 b") == 0
    assert page.count("[href^=javascript]") == 0
    assert page.run("return typeof hacked") == "undefined"


def test_not_even_its_own_scripts_can_make_markup_of_text(page: Page, show: Show) -> None:
    show(entry(1))
    script = "try { document.body.innerHTML = '<b>'; } catch (error) { return error.name; }"
    assert page.run(script) == "TypeError"
    assert len(page.console()) > 0  # it is a violation of the policy


def test_what_would_turn_text_around_is_spelled_out(page: Page, show: Show) -> None:
    show(entry(1, target="/\u202egnp.exe\x00"))
    page.until(lambda: page.targets() == ["/\\u202egnp.exe\\u0000"])
