"""Who may ask the inspector's site for what."""

from __future__ import annotations

from typing import Any

import pytest

from asyncwsgi.inspection.guard import Guard

PORT = 8001
KEY = "a-key-of-43-characters"
PAGE = {"PATH_INFO": "/", "REQUEST_METHOD": "GET", "HTTP_HOST": "127.0.0.1:8001"}
DATA = {
    "PATH_INFO": "/api/entries",
    "REQUEST_METHOD": "GET",
    "HTTP_HOST": "127.0.0.1:8001",
    "HTTP_X_INSPECT_KEY": KEY,
}
NAVIGATION = {"HTTP_SEC_FETCH_MODE": "navigate", "HTTP_SEC_FETCH_SITE": "cross-site"}


def status(environ: dict[str, Any], **changes: Any) -> int | None:
    """That of a refusal."""
    changed = {**environ, **changes}
    environ = {name: value for name, value in changed.items() if value is not None}
    needs_key = environ["PATH_INFO"].startswith("/api/")
    refusal = Guard(KEY, PORT).refusal(environ, needs_key=needs_key)
    return None if refusal is None else refusal.status


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8001", "localhost:8001", "LOCALHOST:8001", "[::1]:8001"]
)
def test_it_has_the_names_of_this_machine(host: str) -> None:
    assert status(DATA, HTTP_HOST=host) is None


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("evil.example:8001", id="another's, that resolves to this machine"),
        pytest.param("127.0.0.1", id="no port"),
        pytest.param("127.0.0.1:8002", id="another port"),
        pytest.param("localhost.evil.example:8001", id="a name that begins alike"),
        pytest.param("127.0.0.1:8001.evil.example", id="a port that begins alike"),
        pytest.param("", id="empty"),
        pytest.param(None, id="none"),
    ],
)
@pytest.mark.parametrize("environ", [PAGE, DATA], ids=["page", "data"])
def test_it_has_no_other_name(environ: dict[str, Any], host: str | None) -> None:
    assert status(environ, HTTP_HOST=host) == 421


@pytest.mark.parametrize(
    "key", [None, "", "A-key-of-43-characters", KEY[:-1], f"{KEY} ", "\xff", f"{KEY}, {KEY}"]
)
def test_data_is_for_who_knows_the_key(key: str | None) -> None:
    assert status(DATA) is None
    assert status(DATA, HTTP_X_INSPECT_KEY=key) == 403
    assert status(PAGE, HTTP_X_INSPECT_KEY=key) is None


@pytest.mark.parametrize(
    "origin",
    [
        "http://127.0.0.1:8000",
        "https://127.0.0.1:8001",
        "http://localhost:8001",
        "http://evil.example",
        "null",
        "",
    ],
)
@pytest.mark.parametrize("environ", [PAGE, DATA], ids=["page", "data"])
def test_no_page_of_another_origin_may_ask(environ: dict[str, Any], origin: str) -> None:
    assert status(environ, HTTP_ORIGIN="http://127.0.0.1:8001") is None
    assert status(environ, HTTP_ORIGIN=origin) == 403


@pytest.mark.parametrize("site", ["same-site", "cross-site", "none", "other"])
def test_data_is_for_scripts_of_the_page(site: str) -> None:
    assert status(DATA, HTTP_SEC_FETCH_SITE="same-origin") is None
    assert status(DATA, HTTP_SEC_FETCH_SITE=site) == 403


class TestPage:
    def test_a_link_may_lead_to_it_from_anywhere(self) -> None:
        assert status({**PAGE, **NAVIGATION}) is None
        assert status(PAGE, HTTP_SEC_FETCH_SITE="none", HTTP_SEC_FETCH_MODE="navigate") is None

    @pytest.mark.parametrize(
        "changes",
        [
            pytest.param({"HTTP_SEC_FETCH_MODE": "no-cors"}, id="an image or a script"),
            pytest.param({"HTTP_SEC_FETCH_MODE": "cors"}, id="a fetch"),
            pytest.param({"REQUEST_METHOD": "POST"}, id="a form"),
            pytest.param({"PATH_INFO": "/assets/main.js"}, id="a file of it"),
            pytest.param({"PATH_INFO": "/api/entries", "HTTP_X_INSPECT_KEY": KEY}, id="data"),
        ],
    )
    def test_but_nothing_else_from_another_site(self, changes: dict[str, str]) -> None:
        assert status({**PAGE, **NAVIGATION}, **changes) == 403
