"""No secret is kept, whatever a body is like, and where it ends."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncwsgi.inspection.bodies import masked
from asyncwsgi.inspection.masking import MASK, mask_body, mask_field, mask_target

SECRET = "hunter2"
NAMES = ("password", "user[password]", "API-Key", "csrfmiddlewaretoken", "client_secret")

plain_texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=8)
harmless_names = st.text("abcxyzäé-_.", min_size=1, max_size=6)
harmless_values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False),
    st.text("abc \"\\\n{}[]:,=&;äé€", max_size=12),
)  # fmt: skip
secret_values = st.recursive(
    st.just(SECRET),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=2), st.dictionaries(harmless_names, inner, min_size=1)
    ),
    max_leaves=3,
)
documents = st.recursive(
    harmless_values,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(harmless_names, inner, max_size=4),
        st.builds(
            lambda fields, name, secret: {**fields, name: secret},
            st.dictionaries(harmless_names, inner, max_size=3),
            st.sampled_from(NAMES),
            secret_values,
        ),
    ),
    max_leaves=12,
)


def without_secrets(document: Any) -> Any:
    """What JSON should be once it is masked."""
    if isinstance(document, dict):
        return {
            name: MASK if name in NAMES else without_secrets(value)
            for name, value in document.items()
        }
    if isinstance(document, list):
        return [without_secrets(one) for one in document]
    return document


class TestJson:
    @given(documents, st.booleans(), st.sampled_from([None, 2]))
    def test_it_stays_json_and_only_secrets_are_gone(
        self, document: Any, is_ascii: bool, indent: int | None
    ) -> None:
        body = json.dumps(document, ensure_ascii=is_ascii, indent=indent).encode()
        assert json.loads(mask_body(body, "application/json")) == without_secrets(document)

    @given(documents, st.integers(0, 400))
    def test_wherever_it_is_cut_no_secret_is_left(self, document: Any, size: int) -> None:
        body = json.dumps({"a": document, "token": SECRET}).encode()[:size]
        assert SECRET.encode() not in mask_body(body, "application/json")

    @given(documents, st.integers(0, 200), st.binary(max_size=3))
    def test_however_it_is_broken_no_secret_that_has_its_name_is_left(
        self, document: Any, place: int, junk: bytes
    ) -> None:
        body = json.dumps(document).encode()
        broken = body[:place] + junk + body[place:] + b'{"secret":"' + SECRET.encode() + b'"}'
        kept = mask_body(broken, "application/json")
        after_break = kept[place + len(junk) :]
        assert b'"secret":"' + SECRET.encode() not in after_break

    @pytest.mark.parametrize(
        "body",
        [
            pytest.param('{"pass\\u0077ord": "hunter2"}', id="escaped name"),
            pytest.param('{"a": "{\\"token\\": \\"hunter2\\"}"}', id="JSON in a text"),
            pytest.param('{"query": "mutation { f(password: \\"hunter2\\") }"}', id="GraphQL"),
            pytest.param('{"url": "/x?token=hunter2"}', id="query in a text"),
            pytest.param('{"password" "hunter2"}', id="no colon"),
            pytest.param("{password: 'hunter2'}", id="JavaScript"),
            pytest.param('{"a": 1}\n{"token": "hunter2"}', id="lines of JSON"),
            pytest.param('{"token": "hunter2', id="no end"),
            pytest.param('{"token": {"a": ["hunter2"', id="no end of an object"),
        ],
    )
    def test_odd_places_of_a_secret(self, body: str) -> None:
        assert b"hunter2" not in mask_body(body.encode(), "application/json")

    def test_what_is_not_masked_stays_as_it_was_written(self) -> None:
        body = b'{"n": 1.10, "big": 1e999, "a":1, "a":2, "token":"x"}'
        expected = b'{"n": 1.10, "big": 1e999, "a":1, "a":2, "token":"***"}'
        assert mask_body(body, "application/json") == expected

    def test_a_form_that_is_json_is_read_as_json(self) -> None:
        body = b'{"password": "hunter2"}'
        masked_body = mask_body(body, "application/x-www-form-urlencoded")
        assert json.loads(masked_body) == {"password": MASK}

    def test_utf_16_is_dropped(self) -> None:
        assert mask_body('{"token": "x"}'.encode("utf-16"), "application/json") == b""


class TestForms:
    @given(st.lists(st.tuples(st.one_of(harmless_names, st.sampled_from(NAMES)), plain_texts)))
    def test_a_form_stays_a_form(self, fields: list[tuple[str, str]]) -> None:
        fields = [(name, SECRET if name in NAMES else value) for name, value in fields]
        form = mask_body(urlencode(fields).encode(), "application/x-www-form-urlencoded")
        expected = [(name, MASK if name in NAMES else value) for name, value in fields]
        assert parse_qsl(form.decode(), keep_blank_values=True) == expected

    @given(st.integers(0, 200))
    def test_wherever_it_is_cut_no_secret_is_left(self, size: int) -> None:
        fields = [(name, SECRET) for name in ("a%5B%5D", *NAMES)][1:]
        body = urlencode(fields).encode()[:size]
        kept = mask_body(body, "application/x-www-form-urlencoded")
        assert SECRET[:3].encode() not in kept

    @pytest.mark.parametrize(
        "form",
        [
            pytest.param("%70assword=hunter2", id="escaped name"),
            pytest.param("a=1;token=hunter2", id="semicolon"),
            pytest.param("payload=" + quote_plus('{"token": "hunter2"}'), id="JSON in a field"),
            pytest.param("next=" + quote_plus("/x?token=hunter2"), id="query in a field"),
            pytest.param("password:hunter2", id="no form"),
        ],
    )
    def test_odd_places_of_a_secret(self, form: str) -> None:
        assert b"hunter2" not in mask_body(form.encode(), "application/x-www-form-urlencoded")

    PARTS = (
        b'--b\r\nContent-Disposition: form-data; name="title"\r\n\r\nspam\r\n'
        b'--b\r\nContent-Disposition: form-data; name="password"\r\n\r\nhunter2\r\n'
        b'--b\r\nContent-Disposition: form-data; name="f"; filename="a.json"\r\n'
        b'Content-Type: application/json\r\n\r\n{"token": "hunter2"}\r\n--b--\r\n'
    )

    def test_parts_stay_parts(self) -> None:
        kept = mask_body(self.PARTS, 'multipart/form-data; boundary="b"')
        assert kept == self.PARTS.replace(b"hunter2", MASK.encode())

    @given(st.integers(0, len(PARTS)))
    def test_wherever_parts_are_cut_no_secret_is_left(self, size: int) -> None:
        kept = mask_body(self.PARTS[:size], "multipart/form-data; boundary=b")
        assert b"hunt" not in kept

    @pytest.mark.parametrize(
        "content_type", ["multipart/form-data", "multipart/form-data; boundary=other"]
    )
    def test_parts_that_cannot_be_told_apart_are_dropped(self, content_type: str) -> None:
        assert mask_body(self.PARTS, content_type) == b""


class TestText:
    @pytest.mark.parametrize(
        ("body", "content_type"),
        [
            pytest.param("password=hunter2", "text/plain", id="text"),
            pytest.param("Authorization: Bearer hunter2", "text/plain", id="headers in a text"),
            pytest.param('token => "hunter2', "", id="no type, no end"),
            pytest.param(
                '<input type="hidden" name="csrf_token" value="hunter2">', "text/html", id="field"
            ),
            pytest.param('<input value=hunter2 name="csrf_token"', "text/html", id="cut field"),
            pytest.param('<meta name="csrf-token" content="hunter2">', "text/html", id="meta"),
            pytest.param('<script>SECRET = "hunter2";</script>', "text/html", id="script"),
            pytest.param("<a><password>hunter2</password></a>", "text/xml", id="XML"),
        ],
    )
    def test_what_is_assigned_to_a_secret_is_masked(self, body: str, content_type: str) -> None:
        kept = mask_body(body.encode(), content_type)
        assert b"hunter2" not in kept
        assert MASK.encode() in kept

    def test_a_page_without_secrets_is_kept_as_it_is(self) -> None:
        page = '<label for="password">Password</label><input type="password" name="password">'
        assert mask_body(page.encode(), "text/html") == page.encode()

    def test_long_words_cost_little(self) -> None:
        body = b"a" * 60_000 + b"token" * 1000
        assert mask_body(body, "text/plain") == body

    @given(st.binary(max_size=64), st.sampled_from(["image/png", "video/mp4", "font/woff2"]))
    def test_pictures_are_kept_as_they_are(self, data: bytes, content_type: str) -> None:
        assert mask_body(data, content_type) == data

    @given(st.binary(max_size=200), st.sampled_from(["", "application/json", "text/html", "a/b"]))
    def test_anything_can_be_masked(self, data: bytes, content_type: str) -> None:
        mask_body(data, content_type)


class TestCoded:
    def test_a_coded_body_with_a_secret_is_dropped(self) -> None:
        import gzip

        body = gzip.compress(b'{"token": "hunter2"}')
        assert masked(body, "application/json", "gzip") == b""

    def test_one_without_is_kept_as_it_was_sent(self) -> None:
        import gzip

        body = gzip.compress(b'{"a": 1}')
        assert masked(body, "application/json", "gzip") == body

    @pytest.mark.parametrize("coding", ["br", "zstd", "gzip, br"])
    def test_what_cannot_be_decoded_is_dropped(self, coding: str) -> None:
        assert masked(b"???", "application/json", coding) == b""


class TestHeadersAndTargets:
    @pytest.mark.parametrize(
        "name",
        ["Cookie", "Set-Cookie", "Authorization", "Proxy-Authorization", "X-Api-Key",
         "X-CSRF-Token", "x-auth-token"],
    )  # fmt: skip
    def test_fields_that_are_secret(self, name: str) -> None:
        assert mask_field(name, SECRET) == MASK

    def test_urls_in_other_fields(self) -> None:
        assert mask_field("Referer", "http://a/?token=x&b=1") == "http://a/?token=***&b=1"

    @pytest.mark.parametrize(
        ("target", "expected"),
        [
            ("/a?b=1&api_key=x", "/a?b=1&api_key=***"),
            ("/a?%70assword=x", "/a?%70assword=***"),
            ("http://me:pw@host/a", "http://***@host/a"),
            ("/cb#x?a", "/cb#x?a"),
            ("/cb?a=1#access_token=x", "/cb?a=1#access_token=***"),
            ("/a@b?c=%zz", "/a@b?c=%zz"),
        ],
    )
    def test_targets(self, target: str, expected: str) -> None:
        assert mask_target(target) == expected
