"""Which responses get the script that refreshes pages."""

from __future__ import annotations

import pytest

from asyncwsgi.development.refresh_policy import policy_allows, shows_page, takes_script

BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8"
ORIGIN = "http://localhost:8000"
HTML = ("Content-Type", "text/html; charset=utf-8")


class TestRequests:
    @pytest.mark.parametrize(
        "environ",
        [
            pytest.param({"HTTP_SEC_FETCH_DEST": "document"}, id="a window"),
            pytest.param({"HTTP_SEC_FETCH_DEST": "iframe"}, id="a frame"),
            pytest.param({"HTTP_ACCEPT": BROWSER}, id="a browser that does not say for what"),
        ],
    )
    def test_who_loads_a_page_gets_it(self, environ: dict[str, str]) -> None:
        assert shows_page({"REQUEST_METHOD": "GET", **environ})

    @pytest.mark.parametrize(
        "environ",
        [
            pytest.param({"REQUEST_METHOD": "HEAD"}, id="HEAD"),
            pytest.param({"REQUEST_METHOD": "POST"}, id="a form, which would be sent twice"),
            pytest.param({"HTTP_RANGE": "bytes=0-9"}, id="a part"),
            pytest.param({"HTTP_IF_NONE_MATCH": '"a"'}, id="If-None-Match"),
            pytest.param({"HTTP_IF_MODIFIED_SINCE": "Sun"}, id="If-Modified-Since"),
            pytest.param({"HTTP_HX_REQUEST": "true"}, id="htmx"),
            pytest.param({"HTTP_SEC_FETCH_DEST": "empty"}, id="fetch()"),
            pytest.param({"HTTP_SEC_FETCH_DEST": "image"}, id="a picture"),
            pytest.param(
                {"HTTP_SEC_FETCH_DEST": None, "HTTP_ACCEPT": "*/*"}, id="a program, or fetch()"
            ),
            pytest.param(
                {"HTTP_SEC_FETCH_DEST": None, "HTTP_X_REQUESTED_WITH": "XMLHttpRequest"},
                id="jQuery",
            ),
        ],
    )
    def test_others_are_left_alone(self, environ: dict[str, str | None]) -> None:
        page = {"REQUEST_METHOD": "GET", "HTTP_SEC_FETCH_DEST": "document", "HTTP_ACCEPT": BROWSER}
        changed = {name: value for name, value in {**page, **environ}.items() if value is not None}
        assert shows_page(page)
        assert not shows_page(changed)


class TestResponses:
    @pytest.mark.parametrize("status", ["200 OK", "404 Not Found", "500 Internal Server Error"])
    def test_pages_of_every_outcome_get_it(self, status: str) -> None:
        assert takes_script(status, [HTML], ORIGIN)

    @pytest.mark.parametrize("status", ["204 No", "205 Reset", "206 Partial", "302 Found", "304 N"])
    def test_what_is_no_page_is_left_alone(self, status: str) -> None:
        assert not takes_script(status, [HTML], ORIGIN)

    @pytest.mark.parametrize(
        "charset", ["utf-8", "UTF8", '"utf-8"', "iso-8859-1", "windows-1252", "shift_jis", "gbk"]
    )
    def test_a_charset_that_extends_ascii_is_none_the_worse(self, charset: str) -> None:
        assert takes_script("200 OK", [("content-type", f"Text/HTML;Charset={charset}")], ORIGIN)

    @pytest.mark.parametrize(
        "content_type",
        [
            "", "text/plain", "application/xhtml+xml", "text/html; charset=utf-16",
            "text/html; charset=utf-16le", "text/html; charset=utf-32", "text/html; charset=utf-7",
            "text/html; charset=iso-2022-jp", "text/html; charset=hz-gb-2312",
            "text/html; charset=cp037", "text/html; charset=klingon", "text/html; charset=base64",
        ],
    )  # fmt: skip
    def test_what_is_no_html_in_such_a_charset_is_left_alone(self, content_type: str) -> None:
        assert not takes_script("200 OK", [("Content-Type", content_type)], ORIGIN)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("ETag", 'W/"1"'),
            ("Last-Modified", "Thu, 01 Jan 1970 00:00:00 GMT"),
            ("Content-Encoding", "gzip"),
            ("Content-Range", "bytes 0-1/2"),
            ("Content-Disposition", "attachment; filename=a.html"),
            ("Content-Digest", "sha-256=:AA==:"),
            ("Content-Security-Policy", "default-src 'none'"),
            ("Content-Security-Policy-Report-Only", "script-src 'none'"),
        ],
    )
    def test_what_cannot_be_added_to_is_left_alone(self, name: str, value: str) -> None:
        assert not takes_script("200 OK", [HTML, (name, value)], ORIGIN)

    def test_each_of_several_policies_has_to_allow_it(self) -> None:
        policy = ("Content-Security-Policy", "script-src 'self'")
        assert takes_script("200 OK", [HTML, policy], ORIGIN)
        other = ("content-security-policy", "connect-src 'none'")
        assert not takes_script("200 OK", [HTML, policy, other], ORIGIN)


@pytest.mark.parametrize(
    "policy",
    [
        "",
        "img-src 'none'",
        "default-src 'self'",
        "DEFAULT-SRC 'SELF'; object-src 'none'",
        "default-src 'none'; script-src 'self'; connect-src 'self'",
        "default-src 'none'; script-src 'none'; script-src-elem 'self'; connect-src *",
        "script-src 'nonce-abc' 'self' 'unsafe-inline'",
        f"default-src {ORIGIN}",
        "default-src localhost:8000",
        "default-src http:",
        "script-src 'self', connect-src 'self'",
        "script-src 'self'; script-src 'none'",
        "upgrade-insecure-requests; frame-ancestors 'none'",
    ],
)
def test_these_policies_allow_it(policy: str) -> None:
    assert policy_allows(policy, ORIGIN)


@pytest.mark.parametrize(
    "policy",
    [
        "default-src 'none'",
        "script-src 'none'",
        "script-src",
        "connect-src 'none'",
        "script-src 'self'; connect-src https://api.example",
        "default-src 'self'; connect-src 'none'",
        "script-src 'nonce-abc'",
        "script-src 'nonce-abc' 'strict-dynamic' 'self' https: http:",
        "script-src 'sha256-AAAA' 'unsafe-inline'",
        "script-src 'self'; script-src-elem 'none'",
        "default-src https://other.example",
        "default-src https:",
        "sandbox allow-scripts",
        "script-src 'self', connect-src 'none'",
    ],
)
def test_these_do_not(policy: str) -> None:
    assert not policy_allows(policy, ORIGIN)
