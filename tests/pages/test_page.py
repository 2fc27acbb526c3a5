"""Pages of the server's own: escaped, self-contained, and shut against what gets into them."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest

from asyncwsgi.pages.page import STYLESHEET, make_page, stylesheet


def policy_of(headers: list[tuple[str, str]]) -> str:
    return dict(headers)["Content-Security-Policy"]


def hash_source(text: bytes) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'"


def test_a_title_is_text() -> None:
    page = make_page("</title><script>alert(1)</script>", "")
    assert b"<title>&lt;/title&gt;&lt;script&gt;" in page.body
    assert b"<script>" not in page.body


def test_the_length_is_that_of_the_bytes() -> None:
    page = make_page("spam", "<p>\N{GREEK SMALL LETTER ALPHA}</p>")
    assert dict(page.headers)["Content-Length"] == str(len(page.body))


def test_what_is_no_unicode_can_be_shown() -> None:
    assert b"spam\\udcff" in make_page("spam", "<p>spam\udcff</p>").body


@pytest.mark.parametrize(
    ("tag", "more"),
    [
        pytest.param("style", {"style": "p { color: red }"}, id="style"),
        pytest.param("script", {"script": "alert('<b>')"}, id="script"),
    ],
)
def test_the_policy_allows_just_what_the_page_was_made_with(tag: str, more: dict[str, str]) -> None:
    page = make_page("spam", "<p>eggs</p>", **more)
    content = re.search(f"<{tag}>(.*?)</{tag}>".encode(), page.body, re.DOTALL)
    assert content is not None
    assert f"{tag}-src {hash_source(content[1])};" in policy_of(page.headers)


def test_a_page_without_a_script_may_run_none() -> None:
    policy = policy_of(make_page("spam", "").headers)
    assert policy.startswith("default-src 'none';")
    assert "script-src" not in policy
    assert "connect-src" not in policy


def test_the_stylesheet_loads_nothing_and_ends_no_element() -> None:
    assert not re.search(r"url\(|@import|</", stylesheet())


def custom_properties(css: str) -> set[str]:
    return set(re.findall(r"(--[a-z-]+):", css))


def test_every_colour_is_there_for_dark_and_light() -> None:
    light, _, rest = stylesheet().partition("@media (prefers-color-scheme: dark)")
    dark = rest.partition("\n}\n")[0]
    no_colours = {"--sans", "--mono", "--small", "--large", "--gap", "--radius"}
    assert custom_properties(light) - no_colours == custom_properties(dark)


def test_the_comment_at_its_top_names_every_property_and_class() -> None:
    comment, _, rules = STYLESHEET.read_text(encoding="utf-8").partition("*/")
    classes = set(re.findall(r"(?<![\w])(\.[a-z]+)(?=[^{}]*\{)", rules))
    named = custom_properties(rules) | classes
    words = set(re.findall(r"--[a-z-]+|\.[a-z]+", comment))
    assert named <= words
    assert {word for word in words if word.startswith("--")} <= named
