"""Where the script is put into a body, and into which."""

from __future__ import annotations

import pytest

from asyncwsgi.development.refresh_policy import policy_allows
from asyncwsgi.development.refresh_script import LONGEST_BEGINNING, Insertion, begins_document

TAG = b"<script></script>"
PAGE = b"<!doctype html>\n<title>A page</title>\n<p>text</p>\n</html>\n"
FORBIDDING = b"<meta content=\"script-src 'none'\" http-equiv='content-security-policy'>"


def insertion(length: int | None = None) -> Insertion:
    return Insertion(TAG, length, lambda policy: policy_allows(policy, "http://localhost"))


def passed(page: bytes, *, length: int | None = None, size: int | None = None) -> bytes:
    """`page` in blocks of `size` through an insertion."""
    inserted = insertion(length)
    step = size or max(1, len(page))
    blocks = [inserted.feed(page[i : i + step]) for i in range(0, len(page), step)]
    return b"".join([*blocks, inserted.end()])


class TestBeginning:
    @pytest.mark.parametrize(
        "data",
        [
            b"<!doctype html>", b"<!DOCTYPE HTML PUBLIC ''>", b"<!doctype\nhtml>", b"<html>",
            b"<HTML lang=en>", b"\n  <!doctype html>", b"\xef\xbb\xbf<html>",
            b"<!-- a > b --> <!-- c --><html>", b"<?xml version='1.0'?>\n<!doctype html>",
        ],
    )  # fmt: skip
    def test_of_a_document(self, data: bytes) -> None:
        assert begins_document(data)

    @pytest.mark.parametrize(
        "data",
        [
            b"<p>a fragment", b"text", b"<!doctype svg>", b"<htmlx>", b"<head>",
            "<!doctype html>".encode("utf-16"), b" " * (LONGEST_BEGINNING + 1),
            b"<!--" + b"-" * LONGEST_BEGINNING, b"<!-- a --><p>",
        ],
    )  # fmt: skip
    def test_of_something_else(self, data: bytes) -> None:
        assert begins_document(data) is False

    @pytest.mark.parametrize(
        "data", [b"", b"\n", b"<", b"<!doc", b"<!doctype", b"<!doctype \n", b"<htm", b"<!-- a"]
    )
    def test_that_may_become_one(self, data: bytes) -> None:
        assert begins_document(data) is None


class TestPlace:
    @pytest.mark.parametrize("size", [None, 1, 7])
    @pytest.mark.parametrize("length", [None, len(PAGE)])
    def test_it_stands_behind_the_document(self, length: int | None, size: int | None) -> None:
        assert passed(PAGE, length=length, size=size) == PAGE + TAG

    @pytest.mark.parametrize("page", [b"<p>a fragment</p>", b"<html", b"", b"<", b"<!-- x"])
    @pytest.mark.parametrize("size", [None, 1])
    @pytest.mark.parametrize("has_length", [False, True])
    def test_what_is_no_document_passes_as_it_is(
        self, page: bytes, size: int | None, has_length: bool
    ) -> None:
        assert passed(page, length=len(page) if has_length else None, size=size) == page

    def test_a_stream_flows_on(self) -> None:
        inserted = insertion()
        assert inserted.feed(b"<!doctype html>") == b"<!doctype html>"
        assert inserted.feed(b"<p>") == b"<p>"

    def test_a_large_block_is_not_looked_at_as_a_whole(self) -> None:
        page = b"<html>" + b"x" * 1_000_000
        assert passed(page) == page + TAG
        assert passed(b"<" + page, size=1) == b"<" + page

    def test_what_is_beyond_the_length_comes_behind_it(self) -> None:
        assert passed(PAGE + b"excess", length=len(PAGE)) == PAGE + TAG + b"excess"

    def test_a_body_that_ends_early_gets_none(self) -> None:
        assert passed(PAGE, length=len(PAGE) + 1) == PAGE


class TestPoliciesWithin:
    page = b"<!doctype html><head>" + FORBIDDING + b"</head>"

    def test_a_body_whose_policy_forbids_it_passes_as_it_is(self) -> None:
        inserted = insertion(len(self.page))
        assert inserted.feed(self.page) + inserted.end() == self.page
        assert not inserted.has_begun

    def test_a_stream_whose_policy_forbids_it_gets_none(self) -> None:
        assert passed(self.page, size=3) == self.page

    def test_a_length_that_was_promised_is_kept(self) -> None:
        sent = passed(self.page, length=len(self.page), size=30)
        assert sent == self.page + b" " * len(TAG)

    @pytest.mark.parametrize(
        "meta",
        [
            b'<meta http-equiv="Content-Security-Policy" content="default-src \'self\'">',
            b'<meta http-equiv="Content-Security-Policy" content="default-src &#39;self&#39;">',
            b"<meta name=policy content=\"script-src 'none'\">",
        ],
    )
    def test_one_that_allows_it_is_no_obstacle(self, meta: bytes) -> None:
        page = b"<html>" + meta
        assert passed(page, length=len(page)) == page + TAG

    def test_where_paths_lead_to_another_host_there_is_none(self) -> None:
        page = b'<html><base href="https://cdn.example/">'
        assert passed(page, length=len(page)) == page
        page = b'<html><base href="/static/">'
        assert passed(page, length=len(page)) == page + TAG
